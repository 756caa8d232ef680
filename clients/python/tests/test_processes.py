"""Clients over forks, loops and the end of a process, and that no token is shown."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import pytest
import redis
from packaging.requirements import Requirement
from servers import DEADLINE, RedisServer
from stand_in import META, TOKEN, UPDATED, StandIn

from token_sidecar_client import AsyncTokenClient, RefreshFailed, TokenClient
from token_sidecar_client.flow import SILENCE


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_a_wait_of_its_own(server: RedisServer, stand_in: StandIn) -> None:
    client = TokenClient(url=server.url)
    client.on_update(lambda _: None)
    stand_in.store("dead")
    waits = [threading.Thread(target=client.wait_newer, args=("dead",)) for _ in range(3)]
    for wait in waits:
        wait.start()
    stand_in.report()
    server.until_subscribed(UPDATED, 2)
    child = os.fork()
    if child == 0:
        # It has a wait and connections of its own, and the end of its watches ends none of ours.
        code = 1
        try:
            code = 0 if client.wait_newer("dead", timeout=DEADLINE) == "next" else 2
            client.close()
        finally:
            os._exit(code)
    stand_in.report()
    server.until_subscribed(UPDATED, 3)
    stand_in.refresh("next")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for wait in waits:
        wait.join(DEADLINE)
        assert not wait.is_alive()
    server.until_subscribed(UPDATED, 1)
    client.close()
    server.until_subscribed(UPDATED, 0)


def test_one_client_serves_one_loop_after_the_other(server: RedisServer, stand_in: StandIn) -> None:
    client = AsyncTokenClient(url=server.url)

    async def main() -> str:
        async with client:
            return await client.get()

    stand_in.store("first")
    assert [asyncio.run(main()) for _ in range(3)] == ["first"] * 3


def test_a_task_that_is_cancelled_leaves_the_others_waiting(server: RedisServer, stand_in: StandIn) -> None:
    async def main() -> str:
        async with AsyncTokenClient(url=server.url) as client:
            first = asyncio.create_task(client.wait_newer("dead", timeout=DEADLINE))
            await asyncio.to_thread(stand_in.report)
            second = asyncio.create_task(client.wait_newer("dead", timeout=DEADLINE))
            (shared,) = client._of_this_loop().waits._waits.values()
            while shared.waiting < 2:
                await client.cookies()
            first.cancel()
            await asyncio.wait({first})
            assert first.cancelled()
            for _ in range(3):
                await client.cookies()
            assert not second.done()
            await asyncio.to_thread(stand_in.refresh, "next")
            return await second

    stand_in.store("dead")
    assert asyncio.run(main()) == "next"
    stand_in.receives_nothing_more()


@pytest.mark.redis_py
def test_the_answer_to_a_call_that_was_cancelled_is_not_taken_for_another(server: RedisServer) -> None:
    async def sent() -> None:
        """What has begun does all that it can do without an answer."""
        for _ in range(100):
            await asyncio.sleep(0)

    async def main() -> str:
        async with AsyncTokenClient(url=server.url) as client:
            assert await client.get(0) == "token"
            server.freeze()
            call = asyncio.ensure_future(client.user_agent())
            await sent()
            call.cancel()
            getting = asyncio.ensure_future(client.get(DEADLINE))
            await sent()
            server.thaw()
            return await getting

    server.client.set(TOKEN, "token")
    server.client.hset(META, "user_agent", "Mozilla")
    assert asyncio.run(main()) == "token"


def test_the_last_task_that_is_cancelled_ends_the_wait(server: RedisServer, stand_in: StandIn) -> None:
    async def main() -> None:
        async with AsyncTokenClient(url=server.url) as client:
            wait = asyncio.create_task(client.wait_newer("dead", timeout=DEADLINE))
            await asyncio.to_thread(stand_in.report)
            (shared,) = client._of_this_loop().waits._waits.values()
            while "received the report" not in shared.progress.state:
                await client.cookies()
            begun = time.monotonic()
            wait.cancel()
            await asyncio.wait({wait})
            await asyncio.to_thread(server.until_subscribed, UPDATED, 0)
            # At once, and not with the next check of its connection.
            assert time.monotonic() - begun < SILENCE / 2

    asyncio.run(main())


def test_a_program_that_ends_waits_for_no_thread(server: RedisServer, stand_in: StandIn) -> None:
    program = """
import threading
from token_sidecar_client import TokenClient
client = TokenClient()
client.on_update(print)
threading.Thread(target=client.wait_newer, args=("dead", 3600), daemon=True).start()
while client._waits._waits == {}:
    pass
"""
    environment = {**os.environ, "REDIS_URL": server.url}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=DEADLINE, env=environment)


def test_neither_httpx_nor_requests_is_needed() -> None:
    program = """
import sys
sys.modules["httpx"] = sys.modules["requests"] = None
import token_sidecar_client
token_sidecar_client.TokenClient
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=DEADLINE)


def test_no_token_is_shown(server: RedisServer, stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    shown: list[str] = []
    with caplog.at_level(logging.DEBUG), TokenClient(url=server.url.replace("//", "//:pass-word@")) as client:
        shown += [repr(client), str(client.__dict__)]
    with caplog.at_level(logging.DEBUG), TokenClient(url=server.url) as client:
        client.on_update(lambda _: None)
        stand_in.store("secret-token")
        assert client.get() == "secret-token"
        client.invalidate("secret-token", "secret-token is dead")
        shown += [str(stand_in.report()), repr(client), str(client.__dict__)]
        with pytest.raises(TimeoutError) as raised:
            client.wait_newer("secret-token", timeout=0.1, reason="secret-token")
        shown += [repr(raised.value), str(stand_in.report())]
        server.client.client_kill_filter(_type="pubsub")
        server.until_subscribed(UPDATED, 1)
    shown += [record.getMessage() for record in caplog.records]
    assert "secret-token" not in "\n".join(shown)
    assert "pass-word" not in "\n".join(shown)


def test_exceptions_travel_between_processes() -> None:
    error = RefreshFailed("no luck", error="FlareSolverr: timeout", stage="solve")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - it is ours
    assert (str(copy), copy.error, copy.stage) == ("no luck", "FlareSolverr: timeout", "solve")


@pytest.mark.redis_py
def test_the_package_allows_the_redis_py_that_is_installed() -> None:
    required = [Requirement(line) for line in metadata.requires("token-sidecar-client") or []]
    (wanted,) = (requirement for requirement in required if requirement.name == "redis")
    assert redis.__version__ in wanted.specifier


def test_the_package_is_typed() -> None:
    import token_sidecar_client

    assert (Path(token_sidecar_client.__file__).parent / "py.typed").exists()
