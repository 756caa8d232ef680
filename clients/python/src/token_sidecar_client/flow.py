"""The logic of both clients, without threads, tasks, sockets and clocks."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Callable

from .errors import NobodyListens, RedisUnreachable, RefreshFailed, TimedOut
from .event import RefreshFailure, TokenUpdate, event_of, report_of, update_of
from .port import Message, Port
from .site import Site, fingerprint

log = logging.getLogger("token_sidecar_client")

SILENCE = 15.0
"""After so many seconds without a message the subscription is sent a ping."""
ANSWER = 5.0
"""How long the answer to the ping may take."""

LAST_LOOK = 1.0
"""How long the last read of the key may take after the timeout."""


class Expired(Exception):
    """All callers of a wait have timed out."""


@dataclass(frozen=True)
class Wanted:
    """A token other than the refused one, or any token."""

    site: Site
    refused: str | None
    """The fingerprint of the refused token."""
    report: str

    @classmethod
    def after(cls, site: Site, refused: str | None, reason: str, source: str) -> Wanted:
        if not refused:
            return cls(site, None, report_of(None, reason, source))
        named = fingerprint(site.read(refused) or refused)
        # Reasons are logged, so the token is replaced.
        return cls(site, named, report_of(named, reason.replace(refused, named), source))

    def met_by(self, stored: str | None) -> str | None:
        """The stored token, where it is a wanted one."""
        token = self.site.read(stored)
        return token if token and fingerprint(token) != self.refused else None


class Progress:
    """The state of a wait, for the message of a timeout."""

    def __init__(self) -> None:
        self.state = "Redis was not asked in time"

    def failed(self, error: RedisUnreachable) -> None:
        self.state = str(error)

    def reported(self, receivers: int, counts_all: bool) -> None:
        who = f"{receivers} received the report" if counts_all else "the report was published"
        self.state = f"{who}, and no outcome was announced; `token-sidecar status` shows what the sidecar does"


async def follow(port: Port, site: Site, wanted: Wanted, patience: Callable[[], float], progress: Progress) -> str:
    """Waits for the wanted token, and begins again after a broken connection. Raises `Expired` at the timeout."""
    has_broken = False
    failures = 0
    while True:
        try:
            await port.listen(site.updated, site.failed)
            while True:
                if token := wanted.met_by(await port.get(site.token_key)):
                    return token
                await _skip_earlier_messages(port)
                receivers = await port.publish(site.invalid, wanted.report)
                if receivers or not port.counts_all:
                    break
                if not has_broken:
                    raise nobody_listens(site)
                # Sidecars reconnect too, and may take longer.
                progress.state = "Redis is back, and no sidecar listens yet"
                failures += 1
                await _pause(port, failures, patience)
            progress.reported(receivers, port.counts_all)
            failures = 0
            return await _outcome(port, site, wanted, patience)
        except RedisUnreachable as error:
            progress.failed(error)
            has_broken = True
            failures += 1
            await _pause(port, failures, patience)


async def _skip_earlier_messages(port: Port) -> None:
    """A failure that was announced before the report does not answer it."""
    while (message := await port.receive(0)) is not None:
        _check_not_interrupted(message)


async def _outcome(port: Port, site: Site, wanted: Wanted, patience: Callable[[], float]) -> str:
    while True:
        event = event_of((await _next(port, patience)).data)
        if isinstance(event, RefreshFailure):
            raise refresh_failed(site, event)
        # One with the fingerprint of the refused token answers another client.
        is_ours = isinstance(event, TokenUpdate) and event.fingerprint != wanted.refused
        if is_ours and (token := wanted.met_by(await port.get(site.token_key))):
            return token


async def watch(
    port: Port, site: Site, call: Callable[[TokenUpdate], Awaitable[None]], subscribed: Callable[[], None]
) -> None:
    """Calls with every update; after a broken connection, once with the version that was stored meanwhile."""
    known: int | None = None
    is_first = True
    failures = 0
    while True:
        try:
            await port.listen(site.updated)
            stored = await _stored(port, site)
            if stored and not is_first and stored.version != known:
                await call(stored)
            known = stored.version if stored else known
            if is_first:
                is_first = False
                subscribed()
            while True:
                event = event_of((await _next(port, lambda: SILENCE)).data)
                failures = 0
                # An update that was published between subscribing and reading the key is known already.
                if isinstance(event, TokenUpdate) and (event.cause != "refreshed" or event.version != known):
                    known = event.version
                    await call(event)
        except Exception as error:
            if is_first and not isinstance(error, RedisUnreachable):
                raise
            failures += 1
            if failures == 1:
                log.warning("no updates of %s: %s; subscribing again", site.id, error)
            await port.pause(_delay(failures))


async def _stored(port: Port, site: Site) -> TokenUpdate | None:
    """The update that announced the stored token, from the meta key."""
    meta = await port.fields(site.meta_key)
    version = meta.get("version", "")
    return update_of(
        {
            "event": "token:updated",
            "site": site.id,
            "cause": "repeated",
            "version": int(version) if version.isdecimal() else None,
            "fingerprint": meta.get("fingerprint"),
            "key": site.token_key,
            "ttl": None,
            "expires_at": meta.get("expires_at") or None,
            "refresh_at": None,
            "refreshed_at": meta.get("refreshed_at") or None,
            "trigger": meta.get("trigger", ""),
            "source": meta.get("source", ""),
        }
    )


async def _next(port: Port, patience: Callable[[], float]) -> Message:
    """The next published message. Detects a connection that is open and delivers nothing."""
    is_asked = False
    while True:
        message = await port.receive(min(_left(patience), ANSWER if is_asked else SILENCE))
        if message is None:
            _left(patience)
            if is_asked:
                raise RedisUnreachable("the subscription no longer answers")
            await port.ping()
            is_asked = True
            continue
        _check_not_interrupted(message)
        if message.kind == "message":
            return message
        is_asked = False


def _check_not_interrupted(message: Message) -> None:
    # The Redis library has reconnected by itself: messages in between are lost.
    if message.kind == "subscribe":
        raise RedisUnreachable("the subscription was interrupted")


def _left(patience: Callable[[], float]) -> float:
    left = patience()
    if left <= 0:
        raise Expired
    return left


async def _pause(port: Port, failures: int, patience: Callable[[], float]) -> None:
    await port.pause(min(_delay(failures), _left(patience)))
    _left(patience)


def _delay(failures: int) -> float:
    """The pause after so many failures in a row. The first is short: most interruptions are."""
    return float(min(2.0, 0.05 * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0))


def nobody_listens(site: Site) -> NobodyListens:
    return NobodyListens(
        f"no sidecar listens on {site.invalid}: start one, and let it use the same Redis (`token-sidecar doctor`)"
    )


def refresh_failed(site: Site, failure: RefreshFailure) -> RefreshFailed:
    again = f"; it tries again by itself at {failure.retry_at:%Y-%m-%dT%H:%M:%SZ}" if failure.retry_at else ""
    step = f" at the step `{failure.stage}`" if failure.stage else ""
    return RefreshFailed(
        f"the sidecar got no new token of {site.id}{step}: {failure.error}{again}",
        error=failure.error,
        stage=failure.stage,
        retry_at=failure.retry_at,
    )


def timed_out(site: Site, timeout: float, progress: Progress) -> TimedOut:
    return TimedOut(f"no new token of {site.id} within {timeout:g} s: {progress.state}")


def reported(site: Site, receivers: int, counts_all: bool) -> int:
    """The result of a report without a wait."""
    if receivers == 0 and counts_all:
        raise nobody_listens(site)
    return receivers
