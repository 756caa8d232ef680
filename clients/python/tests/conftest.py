"""A Redis, both clients, a stand-in for the sidecar, and the real one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest
from parsers import KINDS, Parser
from servers import RedisServer, Sidecar, Simulator
from stand_in import StandIn


@pytest.fixture(scope="session")
def started() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def server(started: RedisServer) -> RedisServer:
    """An empty Redis without a client."""
    started.clear()
    return started


@pytest.fixture
def stand_in(server: RedisServer) -> Iterator[StandIn]:
    stand_in = StandIn(server)
    yield stand_in
    stand_in.subscription.close()


@pytest.fixture(params=list(KINDS))
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Parser]]:
    """Makes parsers of each kind in turn."""
    made: list[Parser] = []

    def make(url: str, **options: Any) -> Parser:
        parser: Parser = KINDS[request.param](url=url, **options)
        made.append(parser)
        return parser

    yield make
    for parser in made:
        parser.close()


@pytest.fixture
def parser(make: Callable[..., Parser], server: RedisServer) -> Parser:
    return make(server.url)


@pytest.fixture
def simulator(server: RedisServer) -> Iterator[Simulator]:
    simulator = Simulator(server.folder)
    yield simulator
    simulator.process.kill()


@pytest.fixture
def sidecar(server: RedisServer, simulator: Simulator) -> Iterator[Sidecar]:
    sidecar = Sidecar(server, simulator)
    yield sidecar
    sidecar.process.kill()
