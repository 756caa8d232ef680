"""What parsers and the task know of the token: where it is kept, how a new one is asked for and waited for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import redis

from . import settings

TOKEN = "chitai_gorod_token"
LOCK = f"{TOKEN}:lock"
TTL = 86400
ENV_KEY = "CHITAI_GOROD_BEARER_TOKEN"


class TokenManager:
    def __init__(self) -> None:
        # As many connections as parsers: redis-py refuses the 101st unless told otherwise.
        self.redis = redis.Redis.from_url(settings.REDIS_URL, decode_responses=True, max_connections=10_000)

    def get_chitai_gorod_token(self) -> str:
        """The stored token; empty where there is none."""
        return str(self.redis.get(TOKEN) or "")

    def save_chitai_gorod_token(self, token: str) -> None:
        self.redis.set(TOKEN, token, ex=TTL)
        file = Path(settings.ENV_FILE)
        lines = file.read_text().splitlines() if file.exists() else []
        kept = [line for line in lines if not line.startswith(f"{ENV_KEY}=")]
        file.write_text("\n".join([*kept, f"{ENV_KEY}={token}", ""]))

    def trigger_token_update(self) -> Any:
        """Starts a task, and returns its result to come; None where the lock says that there is one already."""
        # Here, for the task's module has a manager of its own.
        from .celery_tasks import update_chitai_gorod_token

        seconds = settings.TRIGGER_LOCK_SECONDS
        if seconds and not self.redis.set(LOCK, "1", nx=True, ex=seconds):
            return None
        return update_chitai_gorod_token.delay()

    def free_trigger(self) -> None:
        if settings.TRIGGER_LOCK_SECONDS:
            self.redis.delete(LOCK)

    def wait_for_token_update(self, old: str, task: Any, timeout: float) -> str:
        """The token that is no longer the old one."""
        ends = time.monotonic() + timeout
        if settings.WAIT_RESULT and task is not None:
            task.get(timeout=timeout)
        while (token := self.get_chitai_gorod_token()) in ("", old):
            if time.monotonic() >= ends:
                raise TimeoutError(f"no new token within {timeout:.0f} s")
            time.sleep(settings.POLL_INTERVAL)
        return token
