"""The client for threads."""

from __future__ import annotations

import os
import threading
import time
import weakref
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from types import TracebackType
from typing import Callable

import redis
from redis.retry import Retry

from .address import options_of
from .bundle import Bundle
from .connection import checked, client_of
from .cookies import cookies_of
from .errors import RedisUnreachable, TimedOut
from .event import TokenUpdate
from .flow import LAST_LOOK, Expired, Progress, Wanted, follow, log, reported, timed_out, watch
from .site import Product, Site
from .thread_link import BlockingPort, Closed, Link, in_a_thread, run, settle
from .waits import Outcome, Wait, Waits, token_of


class TokenClient:
    """A parser's side of the sidecar, for any number of threads.

    Redis is at `url`, else at `REDIS_URL`, else on this machine, with `password` or `REDIS_PASSWORD` where the URL has
    none. Or pass a `client` of redis-py (plain, Sentinel's `master_for(…)`, `RedisCluster`), which
    you close yourself. Where the cookies are the `product` of the site, they are the token: the JSON text of their key.
    """

    def __init__(
        self,
        site: str = "chitai_gorod",
        url: str | None = None,
        *,
        password: str | None = None,
        client: redis.Redis | redis.RedisCluster | None = None,
        token_key: str | None = None,
        cookies_key: str | None = None,
        product: Product = "token",
        source: str = "Python client",
        redis_timeout: float = 5.0,
    ) -> None:
        self.site = Site.of(site, token_key, cookies_key, product)
        self.source = source
        if client is None:
            used = client_of(redis.Redis, Retry, options_of(url, password), redis_timeout)
        else:
            used = checked(client, redis, url, password)
        self._link = Link(used, client is None, redis_timeout)
        self._waits: Waits[Future[Outcome]] = Waits()
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        _clients.add(self)

    def get(self, timeout: float = 60.0) -> str:
        """The current token; if there is none, requests one and waits."""
        return self._newer(Wanted.after(self.site, None, "there is no token", self.source), timeout)

    def wait_newer(self, token: str, timeout: float = 60.0, reason: str = "401") -> str:
        """The token that follows the one that was refused. Threads that wait for the same share one wait."""
        return self._newer(Wanted.after(self.site, token, reason, self.source), timeout)

    def invalidate(self, token: str | None, reason: str = "401") -> int:
        """Reports a refused token (None: any) without waiting; returns how many sidecars received the report."""
        report = Wanted.after(self.site, token, reason, self.source).report
        return reported(self.site, self._link.publish(self.site.invalid, report), self._link.counts_all)

    def cookies(self) -> dict[str, str]:
        """The cookies of the stored token, still percent-encoded; empty if there are none."""
        return cookies_of(self.site.cookies_key, self._link.get(self.site.cookies_key))

    def user_agent(self) -> str | None:
        """The user agent of the stored token."""
        return self._link.field(self.site.meta_key, "user_agent") or None

    def bundle(self, timeout: float = 60.0, *, refused: str | None = None, reason: str = "401") -> Bundle:
        """The token, its cookies and its user agent, read in one step. Waits as `get`, or as `wait_newer(refused)`."""
        token = self.get(timeout) if refused is None else self.wait_newer(refused, timeout, reason)
        return self._link.bundle(self.site, token)

    def on_update(self, callback: Callable[[TokenUpdate], object], timeout: float = 60.0) -> Watch:
        """Calls back with every update, in a thread, until the watch is closed.

        Returns once it is subscribed. After a fork the child has to call it again.
        """
        watch = Watch(self.site, self._link, callback)
        self._watches.add(watch)
        watch._begin(timeout)
        return watch

    def close(self) -> None:
        """Ends the watches and the connections, but not those of a client that was passed in."""
        for begun in list(self._watches):
            begun.close()
        self._link.close()

    def __enter__(self) -> TokenClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TokenClient of {self.site.id}>"

    def _newer(self, wanted: Wanted, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        progress = Progress()
        token = self._look(wanted, max(timeout, LAST_LOOK), progress)
        if not token and deadline > time.monotonic():
            wait, is_new = self._waits.join(wanted.refused, deadline, Future)
            progress, outcome = wait.progress, None
            try:
                if is_new:
                    self._begin(wanted, wait)
                outcome = wait.handle.result(max(0.0, deadline - time.monotonic()))
            except NotYet:
                pass
            finally:
                self._waits.leave(wait)
            token = token_of(outcome) or self._look(wanted, LAST_LOOK, progress)
        if not token:
            raise timed_out(self.site, timeout, progress)
        return token

    def _look(self, wanted: Wanted, within: float, progress: Progress) -> str | None:
        try:
            return wanted.met_by(self._link.get(self.site.token_key, within))
        except RedisUnreachable as error:
            # The wait continues.
            progress.failed(error)
            return None

    def _begin(self, wanted: Wanted, wait: Wait[Future[Outcome]]) -> None:
        try:
            in_a_thread(f"wait for {self.site.id}", lambda: settle(wait.handle, lambda: self._serve(wanted, wait)))
        except BaseException:
            self._waits.end(wait)
            wait.handle.set_result(None)
            raise

    def _serve(self, wanted: Wanted, wait: Wait[Future[Outcome]]) -> Outcome:
        """Runs a wait in its own thread, so that a call that blocks does not delay the callers."""
        port = BlockingPort(self._link)
        waits = self._waits
        try:
            return run(follow(port, self.site, wanted, lambda: waits.patience(wait), wait.progress))
        except Expired:
            return None
        except BaseException as error:  # raised to each caller
            return error
        finally:
            waits.end(wait)
            port.close()


class Watch:
    """Calls back with updates until it is closed."""

    def __init__(self, site: Site, link: Link, callback: Callable[[TokenUpdate], object]) -> None:
        self._site = site
        self._callback = callback
        self._port = BlockingPort(link)
        self._subscribed: Future[None] = Future()
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """Ends it. A running callback is waited for, a second at most."""
        self._port.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, timeout: float) -> None:
        self._thread = in_a_thread(f"updates of {self._site.id}", self._serve)
        try:
            self._subscribed.result(timeout)
        except NotYet:
            self.close()
            raise TimedOut(f"no subscription to {self._site.updated} within {timeout:g} s") from None

    def _serve(self) -> None:
        try:
            run(watch(self._port, self._site, self._call, lambda: self._subscribed.set_result(None)))
        except Closed:
            pass
        except BaseException as error:  # raised by on_update
            self._subscribed.set_exception(error)
        finally:
            self._port.close()

    async def _call(self, update: TokenUpdate) -> None:
        try:
            self._callback(update)
        except Exception:
            log.exception("a callback for updates of %s has failed", self._site.id)

    def _forget(self) -> None:
        # The connection belongs to the parent process and must not be used.
        self._port = BlockingPort(self._port._link)
        self._thread = None


_clients: weakref.WeakSet[TokenClient] = weakref.WeakSet()


def _after_fork() -> None:
    """The child has no threads of the parent, and their locks may never be released."""
    for client in list(_clients):
        client._waits = Waits()
        for begun in list(client._watches):
            begun._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
