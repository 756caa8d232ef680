"""A drop-in for the `TokenManager` of the Celery design: a parser changes one import.

The sidecar renews and stores; this class reads and reports under the old names. As there, errors are logged, and the
result is `None` or `False`. A report replaces the task, and its result waits for the outcome.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from typing import Any, Callable, Literal, TypeVar

import redis
from redis.retry import Retry

from .address import options_of
from .connection import client_of, translated_errors
from .cookies import cookies_of
from .flow import log
from .threads import TokenClient

T = TypeVar("T")

ENV_KEY = "CHITAI_GOROD_BEARER_TOKEN"
TTL = 86400
WILDBERRIES_TTL = 43200
WILDBERRIES_COOKIE = "x_wbaas_token"
WILDBERRIES_ENV_KEY = "WB_X_WBAAS_TOKEN"


class TokenManager:
    """The old names over a `TokenClient`."""

    def __init__(
        self, redis_url: str | None = None, redis_password: str | None = None, *, env_file: str | None = None
    ) -> None:
        self.env_file = env_file or os.environ.get("ENV_FILE") or ".env"
        of_process: dict[str, Any] = {"password": redis_password, "source": "TokenManager"}
        self.client = TokenClient("chitai_gorod", redis_url, **of_process)
        self.wildberries = TokenClient("wildberries", redis_url, product="cookies", **of_process)
        at = options_of(redis_url, redis_password)
        self.redis: redis.Redis = client_of(redis.Redis, Retry, at, 5.0, decode_responses=True)
        self._given = threading.local()

    def get_chitai_gorod_token(self) -> str | None:
        """The current token; None if there is none, or Redis is unreachable."""
        return self._give(_try("the token is not read", lambda: self.redis.get(self.client.site.token_key)))

    def get_chitai_gorod_token_from_env(self) -> str | None:
        """The token in the `.env`, or in the environment."""
        return self._written() or os.environ.get(ENV_KEY) or None

    def get_chitai_gorod_token_fallback(self) -> str | None:
        """The current token, else that of the `.env` or of the environment."""
        return self.get_chitai_gorod_token() or self._give(self.get_chitai_gorod_token_from_env())

    def save_chitai_gorod_token(self, token: str, ttl: int = TTL) -> bool:
        """Stores a token of your own. The sidecar verifies it at its next check, and adopts it if it works.

        Only the sidecar writes the `.env` (`SIDECAR_ENV_FILE`).
        """
        return self._save(self.client.site.token_key, lambda: token, ttl)

    def get_chitai_gorod_cookies(self) -> dict[str, str] | None:
        """The cookies of the stored token, still percent-encoded; None as for the token."""
        key = self.client.site.cookies_key
        return _try("the cookies are not read", lambda: cookies_of(key, _text(self.redis.get(key)))) or None

    def save_chitai_gorod_cookies(self, cookies: dict[str, str], ttl: int = TTL) -> bool:
        """Stores cookies of your own."""
        return self._save(self.client.site.cookies_key, lambda: json.dumps(cookies), ttl)

    def trigger_token_update(self) -> Refresh | Literal[False]:
        """Reports the token that this thread read last, else the stored one, and does not wait.

        False if that fails, or no sidecar receives it.
        """
        refused = getattr(self._given, "token", None) or self.get_chitai_gorod_token()
        receivers = _try("no update is triggered", lambda: self.client.invalidate(refused, "trigger_token_update"))
        return False if receivers is None else Refresh(self.client, refused)

    def get_wildberries_cookies(self) -> dict[str, str] | None:
        """The cookies of Wildberries; None if there are none, or Redis is unreachable."""
        key = self.wildberries.site.cookies_key
        stored = _text(_try("the cookies are not read", lambda: self.redis.get(key)))
        if stored:
            # The next trigger of this thread reports these cookies.
            self._given.wildberries = stored
        return _try("the cookies are not read", lambda: cookies_of(key, stored)) or None

    def save_wildberries_cookies(self, cookies: dict[str, str], ttl: int = WILDBERRIES_TTL) -> bool:
        """Stores cookies of your own. The sidecar verifies them at its next check, and adopts them if they work."""
        return self._save(self.wildberries.site.cookies_key, lambda: json.dumps(cookies), ttl)

    def get_wildberries_token_fallback(self) -> str | None:
        """The one of the cookies that counts, else that of the environment."""
        cookies = self.get_wildberries_cookies() or {}
        return cookies.get(WILDBERRIES_COOKIE) or os.environ.get(WILDBERRIES_ENV_KEY) or None

    def trigger_wildberries_cookies_update(self) -> Refresh | Literal[False]:
        """Reports the cookies that this thread read last, and does not wait. False as for the token."""
        if not getattr(self._given, "wildberries", None):
            self.get_wildberries_cookies()
        refused = getattr(self._given, "wildberries", None)
        reason = "trigger_wildberries_cookies_update"
        receivers = _try("no update is triggered", lambda: self.wildberries.invalidate(refused, reason))
        return False if receivers is None else Refresh(self.wildberries, refused)

    def close(self) -> None:
        """Closes the connections; they are opened again when they are needed."""
        self.client.close()
        self.wildberries.close()
        self.redis.close()
        self.redis.connection_pool.disconnect()

    def _save(self, key: str, value: Callable[[], str], ttl: int) -> bool:
        return _try(f"{key} is not saved", lambda: self.redis.set(key, value(), ex=ttl)) is not None

    def _give(self, token: Any) -> str | None:
        given = _text(token)
        if given:
            # The next trigger of this thread reports this token, even if another is stored by then.
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
    """The result of a trigger, in place of that of a Celery task."""

    def __init__(self, client: TokenClient, refused: str | None) -> None:
        self.id = uuid.uuid4().hex
        self._client = client
        self._refused = refused

    def get(self, timeout: float | None = None) -> dict[str, str]:
        """Waits for a newer token, 60 s by default; raises the errors of `TokenClient`."""
        patience = 60.0 if timeout is None else timeout
        if self._refused:
            self._client.wait_newer(self._refused, patience, "trigger_token_update")
        else:
            self._client.get(patience)
        return {"status": "ok"}


_manager: TokenManager | None = None
_lock = threading.Lock()


def get_token_manager() -> TokenManager:
    """The manager of this process."""
    global _manager
    with _lock:
        if _manager is None:
            _manager = TokenManager()
        return _manager


def _try(failed: str, do: Callable[[], T]) -> T | None:
    try:
        with translated_errors():
            return do()
    except Exception as error:
        log.error("%s: %s", failed, error)
        return None


def _text(value: Any) -> str | None:
    return str(value) if value else None
