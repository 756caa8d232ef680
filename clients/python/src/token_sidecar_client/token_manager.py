"""A drop-in for the `TokenManager` of the Celery design: a parser changes one import.

The sidecar renews and stores; this reads, reports, and keeps the names that parsers call. What was a task is a message
now, and what was the task's result waits for the sidecar's outcome. Where Redis fails to read or to save, redis-py's
errors are raised, as they always were; what a trigger comes to are those of this package.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from typing import Any

import redis
from redis.retry import Retry

from .connection import checked, client_of
from .cookies import cookies_of
from .threads import TokenClient

ENV_KEY = "CHITAI_GOROD_BEARER_TOKEN"
TTL = 86400


class TokenManager:
    """The old names over a `TokenClient`."""

    def __init__(self, redis_url: str | None = None, env_file: str | None = None) -> None:
        self.env_file = env_file or os.environ.get("ENV_FILE") or ".env"
        self.client = TokenClient("chitai_gorod", redis_url, source="TokenManager")
        self.redis: redis.Redis = client_of(redis.Redis, Retry, checked(redis_url), 5.0, decode_responses=True)
        self._given = threading.local()

    def get_chitai_gorod_token(self) -> str | None:
        """The current token, or None."""
        return self._give(self.redis.get(self.client.site.token_key))

    def get_chitai_gorod_token_fallback(self) -> str | None:
        """The current token; where Redis has none or is away, that of the `.env` or of the environment."""
        try:
            token = self.get_chitai_gorod_token()
        except redis.RedisError:
            token = None
        return token or self._give(self._written() or os.environ.get(ENV_KEY))

    def save_chitai_gorod_token(self, token: str, ttl: int = TTL) -> None:
        """Stores a token of your own. The sidecar verifies it when it next looks, and adopts it if it works.

        The `.env` is left alone: it is the sidecar that keeps it current (`SIDECAR_ENV_FILE`).
        """
        self.redis.set(self.client.site.token_key, token, ex=ttl)

    def get_chitai_gorod_cookies(self) -> dict[str, str] | None:
        """The cookies that go with the token, still percent-encoded, or None."""
        key = self.client.site.cookies_key
        return cookies_of(key, _text(self.redis.get(key))) or None

    def save_chitai_gorod_cookies(self, cookies: dict[str, str], ttl: int = TTL) -> None:
        """Stores cookies of your own."""
        self.redis.set(self.client.site.cookies_key, json.dumps(cookies), ex=ttl)

    def trigger_token_update(self) -> Refresh:
        """Reports the token that this thread was given last, or else the stored one. Nothing is waited for.

        Raises `NobodyListens` where no sidecar hears it.
        """
        refused = getattr(self._given, "token", None) or self.get_chitai_gorod_token()
        self.client.invalidate(refused, "trigger_token_update")
        return Refresh(self.client, refused)

    def _give(self, token: Any) -> str | None:
        given = _text(token)
        if given:
            # The next trigger of this thread is about this one, whatever is stored by then.
            self._given.token = given
        return given

    def _written(self) -> str | None:
        try:
            with open(self.env_file, encoding="utf-8") as lines:
                for line in lines:
                    name, _, value = line.strip().partition("=")
                    if name.strip() == ENV_KEY:
                        return value.strip().strip("'\"") or None
        except FileNotFoundError:
            pass
        return None


class Refresh:
    """What was the result of a Celery task: the refresh that a trigger brings about."""

    def __init__(self, client: TokenClient, refused: str | None) -> None:
        self.id = uuid.uuid4().hex
        self._client = client
        self._refused = refused

    def get(self, timeout: float | None = None) -> dict[str, str]:
        """Waits until there is a newer token, 60 s unless told otherwise; raises what keeps it from coming."""
        patience = 60.0 if timeout is None else timeout
        if self._refused:
            self._client.wait_newer(self._refused, patience, "trigger_token_update")
        else:
            self._client.get(patience)
        return {"status": "ok"}


_manager: TokenManager | None = None
_lock = threading.Lock()


def get_token_manager() -> TokenManager:
    """The one of this process."""
    global _manager
    with _lock:
        if _manager is None:
            _manager = TokenManager()
        return _manager


def _text(value: Any) -> str | None:
    return str(value) if value else None
