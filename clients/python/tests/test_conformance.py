"""The adapter for the conformance runner, as the runner uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import DEADLINE, RedisServer
from stand_in import COOKIES, StandIn

from token_sidecar_client import fingerprint

ADAPTER = Path(__file__).resolve().parents[1] / "conformance.py"


class Adapter:
    def __init__(self, mode: str, url: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, str(ADAPTER), "--mode", mode],
            env={**os.environ, "REDIS_URL": url, "SITE": "chitai_gorod"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, number: int, call: str, **arguments: Any) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps({"id": number, "call": call, **arguments}) + "\n")
        self.child.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        line: dict[str, Any] = json.loads(self.child.stdout.readline())
        return line

    def end(self) -> int:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.close()
        code = self.child.wait(DEADLINE)
        self.child.stdout.close()
        return code


@pytest.fixture(params=["sync", "async"])
def adapter(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[Adapter]:
    adapter = Adapter(request.param, server.url)
    yield adapter
    adapter.child.kill()
    if adapter.child.poll() is None:
        adapter.end()


def test_calls_are_answered(adapter: Adapter, stand_in: StandIn) -> None:
    adapter.send(0, "updates")
    assert adapter.answer() == {"id": 0, "ok": None}
    stand_in.store("dead")
    stand_in.server.client.set(COOKIES, '{"a": "1"}')
    adapter.send(1, "get", timeout=60)
    assert adapter.answer() == {"id": 1, "ok": "dead"}
    adapter.send(2, "invalidate", token="dead", reason="401")
    assert adapter.answer() == {"id": 2, "ok": 1}
    assert stand_in.report()["reason"] == "401"
    adapter.send(3, "cookies")
    assert adapter.answer() == {"id": 3, "ok": {"a": "1"}}
    adapter.send(4, "user_agent")
    assert adapter.answer() == {"id": 4, "ok": None}
    for number in range(10, 110):
        adapter.send(number, "wait_newer", token="dead", timeout=DEADLINE)
    assert stand_in.report()["fingerprint"] == fingerprint("dead")
    stand_in.refresh("next")
    lines = [adapter.answer() for _ in range(101)]
    (update,) = [line for line in lines if "update" in line]
    assert update["id"] == 0
    assert update["update"]["fingerprint"] == fingerprint("next")
    answers = {line["id"]: line["ok"] for line in lines if "ok" in line}
    assert answers == dict.fromkeys(range(10, 110), "next")
    stand_in.receives_nothing_more()
    adapter.send(200, "wait_newer", token="next", timeout=DEADLINE)
    stand_in.report()
    assert adapter.end() == 0


def test_errors_are_distinguished(adapter: Adapter, server: RedisServer) -> None:
    adapter.send(1, "get", timeout=5)
    assert adapter.answer()["error"]["kind"] == "nobody_listens"
    stand_in = StandIn(server)
    adapter.send(2, "get", timeout=0.2)
    assert adapter.answer()["error"]["kind"] == "timed_out"
    stand_in.report()
    adapter.send(3, "get", timeout=DEADLINE)
    stand_in.report()
    stand_in.fail("no luck")
    error = adapter.answer()["error"]
    assert "no luck" in error.pop("message")
    assert error == {"kind": "failed", "stage": "solve", "retry_at": "2026-11-22T07:14:05Z"}
    adapter.send(4, "dance")
    assert adapter.answer()["error"]["kind"] == "other"
    stand_in.subscription.close()
    assert adapter.end() == 0
