"""Redis for threads: commands that end in bounded time, and the port that never suspends."""

from __future__ import annotations

import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Callable, TypeVar

from .bundle import Bundle
from .connection import batch_of, bundle_of, is_cluster, message_of, stored, text, text_or_none, translated_errors
from .errors import RedisUnreachable
from .port import Message
from .site import Site

T = TypeVar("T")


class Closed(BaseException):
    """The port was stopped. Like a cancellation, this is not an `Exception`."""


class Link:
    """The commands that the client uses."""

    def __init__(self, redis: Any, is_own: bool, patience: float) -> None:
        self._redis = redis
        self._is_own = is_own
        self._patience = patience
        self.counts_all = not is_cluster(redis)

    def get(self, key: str, within: float | None = None) -> str | None:
        return text_or_none(self._ask(lambda: stored(self._redis, key), within))

    def field(self, key: str, name: str) -> str | None:
        return text_or_none(self._ask(lambda: self._redis.hget(key, name)))

    def fields(self, key: str) -> dict[str, str]:
        return {text(name): text(value) for name, value in self._ask(lambda: self._redis.hgetall(key)).items()}

    def bundle(self, site: Site, token: str) -> Bundle:
        return bundle_of(site, token, self._ask(lambda: batch_of(self._redis, site).execute()))

    def publish(self, channel: str, payload: str) -> int:
        return int(self._ask(lambda: self._redis.publish(channel, payload)))

    def subscribe(self, channels: tuple[str, ...]) -> Any:
        """A subscription to the channels, when every one is confirmed."""
        return self._ask(lambda: self._subscription(channels), 2 * self._patience)

    def close(self) -> None:
        if self._is_own:
            self._redis.close()
            # Before redis-py 5 that leaves the connections open.
            self._redis.connection_pool.disconnect()

    def _subscription(self, channels: tuple[str, ...]) -> Any:
        subscription = self._redis.pubsub()
        try:
            missing = set(channels)
            subscription.subscribe(*channels)
            deadline = time.monotonic() + self._patience
            while missing:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise RedisUnreachable("Redis is out of reach: it does not confirm the subscription")
                message = subscription.get_message(timeout=left)
                if message is not None and message["type"] == "subscribe":
                    missing.discard(text(message["channel"]))
        except BaseException:
            subscription.close()
            raise
        return subscription

    def _ask(self, call: Callable[[], T], within: float | None = None) -> T:
        """Calls Redis. A client that may exceed the time is called in a thread, which may be abandoned."""
        with translated_errors():
            # An own client may take its timeout twice: to connect, and for the answer.
            if self._is_own and (within is None or within >= 2 * self._patience):
                return call()
            within = self._patience if within is None else within
            answer: Future[T] = Future()
            in_a_thread("question", lambda: settle(answer, call))
            try:
                return answer.result(within)
            except NotYet:
                if answer.done():
                    raise
                raise RedisUnreachable(f"Redis is out of reach: no answer within {within:g} s") from None


class BlockingPort:
    """A port whose methods block their thread and never suspend."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._subscription: Any = None
        self._is_stopped = threading.Event()

    @property
    def counts_all(self) -> bool:
        return self._link.counts_all

    async def get(self, key: str) -> str | None:
        return self._link.get(key)

    async def fields(self, key: str) -> dict[str, str]:
        return self._link.fields(key)

    async def publish(self, channel: str, payload: str) -> int:
        return self._link.publish(channel, payload)

    async def listen(self, *channels: str) -> None:
        self.close()
        self._check()
        self._subscription = self._link.subscribe(channels)

    async def receive(self, patience: float) -> Message | None:
        self._check()
        with translated_errors():
            return message_of(self._subscription.get_message(timeout=patience))

    async def ping(self) -> None:
        with translated_errors():
            self._subscription.ping()

    async def pause(self, seconds: float) -> None:
        self._is_stopped.wait(seconds)
        self._check()

    def stop(self) -> None:
        """Lets the thread end at its next step, and wakes it if it waits for a message. Any thread may call this."""
        self._is_stopped.set()
        try:
            subscription = self._subscription
            if subscription is not None:
                subscription.ping()
        except Exception:  # without a connection no thread waits on it
            pass

    def close(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def _check(self) -> None:
        if self._is_stopped.is_set():
            raise Closed


def run(flow: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that uses a blocking port to its end."""
    try:
        flow.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a coroutine over a blocking port has suspended")


def settle(future: Future[T], call: Callable[[], T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # raised by the future
        future.set_exception(error)


def in_a_thread(what: str, run: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=run, name=f"token-sidecar-client: {what}", daemon=True)
    thread.start()
    return thread
