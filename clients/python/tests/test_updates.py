"""`on_update` over a real Redis."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from datetime import datetime, timezone
from typing import Any, Callable

import pytest
from parsers import Parser
from servers import DEADLINE, RedisServer
from stand_in import UPDATED, StandIn

from token_sidecar_client import (
    AsyncTokenClient,
    AsyncWatch,
    RedisRefused,
    TimedOut,
    TokenClient,
    TokenUpdate,
    fingerprint,
)
from token_sidecar_client.flow import SILENCE


def test_every_update_is_called_with(parser: Parser, stand_in: StandIn) -> None:
    updates: queue.Queue[TokenUpdate] = queue.Queue()
    parser.watch(updates.put)
    stand_in.announce("first", 1, expires_at="2026-11-24T05:53:05Z", ttl=86400, trigger="invalid", of_the_future=[1])
    stand_in.announce("first", 1, cause="repeated")
    first, second = updates.get(timeout=DEADLINE), updates.get(timeout=DEADLINE)
    assert (first.cause, second.cause) == ("refreshed", "repeated")
    assert (first.version, first.fingerprint, first.ttl) == (1, fingerprint("first"), 86400)
    assert first.expires_at == datetime(2026, 11, 24, 5, 53, 5, tzinfo=timezone.utc)
    assert first.raw["of_the_future"] == [1]


def test_what_was_stored_while_the_connection_was_broken_is_called_with_once(parser: Parser, stand_in: StandIn) -> None:
    server = stand_in.server
    updates: queue.Queue[TokenUpdate] = queue.Queue()
    stand_in.store("first", 1)
    parser.watch(updates.put)
    server.stop()
    server.start()
    # Before the watch is back, most likely; and if it is faster, it receives it.
    stand_in.refresh("second", 2)
    assert updates.get(timeout=DEADLINE).version == 2
    server.until_subscribed(UPDATED, 1)
    stand_in.refresh("third", 3)
    assert updates.get(timeout=DEADLINE).version == 3


def test_a_callback_that_fails_is_logged_and_called_again(
    parser: Parser, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    updates: queue.Queue[TokenUpdate] = queue.Queue()

    def fails(update: TokenUpdate) -> None:
        updates.put(update)
        raise KeyError("in the callback")

    with caplog.at_level(logging.ERROR, "token_sidecar_client"):
        parser.watch(fails)
        for version in (1, 2):
            stand_in.announce("token", version)
            assert updates.get(timeout=DEADLINE).version == version
    assert "a callback for updates of chitai_gorod has failed" in caplog.text


def test_a_watch_that_is_closed_receives_nothing_more(parser: Parser, stand_in: StandIn) -> None:
    updates: queue.Queue[TokenUpdate] = queue.Queue()
    close = parser.watch(updates.put)
    begun = time.monotonic()
    close()
    stand_in.server.until_subscribed(UPDATED, 0)
    # At once, and not with the next check of its connection.
    assert time.monotonic() - begun < SILENCE / 2
    stand_in.announce("token")
    close()
    assert updates.empty()


def test_the_end_of_a_client_ends_its_watches(parser: Parser, server: RedisServer) -> None:
    for _ in range(3):
        parser.watch(lambda _: None)
    server.until_subscribed(UPDATED, 3)
    parser.end()
    server.until_subscribed(UPDATED, 0)


def test_a_watch_may_be_closed_by_its_callback(server: RedisServer, stand_in: StandIn) -> None:
    closed = threading.Event()
    watches: list[Any] = []

    def close(_: TokenUpdate) -> None:
        watches[0].close()
        closed.set()

    with TokenClient(url=server.url) as client:
        watches.append(client.on_update(close))
        stand_in.announce("token")
        assert closed.wait(DEADLINE)
        server.until_subscribed(UPDATED, 0)


def test_a_watch_may_be_closed_by_its_asynchronous_callback(server: RedisServer, stand_in: StandIn) -> None:
    async def main() -> None:
        closed = asyncio.Event()
        watches: list[AsyncWatch] = []

        async def close(_: TokenUpdate) -> None:
            await watches[0].aclose()
            closed.set()

        async with AsyncTokenClient(url=server.url) as client:
            watches.append(await client.on_update(close))
            stand_in.announce("token")
            await asyncio.wait_for(closed.wait(), DEADLINE)
            await asyncio.to_thread(server.until_subscribed, UPDATED, 0)

    asyncio.run(main())


def test_a_watch_that_cannot_begin_raises_the_reason(make: Callable[..., Parser], server: RedisServer) -> None:
    server.client.execute_command("ACL", "SETUSER", "channelless", "on", ">x", "~*", "+@all", "resetchannels")
    with pytest.raises(RedisRefused, match="channel"):
        make(server.url.replace("//", "//channelless:x@")).watch(lambda _: None)
    parser = make(server.url)
    server.stop()
    with pytest.raises(TimedOut, match="no subscription to chitai_gorod:token:updated within"):
        parser.watch(lambda _: None, timeout=0.2)
    server.start()
