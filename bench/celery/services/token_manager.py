"""Storing the token, requesting a new one, waiting for it."""

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
        # One connection for each parser; redis-py allows only 100 by default.
        self.redis = redis.Redis.from_url(settings.REDIS_URL, decode_responses=True, max_connections=10_000)

    def get_chitai_gorod_token(self) -> str:
        """The stored token, or an empty string."""
        return str(self.redis.get(TOKEN) or "")

    def save_chitai_gorod_token(self, token: str) -> None:
        self.redis.set(TOKEN, token, ex=TTL)
        file = Path(settings.ENV_FILE)
        lines = file.read_text().splitlines() if file.exists() else []
        kept = [line for line in lines if not line.startswith(f"{ENV_KEY}=")]
        file.write_text("\n".join([*kept, f"{ENV_KEY}={token}", ""]))

    def trigger_token_update(self) -> Any:
        """Starts a task and returns its result; None if the lock is held."""
        # Imported here because the task's module imports this one.
        from .celery_tasks import update_chitai_gorod_token

        seconds = settings.TRIGGER_LOCK_SECONDS
        if seconds and not self.redis.set(LOCK, "1", nx=True, ex=seconds):
            return None
        return update_chitai_gorod_token.delay()

    def free_trigger(self) -> None:
        if settings.TRIGGER_LOCK_SECONDS:
            self.redis.delete(LOCK)

    def wait_for_token_update(self, old: str, task: Any, timeout: float) -> str:
        """Waits until the stored token is not the old one."""
        deadline = time.monotonic() + timeout
        if settings.WAIT_RESULT and task is not None:
            task.get(timeout=timeout)
        while (token := self.get_chitai_gorod_token()) in ("", old):
            if time.monotonic() >= deadline:
                raise TimeoutError(f"no new token within {timeout:.0f} s")
            time.sleep(settings.POLL_INTERVAL)
        return token
