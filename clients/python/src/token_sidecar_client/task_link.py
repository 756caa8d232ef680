"""Redis for tasks: commands that end in bounded time, and the port that awaits."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any, TypeVar

import redis.asyncio

from .bundle import Bundle
from .connection import batch_of, bundle_of, is_cluster, message_of, stored, text, text_or_none, translated_errors
from .errors import RedisUnreachable
from .port import Message
from .site import Site

T = TypeVar("T")


class AsyncLink:
    """The commands that the client uses."""

    def __init__(self, redis: Any, is_own: bool, patience: float) -> None:
        self._redis = redis
        self._is_own = is_own
        self.patience = patience
        self.counts_all = not is_cluster(redis)

    async def get(self, key: str, within: float | None = None) -> str | None:
        return text_or_none(await self._ask(stored(self._redis, key), within))

    async def field(self, key: str, name: str) -> str | None:
        return text_or_none(await self._ask(self._redis.hget(key, name)))

    async def fields(self, key: str) -> dict[str, str]:
        return {text(name): text(value) for name, value in (await self._ask(self._redis.hgetall(key))).items()}

    async def bundle(self, site: Site, token: str) -> Bundle:
        return bundle_of(site, token, await self._ask(batch_of(self._redis, site).execute()))

    async def publish(self, channel: str, payload: str) -> int:
        return int(await self._ask(self._redis.publish(channel, payload)))

    async def subscribe(self, channels: tuple[str, ...]) -> Any:
        """A subscription to the channels, when every one is confirmed."""
        if not self.counts_all:
            # The subscription of a Cluster does not discover the nodes by itself.
            await self._ask(self._redis.initialize())
        subscription = self._redis.pubsub()
        try:
            await self._ask(_confirmed(subscription, channels))
        except BaseException:
            await drop(subscription)
            raise
        return subscription

    async def aclose(self) -> None:
        if self._is_own:
            with translated_errors():
                await closing(self._redis)

    async def _ask(self, answer: Awaitable[T], within: float | None = None) -> T:
        with translated_errors():
            return await in_time(answer, self.patience if within is None else within, _cancels_well)


class AsyncPort:
    """A port for one task."""

    def __init__(self, link: AsyncLink) -> None:
        self._link = link
        self._subscription: Any = None
        self._is_stopped = False

    @property
    def counts_all(self) -> bool:
        return self._link.counts_all

    async def get(self, key: str) -> str | None:
        return await self._link.get(key)

    async def fields(self, key: str) -> dict[str, str]:
        return await self._link.fields(key)

    async def publish(self, channel: str, payload: str) -> int:
        return await self._link.publish(channel, payload)

    async def listen(self, *channels: str) -> None:
        await self.aclose()
        self._check()
        self._subscription = await self._link.subscribe(channels)

    async def receive(self, patience: float) -> Message | None:
        self._check()
        with translated_errors():
            # redis-py keeps this timeout, except while it reconnects.
            receiving = self._subscription.get_message(timeout=patience)
            return message_of(await in_time(receiving, patience + self._link.patience))

    async def ping(self) -> None:
        with translated_errors():
            await in_time(self._subscription.ping(), self._link.patience)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._check()

    def stop(self) -> None:
        """Lets the task end at its next step, even if its cancellation is lost."""
        self._is_stopped = True

    async def aclose(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await drop(subscription)

    def _check(self) -> None:
        if self._is_stopped:
            raise asyncio.CancelledError


# Before redis-py 4.5.5 the answer to a cancelled command is returned for the next command on its connection: with these
# versions no command is cancelled, and each ends by itself.
_cancels_well = "disconnect_on_error" in inspect.signature(redis.asyncio.Connection.read_response).parameters


async def in_time(answer: Awaitable[T], seconds: float, cancel: bool = True) -> T:
    """Like `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes with the answer."""
    task = asyncio.ensure_future(answer)
    # Retrieves the exception, so that asyncio does not log it.
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise RedisUnreachable(f"Redis is out of reach: no answer within {seconds:g} s")
        return task.result()
    finally:
        if cancel:
            task.cancel()


async def closing(what: Any) -> None:
    await (what.aclose() if hasattr(what, "aclose") else what.close())  # before redis-py 5.0.1


async def drop(subscription: Any) -> None:
    """Closes a subscription and ignores errors of its connection."""
    try:
        with translated_errors():
            await in_time(closing(subscription), 1.0)
    except RedisUnreachable:
        pass


async def _confirmed(subscription: Any, channels: tuple[str, ...]) -> None:
    missing = set(channels)
    await subscription.subscribe(*channels)
    while missing:
        message = await subscription.get_message(timeout=60)
        if message is not None and message["type"] == "subscribe":
            missing.discard(text(message["channel"]))
