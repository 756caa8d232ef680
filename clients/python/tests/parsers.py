"""Both clients behind one interface, so that every test covers both."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any, Callable, Protocol

import redis
import redis.asyncio
from servers import DEADLINE

from token_sidecar_client import AsyncTokenClient, TokenClient, TokenUpdate
from token_sidecar_client.task_link import closing


class Parser(Protocol):
    """A client whose calls run at once, their results collected later."""

    def begin(self, call: str, *args: Any, **options: Any) -> Future[Any]: ...

    def do(self, call: str, *args: Any, **options: Any) -> Any: ...

    def watch(self, callback: Callable[[TokenUpdate], object], **options: Any) -> Callable[[], None]:
        """Watches, and returns what ends it."""

    def end(self) -> None:
        """Ends the client."""

    def close(self) -> None:
        """Ends the client, and what the test has made around it."""


class ThreadParser:
    def __init__(self, **options: Any) -> None:
        self.client = TokenClient(**options)

    def begin(self, call: str, *args: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(getattr(self.client, call)(*args, **options))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future

    def do(self, call: str, *args: Any, **options: Any) -> Any:
        return self.begin(call, *args, **options).result(DEADLINE)

    def watch(self, callback: Callable[[TokenUpdate], object], **options: Any) -> Callable[[], None]:
        return self.client.on_update(callback, **options).close

    def end(self) -> None:
        self.client.close()

    def close(self) -> None:
        self.end()


class TaskParser:
    def __init__(self, **options: Any) -> None:
        self.client = AsyncTokenClient(**options)
        self.start()

    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def begin(self, call: str, *args: Any, **options: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(getattr(self.client, call)(*args, **options), self.loop)

    def do(self, call: str, *args: Any, **options: Any) -> Any:
        return self.begin(call, *args, **options).result(DEADLINE)

    def watch(self, callback: Callable[[TokenUpdate], object], **options: Any) -> Callable[[], None]:
        watch = self.do("on_update", callback, **options)
        return lambda: asyncio.run_coroutine_threadsafe(watch.aclose(), self.loop).result(DEADLINE)

    def end(self) -> None:
        asyncio.run_coroutine_threadsafe(self.client.aclose(), self.loop).result(DEADLINE)

    def close(self) -> None:
        self.end()

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(DEADLINE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE)
        self.loop.close()


class TheirsForThreads(ThreadParser):
    """With a client of the parser's own, which waits for ever and tries again by itself."""

    def __init__(self, url: str = "", make: Callable[[], Any] | None = None, **options: Any) -> None:
        self.theirs: Any = make() if make else redis.Redis.from_url(url, decode_responses=True, socket_timeout=None)
        super().__init__(client=self.theirs, **options)

    def close(self) -> None:
        super().close()
        self.theirs.close()
        if isinstance(self.theirs, redis.Redis):
            self.theirs.connection_pool.disconnect()  # as close() does from redis-py 5 on


class TheirsForTasks(TaskParser):
    """The same; before Python 3.10 such a client must be made in a loop."""

    def __init__(self, url: str = "", make: Callable[[], Any] | None = None, **options: Any) -> None:
        self.start()
        self.others: list[Any] = []

        async def made() -> AsyncTokenClient:
            theirs = make() if make else redis.asyncio.Redis.from_url(url, decode_responses=True, socket_timeout=None)
            self.others.append(theirs)
            return AsyncTokenClient(client=theirs, **options)

        self.client = asyncio.run_coroutine_threadsafe(made(), self.loop).result(DEADLINE)

    def close(self) -> None:
        self.end()

        async def end() -> None:
            for client in self.others:
                await closing(client)
                if isinstance(client, redis.asyncio.Redis):
                    await client.connection_pool.disconnect()  # as aclose() does from redis-py 5 on

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(DEADLINE)
        super().close()


KINDS: dict[str, Any] = {
    "threads": ThreadParser,
    "tasks": TaskParser,
    "threads, their redis": TheirsForThreads,
    "tasks, their redis": TheirsForTasks,
}
