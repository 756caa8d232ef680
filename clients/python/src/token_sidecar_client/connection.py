"""How Redis is reached, whichever shell asks: settings, and what its library's errors mean."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
from redis import exceptions as theirs
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE

from .bundle import Bundle
from .cookies import cookies_of
from .errors import InvalidSettings, RedisRefused, RedisUnreachable, TokenSidecarError
from .port import Message
from .site import Site, bare


def client_of(kind: Any, retry: Any, at: Mapping[str, Any], patience: float, **more: Any) -> Any:
    """A client of our own, of either kind of redis-py: nothing it does takes much longer than `patience`."""
    if kind is redis.Redis and "unix_socket_path" in at and redis.__version__ == "4.5.2":
        raise InvalidSettings("redis-py 4.5.2 has no Unix sockets: 4.5.3 or later is needed")
    options: dict[str, Any] = {
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "socket_keepalive": True,
        # A wait holds a connection: the number of waits at once is the caller's business.
        "max_connections": 2**31,
        # A pooled connection may be dead; one that hangs is not asked again.
        "retry": retry(NoBackoff(), 1, supported_errors=(theirs.ConnectionError,)),
        "retry_on_error": [theirs.ConnectionError],
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


def batch_of(client: Any, site: Site) -> Any:
    """Token, cookies and user agent in one step. On a Cluster, where redis-py has no transactions, in one request."""
    batch = client.pipeline(transaction=not is_cluster(client))
    batch.get(site.token_key).get(site.cookies_key).hget(site.meta_key, "user_agent")
    return batch


def bundle_of(site: Site, token: str, answers: list[Any]) -> Bundle:
    """What a batch has read; `token` is the one that was there before."""
    stored, cookies, user_agent = map(text_or_none, answers)
    return Bundle(bare(stored) or token, cookies_of(site.cookies_key, cookies), user_agent or None)


def text(value: Any) -> str:
    """What Redis says, whether or not the client decodes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def text_or_none(value: Any) -> str | None:
    return None if value is None else text(value)


def message_of(received: Mapping[str, Any] | None) -> Message | None:
    return None if received is None else Message(text(received["type"]), text(received["data"]))
