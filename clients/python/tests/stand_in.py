"""A sidecar controlled by its test, in place of the real one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from servers import DEADLINE, RedisServer, until

from token_sidecar_client import fingerprint

SITE = "chitai_gorod"
INVALID, UPDATED, FAILED = (f"{SITE}:token:{what}" for what in ("invalid", "updated", "failed"))
TOKEN, COOKIES, META = f"{SITE}_token", f"{SITE}_cookies", f"{{{SITE}_token}}:meta"


class StandIn:
    """Receives reports, and announces what its test sends."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.listen()

    def listen(self) -> None:
        self.subscription = self.server.client.pubsub()
        self.subscription.subscribe(INVALID)
        message = self.subscription.get_message(timeout=DEADLINE)
        assert message is not None
        assert message["type"] == "subscribe"

    def report(self) -> dict[str, Any]:
        """The next report."""
        ends = time.monotonic() + DEADLINE
        while True:
            message = self.subscription.get_message(timeout=max(0.0, ends - time.monotonic()))
            assert message is not None, "nothing was reported"
            if message["type"] == "message":
                report: dict[str, Any] = json.loads(message["data"])
                return report

    def receives_nothing_more(self) -> None:
        """What was published before this returns has been received, and was no report."""
        self.server.client.publish(INVALID, '{"reason": "the end"}')
        assert self.report() == {"reason": "the end"}

    def store(self, token: str, version: int = 1) -> None:
        client = self.server.client
        client.set(TOKEN, token)
        client.hset(META, mapping={"version": version, "fingerprint": fingerprint(token)})

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Meanwhile bundles are stored one after the other, each in one step; each holds its number three times."""
        is_over = threading.Event()

        def work() -> None:
            with redis.Redis.from_url(self.server.url) as client:
                while not is_over.is_set():
                    for number in ("1", "2"):
                        step = client.pipeline()
                        step.set(TOKEN, number).set(COOKIES, json.dumps({"of": number}))
                        step.hset(META, "user_agent", number).execute()
                client.connection_pool.disconnect()

        replacing = threading.Thread(target=work)
        replacing.start()
        until(lambda: bool(self.server.client.exists(META)))
        try:
            yield
        finally:
            is_over.set()
            replacing.join(DEADLINE)

    def announce(self, token: str, version: int = 1, **fields: Any) -> None:
        named = {"version": version, "fingerprint": fingerprint(token)}
        event = {"event": "token:updated", "site": SITE, "cause": "refreshed", "key": TOKEN, **named, **fields}
        self.server.client.publish(UPDATED, json.dumps(event))

    def refresh(self, token: str, version: int = 1) -> None:
        self.store(token, version)
        self.announce(token, version)

    def fail(self, error: str = "FlareSolverr: timeout after 60 s") -> None:
        event = {"event": "token:failed", "site": SITE, "cause": "attempt", "stage": "solve", "error": error}
        self.server.client.publish(FAILED, json.dumps({**event, "retry_at": "2026-11-22T07:14:05Z"}))
