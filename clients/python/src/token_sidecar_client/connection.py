"""What both clients need of redis-py: settings, reading of answers, and the meaning of errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
from redis import exceptions as redis_errors
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE

from .bundle import Bundle
from .cookies import cookies_of
from .errors import InvalidSettings, RedisRefused, RedisUnreachable, TokenSidecarError
from .port import Message
from .site import Site


def client_of(kind: Any, retry: Any, at: Mapping[str, Any], patience: float, **more: Any) -> Any:
    """A new client of redis-py or redis.asyncio, whose steps take about `patience` at most."""
    if kind is redis.Redis and "unix_socket_path" in at and redis.__version__ == "4.5.2":
        raise InvalidSettings("redis-py 4.5.2 has no Unix sockets: 4.5.3 or later is needed")
    options: dict[str, Any] = {
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "socket_keepalive": True,
        # Each wait holds a connection; the caller decides how many waits there are.
        "max_connections": 2**31,
        # A pooled connection may be broken, so a command is tried again on another; after a timeout it is not.
        "retry": retry(NoBackoff(), 1, supported_errors=(redis_errors.ConnectionError,)),
        "retry_on_error": [redis_errors.ConnectionError],
    }
    if "protocol" in inspect.signature(kind).parameters:  # from redis-py 5 on
        options["protocol"] = 2
    return kind(**at, **options, **more)


def checked(client: Any, module: Any, url: str | None, password: str | None) -> Any:
    """The caller's own client, where it is one of the module `redis` or `redis.asyncio`."""
    if url or password:
        raise InvalidSettings("client= excludes url= and password=: give one of them")
    if not isinstance(client, (module.Redis, module.RedisCluster)):
        wanted = f"{module.__name__}.Redis or {module.__name__}.RedisCluster"
        raise InvalidSettings(f"client= is of the type {type(client).__module__}.{type(client).__name__}, not {wanted}")
    return client


def stored(client: Any, key: str) -> Any:
    """Reads a key as bytes, even if the client decodes: the value may not be text."""
    return client.execute_command("GET", key, **{NEVER_DECODE: []})


def is_cluster(client: object) -> bool:
    return isinstance(client, (redis.RedisCluster, redis.asyncio.RedisCluster))


@contextmanager
def translated_errors() -> Iterator[None]:
    """Translates the errors of redis-py: Redis is unreachable and may come back, or it refuses."""
    try:
        yield
    except TokenSidecarError:
        raise
    except (redis_errors.AuthenticationError, redis_errors.AuthorizationError) as error:
        raise RedisRefused(f"Redis refuses the login: {error}") from error
    except (
        redis_errors.ConnectionError,
        redis_errors.TimeoutError,
        redis_errors.ClusterError,
        redis_errors.RedisClusterException,
        asyncio.TimeoutError,
        OSError,
        UnicodeDecodeError,
        EOFError,
    ) as error:
        raise RedisUnreachable(f"Redis is out of reach: {str(error) or type(error).__name__}") from error
    except redis_errors.RedisError as error:
        raise RedisRefused(f"Redis answers with an error: {error}") from error


def batch_of(client: Any, site: Site) -> Any:
    """Token, cookies and user agent in one step. On a Cluster, where redis-py has no transactions, in one request."""
    batch = client.pipeline(transaction=not is_cluster(client))
    batch.get(site.token_key).get(site.cookies_key).hget(site.meta_key, "user_agent")
    return batch


def bundle_of(site: Site, token: str, answers: list[Any]) -> Bundle:
    """What a batch has read; `token` is used where the key has none any more."""
    stored, cookies, user_agent = map(text_or_none, answers)
    return Bundle(site.read(stored) or token, cookies_of(site.cookies_key, cookies), user_agent or None, site.product)


def text(value: Any) -> str:
    """A value of Redis as text, whether or not the client decodes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def text_or_none(value: Any) -> str | None:
    return None if value is None else text(value)


def message_of(received: Mapping[str, Any] | None) -> Message | None:
    return None if received is None else Message(text(received["type"]), text(received["data"]))
