"""Wherever Redis is: at a socket, behind a Sentinel, a Cluster; and whatever a client of the parser's own is set to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from parsers import TaskParser, TheirsForTasks, TheirsForThreads, ThreadParser
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel
from servers import DEADLINE, Process, RedisServer, hold_a_port
from stand_in import INVALID, UPDATED, StandIn

from token_sidecar_client import AsyncTokenClient, Bundle, InvalidSettings, TimedOut, fingerprint

VERSION = tuple(int(number) for number in redis.__version__.split(".")[:3])

pytestmark = pytest.mark.redis_py


def is_served(parser: Any, stand_in: StandIn) -> None:
    """Everything works through this client."""
    updates: list[Any] = []
    parser.watch(updates.append)
    stand_in.store("dead")
    waited = parser.begin("wait_newer", "dead", timeout=DEADLINE)
    assert stand_in.report()["fingerprint"] == fingerprint("dead")
    stand_in.refresh("next", 2)
    assert waited.result(DEADLINE) == "next"
    assert parser.do("invalidate", "next") == 1
    assert stand_in.report()["fingerprint"] == fingerprint("next")
    assert parser.do("cookies") == {}
    assert parser.do("user_agent") is None
    assert parser.do("bundle", timeout=0) == Bundle("next", {}, None)
    parser.close()


@pytest.mark.parametrize("kind", [ThreadParser, TaskParser])
def test_a_unix_socket(kind: Any, server: RedisServer, stand_in: StandIn) -> None:
    at = f"unix://{server.folder}/redis.sock?db=0"
    if VERSION == (4, 5, 2) and kind is ThreadParser:
        with pytest.raises(InvalidSettings, match=r"4\.5\.3 or later"):
            kind(url=at)
        return
    is_served(kind(url=at), stand_in)


@pytest.mark.skipif(VERSION < (5,), reason="it has no RESP3")
def test_resp3(server: RedisServer, stand_in: StandIn) -> None:
    is_served(TheirsForThreads(make=lambda: redis.Redis.from_url(server.url, protocol=3)), stand_in)
    is_served(TheirsForTasks(make=lambda: redis.asyncio.Redis.from_url(server.url, protocol=3)), stand_in)


@pytest.fixture
def sentinel(server: RedisServer) -> Iterator[int]:
    (server.folder / "sentinel.conf").write_text(f"sentinel monitor main 127.0.0.1 {server.port} 1\n")
    held, port = hold_a_port()
    command = ["redis-server", "sentinel.conf", "--sentinel", "--port", str(port), "--bind", "127.0.0.1"]
    process = Process(command, server.folder, "+monitor master main")
    yield port
    process.kill()
    held.close()


def test_the_master_of_a_sentinel(sentinel: int, stand_in: StandIn) -> None:
    at = [("127.0.0.1", sentinel)]
    is_served(TheirsForThreads(make=lambda: Sentinel(at).master_for("main")), stand_in)
    sentinels: list[Any] = []

    def make() -> Any:
        made = AsyncSentinel(at)
        sentinels.extend(made.sentinels)
        return made.master_for("main")

    parser = TheirsForTasks(make=make)
    parser.others.extend(sentinels)
    is_served(parser, stand_in)


@pytest.fixture
def cluster() -> Iterator[StandIn]:
    server = RedisServer("--cluster-enabled", "yes")
    server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    while "cluster_state:ok" not in str(server.client.execute_command("CLUSTER", "INFO")):
        pass
    stand_in = StandIn(server)
    yield stand_in
    stand_in.subscription.close()
    server.close()


def test_a_cluster(cluster: StandIn) -> None:
    is_served(TheirsForThreads(make=lambda: redis.RedisCluster.from_url(cluster.server.url)), cluster)
    if VERSION >= (8,):
        is_served(TheirsForTasks(make=lambda: redis.asyncio.RedisCluster.from_url(cluster.server.url)), cluster)


def test_on_a_cluster_a_node_without_subscribers_proves_nothing(cluster: StandIn) -> None:
    parser = TheirsForThreads(make=lambda: redis.RedisCluster.from_url(cluster.server.url))
    cluster.subscription.unsubscribe(INVALID)
    cluster.server.until_subscribed(INVALID, 0)
    with pytest.raises(TimedOut, match="the report was published"):
        parser.do("wait_newer", "dead", timeout=0.2)
    assert parser.do("invalidate", "dead") == 0
    waited = parser.begin("get", timeout=DEADLINE)
    cluster.server.until_subscribed(UPDATED, 1)
    cluster.refresh("next")
    assert waited.result(DEADLINE) == "next"
    parser.close()


def test_a_cluster_client_that_cannot_subscribe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # As before redis-py 8.
    monkeypatch.delattr(redis.asyncio.RedisCluster, "pubsub", raising=False)

    async def make() -> None:
        AsyncTokenClient(client=redis.asyncio.RedisCluster(host="127.0.0.1"))

    with pytest.raises(InvalidSettings, match="redis-py 8"):
        asyncio.run(make())
