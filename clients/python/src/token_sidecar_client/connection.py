"""How Redis is reached, whichever shell asks: settings, and what its library's errors mean."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
from redis import exceptions as theirs
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.connection import parse_url

from .errors import InvalidSettings, RedisRefused, RedisUnreachable, TokenSidecarError
from .port import Message

_SCHEMES = ("redis://", "rediss://", "unix://")


def checked(url: str | None) -> str:
    """Where Redis is: the URL that was given, or that of the environment, or this machine."""
    url = url or os.environ.get("REDIS_URL") or "redis://127.0.0.1:6379/0"
    if not url.startswith(_SCHEMES):
        raise InvalidSettings("the URL of Redis begins with none of " + ", ".join(_SCHEMES))
    try:
        parse_url(url)
    except ValueError:
        # What its message quotes of the URL may be a part of a password.
        raise InvalidSettings("the URL of Redis cannot be read: redis://user:password@host:port/db") from None
    return url


def client_of(kind: Any, retry: Any, url: str, patience: float, **more: Any) -> Any:
    """A client of our own, of either kind of redis-py: nothing it does takes much longer than `patience`."""
    options: dict[str, Any] = {
        "socket_timeout": patience,
        "protocol": 2,
        # A wait holds a connection: the number of waits at once is the caller's business.
        "max_connections": 2**31,
        # A pooled connection may be dead; one that hangs is not asked again.
        "retry": retry(NoBackoff(), 1, supported_errors=(theirs.ConnectionError,)),
        "retry_on_error": [theirs.ConnectionError],
        **more,
    }
    if not url.startswith("unix://"):
        options.update(socket_connect_timeout=patience, socket_keepalive=True)
    return kind.from_url(url, **options)


def stored(client: Any, key: str) -> Any:
    """Asks for what a key holds: bytes, whether or not the client decodes, for it may be no text."""
    return client.execute_command("GET", key, **{NEVER_DECODE: []})


def is_cluster(client: object) -> bool:
    return isinstance(client, (redis.RedisCluster, redis.asyncio.RedisCluster))


@contextmanager
def told_apart() -> Iterator[None]:
    """Translates the errors of redis-py: what waiting may mend from what it does not."""
    try:
        yield
    except TokenSidecarError:
        raise
    except (theirs.AuthenticationError, theirs.AuthorizationError) as error:
        raise RedisRefused(f"Redis refuses the login: {error}") from error
    except (
        theirs.ConnectionError,
        theirs.TimeoutError,
        theirs.ClusterError,
        theirs.RedisClusterException,
        asyncio.TimeoutError,
        OSError,
        UnicodeDecodeError,
        EOFError,
    ) as error:
        raise RedisUnreachable(f"Redis is out of reach: {str(error) or type(error).__name__}") from error
    except theirs.RedisError as error:
        raise RedisRefused(f"Redis answers with an error: {error}") from error


def text(value: Any) -> str:
    """What Redis says, whether or not the client decodes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def text_or_none(value: Any) -> str | None:
    return None if value is None else text(value)


def message_of(received: Mapping[str, Any] | None) -> Message | None:
    return None if received is None else Message(text(received["type"]), text(received["data"]))
