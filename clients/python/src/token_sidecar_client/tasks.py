"""The client for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import weakref
from types import TracebackType
from typing import Callable

import redis.asyncio
from redis.asyncio.retry import Retry

from .address import options_of
from .bundle import Bundle
from .connection import checked, client_of
from .cookies import cookies_of
from .errors import InvalidSettings, RedisUnreachable, TimedOut
from .event import TokenUpdate
from .flow import LAST_LOOK, Expired, Progress, Wanted, follow, log, reported, timed_out, watch
from .site import Product, Site
from .task_link import AsyncLink, AsyncPort
from .waits import Outcome, Wait, Waits, token_of


class AsyncTokenClient:
    """A parser's side of the sidecar, for any number of tasks.

    Redis is at `url`, else at `REDIS_URL`, else on this machine, with `password` or `REDIS_PASSWORD` where the URL has
    none. Or pass a `client` of redis.asyncio (plain, Sentinel's `master_for(…)`, `RedisCluster` from redis-py 8 on),
    which you close yourself. Where the cookies are the `product` of the site, they are the token: the JSON text of
    their key.
    """

    def __init__(
        self,
        site: str = "chitai_gorod",
        url: str | None = None,
        *,
        password: str | None = None,
        client: redis.asyncio.Redis | redis.asyncio.RedisCluster | None = None,
        token_key: str | None = None,
        cookies_key: str | None = None,
        product: Product = "token",
        source: str = "Python client",
        redis_timeout: float = 5.0,
    ) -> None:
        self.site = Site.of(site, token_key, cookies_key, product)
        self.source = source

        if client is None:
            at = options_of(url, password)
        elif not hasattr(checked(client, redis.asyncio, url, password), "pubsub"):
            raise InvalidSettings("this RedisCluster of redis.asyncio cannot subscribe: redis-py 8 or later is needed")

        def link() -> AsyncLink:
            """A link for one event loop, to which connections and locks of redis-py belong."""
            used = client_of(redis.asyncio.Redis, Retry, at, redis_timeout) if client is None else client
            return AsyncLink(used, client is None, redis_timeout)

        self._link = link
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopState] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    async def get(self, timeout: float = 60.0) -> str:
        """The current token; if there is none, requests one and waits."""
        return await self._newer(Wanted.after(self.site, None, "there is no token", self.source), timeout)

    async def wait_newer(self, token: str, timeout: float = 60.0, reason: str = "401") -> str:
        """The replacement of a refused token. Tasks that wait for the same share one wait."""
        return await self._newer(Wanted.after(self.site, token, reason, self.source), timeout)

    async def invalidate(self, token: str | None, reason: str = "401") -> int:
        """Reports a refused token (None: any) without waiting; returns how many sidecars received the report."""
        link = self._of_this_loop().link
        report = Wanted.after(self.site, token, reason, self.source).report
        return reported(self.site, await link.publish(self.site.invalid, report), link.counts_all)

    async def cookies(self) -> dict[str, str]:
        """The cookies of the stored token, still percent-encoded; empty if there are none."""
        return cookies_of(self.site.cookies_key, await self._of_this_loop().link.get(self.site.cookies_key))

    async def user_agent(self) -> str | None:
        """The user agent of the stored token."""
        return await self._of_this_loop().link.field(self.site.meta_key, "user_agent") or None

    async def bundle(self, timeout: float = 60.0, *, refused: str | None = None, reason: str = "401") -> Bundle:
        """The token, its cookies and its user agent, read in one step. Waits as `get`, or as `wait_newer(refused)`."""
        token = await (self.get(timeout) if refused is None else self.wait_newer(refused, timeout, reason))
        return await self._of_this_loop().link.bundle(self.site, token)

    async def on_update(self, callback: Callable[[TokenUpdate], object], timeout: float = 60.0) -> AsyncWatch:
        """Calls back with every update, in a task, until the watch is closed; awaits a callback that is a coroutine.

        Returns once it is subscribed.
        """
        state = self._of_this_loop()
        watch = AsyncWatch(self.site, state.link, callback, state.watches)
        await watch._begin(timeout)
        return watch

    async def aclose(self) -> None:
        """Ends the watches and the connections, but not those of a client that was passed in."""
        with self._lock:
            state = self._loops.pop(asyncio.get_running_loop(), None)
        if state is not None:
            for watch in list(state.watches):
                await watch.aclose()
            await state.link.aclose()

    async def __aenter__(self) -> AsyncTokenClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<AsyncTokenClient of {self.site.id}>"

    def _of_this_loop(self) -> _LoopState:
        loop = asyncio.get_running_loop()
        with self._lock:
            state = self._loops.get(loop)
            if state is None:
                state = self._loops[loop] = _LoopState(self._link())
            return state

    async def _newer(self, wanted: Wanted, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        state = self._of_this_loop()
        progress = Progress()
        token = await self._look(state.link, wanted, max(timeout, LAST_LOOK), progress)
        if not token and deadline > time.monotonic():
            wait, is_new = state.waits.join(wanted.refused, deadline, _Served)
            progress, served = wait.progress, wait.handle
            if is_new:
                served.task = asyncio.ensure_future(self._serve(state, wanted, wait))
            try:
                await asyncio.wait({served.outcome}, timeout=max(0.0, deadline - time.monotonic()))
            finally:
                if state.waits.leave(wait) and served.task is not None:
                    served.task.cancel()
            outcome = served.outcome.result() if served.outcome.done() else None
            token = token_of(outcome) or await self._look(state.link, wanted, LAST_LOOK, progress)
        if not token:
            raise timed_out(self.site, timeout, progress)
        return token

    async def _look(self, link: AsyncLink, wanted: Wanted, within: float, progress: Progress) -> str | None:
        try:
            return wanted.met_by(await link.get(self.site.token_key, within))
        except RedisUnreachable as error:
            # The wait continues.
            progress.failed(error)
            return None

    async def _serve(self, state: _LoopState, wanted: Wanted, wait: Wait[_Served]) -> None:
        port = AsyncPort(state.link)
        outcome: Outcome = None
        try:
            outcome = await follow(port, self.site, wanted, lambda: state.waits.patience(wait), wait.progress)
        except Expired:
            pass
        except Exception as error:  # raised to each caller
            outcome = error
        finally:
            state.waits.end(wait)
            wait.handle.outcome.set_result(outcome)
            await port.aclose()


class _LoopState:
    """What belongs to one event loop."""

    def __init__(self, link: AsyncLink) -> None:
        self.link = link
        self.waits: Waits[_Served] = Waits()
        self.watches: set[AsyncWatch] = set()


class _Served:
    """A wait and the task that serves it."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Future[None] | None = None


class AsyncWatch:
    """Calls back with updates until it is closed."""

    def __init__(
        self, site: Site, link: AsyncLink, callback: Callable[[TokenUpdate], object], kept: set[AsyncWatch]
    ) -> None:
        self._site = site
        # An event loop keeps only weak references to its tasks.
        self._kept = kept
        self._callback = callback
        self._port = AsyncPort(link)
        self._subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Future[None] | None = None

    async def aclose(self) -> None:
        """Ends it. A running callback is cancelled and waited for, a second at most."""
        self._port.stop()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1.0)

    async def __aenter__(self) -> AsyncWatch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _begin(self, timeout: float) -> None:
        self._kept.add(self)
        self._task = asyncio.ensure_future(self._serve())
        try:
            await asyncio.wait({self._subscribed}, timeout=timeout)
        finally:
            if not self._subscribed.done():
                await self.aclose()
        if not self._subscribed.done():
            raise TimedOut(f"no subscription to {self._site.updated} within {timeout:g} s")
        self._subscribed.result()

    async def _serve(self) -> None:
        try:
            await watch(self._port, self._site, self._call, lambda: self._subscribed.set_result(None))
        except Exception as error:  # raised by on_update
            self._subscribed.set_exception(error)
        finally:
            self._kept.discard(self)
            await self._port.aclose()

    async def _call(self, update: TokenUpdate) -> None:
        try:
            result = self._callback(update)
            if inspect.isawaitable(result):
                await result
        except Exception:
            log.exception("a callback for updates of %s has failed", self._site.id)
