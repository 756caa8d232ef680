"""Both clients with the real sidecar, and the simulator in place of the shop."""

from __future__ import annotations

import queue
import time

import pytest
from parsers import Parser
from servers import DEADLINE, RedisServer, Simulator, until
from stand_in import INVALID, TOKEN

from token_sidecar_client import RefreshFailed, TokenUpdate, fingerprint


def first(parser: Parser, server: RedisServer) -> str:
    """The token of the sidecar's start, and no solve after it: a report of none at all could come just after it."""
    until(lambda: bool(server.client.exists(TOKEN)))
    return str(parser.do("get"))


@pytest.mark.usefixtures("sidecar")
def test_a_refused_token_is_replaced_with_one_solve_for_all(
    parser: Parser, simulator: Simulator, server: RedisServer
) -> None:
    updates: queue.Queue[TokenUpdate] = queue.Queue()
    dead = first(parser, server)
    parser.watch(updates.put)
    before = simulator.solves
    simulator.control("POST", "revoke")
    simulator.control("PUT", "faults", {"solve_delay": 300})
    waits = [parser.begin("wait_newer", dead) for _ in range(100)]
    (new,) = {wait.result(DEADLINE) for wait in waits}
    assert new != dead
    assert simulator.solves == before + 1
    while updates.get(timeout=DEADLINE).fingerprint != fingerprint(new):
        pass
    # A late report of the token that was replaced costs nothing.
    assert parser.do("wait_newer", dead) == new
    assert parser.do("invalidate", dead) == 1
    assert simulator.solves == before + 1
    assert parser.do("cookies")["access-token"] == f"Bearer%20{new}"
    assert parser.do("user_agent").startswith("Mozilla/5.0")


@pytest.mark.usefixtures("sidecar")
def test_failures_and_the_back_off_are_raised(parser: Parser, simulator: Simulator, server: RedisServer) -> None:
    dead = first(parser, server)
    simulator.control("PUT", "faults", {"solve_error": "blocked"})
    begun = time.time()
    for _ in range(2):
        with pytest.raises(RefreshFailed, match="blocked") as raised:
            parser.do("wait_newer", dead)
        assert raised.value.stage == "solve"
        assert raised.value.retry_at is not None
        assert raised.value.retry_at.timestamp() > begun
        assert dead not in str(raised.value)


@pytest.mark.usefixtures("sidecar")
def test_a_restart_of_redis_is_outlasted_by_both(parser: Parser, simulator: Simulator, server: RedisServer) -> None:
    dead = first(parser, server)
    simulator.control("PUT", "faults", {"solve_hang": True})
    waited = parser.begin("wait_newer", dead)
    server.until_subscribed(f"{INVALID[:-7]}failed", 2)
    server.stop()
    server.start()
    simulator.control("DELETE", "faults")
    assert waited.result(60) != dead
