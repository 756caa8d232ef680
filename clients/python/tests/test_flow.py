"""The decisions alone: no Redis, and a clock that the test sets."""

from __future__ import annotations

import heapq
import itertools
import json
from typing import Any, Callable

import pytest

from token_sidecar_client import NobodyListens, RedisUnreachable, RefreshFailed, TokenUpdate, fingerprint
from token_sidecar_client.event import event_of
from token_sidecar_client.flow import ANSWER, SILENCE, Expired, Progress, Wanted, follow, watch
from token_sidecar_client.port import Message
from token_sidecar_client.site import Site
from token_sidecar_client.thread_link import run

SITE = Site.of("chitai_gorod")


class Over(BaseException):
    """The test has seen enough."""


class World:
    """A port over a world in which events happen at set times."""

    def __init__(self) -> None:
        self.time = 0.0
        self.token: str | None = None
        self.meta: dict[str, str] = {}
        self.receivers = 1
        self.counts_all = True
        self.is_alive = True
        self.log: list[str] = []
        self._inbox: list[Message] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time, next(self._order), happens))

    def deliver(self, kind: str, data: str = "") -> None:
        self._inbox.append(Message(kind, data))

    def update(self, token: str, version: int = 1, cause: str = "refreshed", stored: bool = True) -> None:
        if stored:
            self.token = token
            self.meta = {"version": str(version), "fingerprint": fingerprint(token)}
        event = {"event": "token:updated", "version": version, "fingerprint": fingerprint(token), "cause": cause}
        self.deliver("message", json.dumps(event))

    def fail(self) -> None:
        self.deliver("message", '{"event": "token:failed", "error": "no luck"}')

    def end(self) -> None:
        raise Over

    async def get(self, key: str) -> str | None:
        self.log.append("get")
        return self.token

    async def fields(self, key: str) -> dict[str, str]:
        return self.meta

    async def publish(self, channel: str, payload: str) -> int:
        self.log.append("publish")
        return self.receivers

    async def listen(self, *channels: str) -> None:
        self.log.append("listen")
        self._inbox.clear()
        if not self.is_alive:
            raise RedisUnreachable("Redis is out of reach: connection refused")

    async def receive(self, patience: float) -> Message | None:
        self._pass(patience, until_received=True)
        return self._inbox.pop(0) if self._inbox else None

    async def ping(self) -> None:
        self.log.append("ping")
        if self.is_alive:
            self.at(self.time + 0.1, lambda: self.deliver("pong"))

    async def pause(self, seconds: float) -> None:
        self.log.append("pause")
        self._pass(seconds, until_received=False)

    def _pass(self, seconds: float, until_received: bool) -> None:
        ends = self.time + seconds
        while not (until_received and self._inbox) and self._due and self._due[0][0] <= ends:
            self.time, _, happens = heapq.heappop(self._due)
            happens()
        if not (until_received and self._inbox):
            self.time = ends


def wait(world: World, refused: str | None = "dead", timeout: float = 60.0, progress: Progress | None = None) -> str:
    wanted = Wanted.after(SITE, refused, "401", "test")
    return run(follow(world, SITE, wanted, lambda: timeout - world.time, progress or Progress()))


@pytest.fixture
def world() -> World:
    return World()


def test_the_subscription_comes_first_then_the_look_then_the_report(world: World) -> None:
    world.at(5, lambda: world.update("next"))
    assert wait(world) == "next"
    assert world.log == ["listen", "get", "publish", "get"]
    assert world.time == 5


def test_a_failure_from_before_the_report_is_not_ours(world: World) -> None:
    world.at(0, world.fail)
    world.at(1, lambda: world.update("next"))
    assert wait(world) == "next"


def test_a_failure_from_after_the_report_is(world: World) -> None:
    world.at(1, world.fail)
    with pytest.raises(RefreshFailed, match="no luck"):
        wait(world)


@pytest.mark.parametrize(
    ("refused", "stored", "announced", "is_outcome"),
    [
        ("dead", "next", "next", True),
        ("dead", "next", "dead", False),
        ("dead", "dead", "next", False),
        ("dead", None, "next", False),
        (None, "any", "any", True),
        (None, None, "any", False),
    ],
)
def test_what_an_update_means(
    world: World, refused: str | None, stored: str | None, announced: str, is_outcome: bool
) -> None:
    def happens() -> None:
        world.token = stored
        world.update(announced, stored=False)

    world.at(1, happens)
    if is_outcome:
        assert wait(world, refused) == stored
    else:
        with pytest.raises(Expired):
            wait(world, refused)
        assert world.time == 60


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "now",
        "null",
        "[]",
        "{}",
        '{"event": "token:updated"}',
        '{"event": "token:updated", "version": "1", "fingerprint": "x"}',
        '{"event": "token:updated", "version": 1, "fingerprint": null}',
        '{"event": "other", "version": 1, "fingerprint": "x"}',
        "[" * 100_000,
    ],
)
def test_garbage_is_no_event(world: World, garbage: str) -> None:
    assert event_of(garbage) is None


def test_a_failure_without_its_fields_is_one_all_the_same() -> None:
    failure = event_of('{"event": "token:failed", "error": 7, "stage": [], "retry_at": "soon"}')
    assert repr(failure) == "RefreshFailure(error='the sidecar gives no reason', stage=None, retry_at=None)"


def test_a_silent_subscription_is_pinged_and_a_dead_one_made_anew(world: World) -> None:
    def dies() -> None:
        world.is_alive = False

    def is_back() -> None:
        world.is_alive = True

    world.at(SILENCE + 1, dies)
    world.at(2 * SILENCE + ANSWER, is_back)
    world.at(2 * SILENCE + 2 * ANSWER, lambda: world.update("next"))
    assert wait(world) == "next"
    assert [step for step in world.log if step != "get"] == [
        "listen", "publish", "ping", "ping", "pause", "listen", "publish",
    ]  # fmt: skip


def test_a_subscription_that_was_renewed_behind_our_back_has_a_gap(world: World) -> None:
    world.at(1, lambda: world.deliver("subscribe"))
    world.at(10, lambda: world.update("next"))
    assert wait(world) == "next"
    assert world.log.count("publish") == 2


def test_no_sidecar_is_subscribed(world: World) -> None:
    world.receivers = 0
    with pytest.raises(NobodyListens):
        wait(world)
    assert world.time == 0


def test_a_node_of_a_cluster_that_counts_none_proves_nothing(world: World) -> None:
    world.receivers = 0
    world.counts_all = False
    world.at(1, lambda: world.update("next"))
    assert wait(world) == "next"


def test_after_a_gap_sidecars_have_time_to_come_back(world: World) -> None:
    def breaks() -> None:
        world.receivers = 0
        world.deliver("subscribe")

    def is_back() -> None:
        world.receivers = 1
        world.at(world.time + 5, lambda: world.update("next"))

    world.at(1, breaks)
    world.at(50, is_back)
    assert wait(world) == "next"


def test_after_a_gap_the_report_is_repeated_until_a_sidecar_receives_it_or_the_time_is_over(world: World) -> None:
    def breaks() -> None:
        world.receivers = 0
        world.deliver("subscribe")

    world.at(1, breaks)
    progress = Progress()
    with pytest.raises(Expired):
        wait(world, progress=progress)
    assert world.time == 60
    assert 30 <= world.log.count("publish") <= 80
    assert progress.state == "Redis is back, and no sidecar listens yet"


def test_after_a_gap_a_token_is_found_though_no_sidecar_is_subscribed(world: World) -> None:
    def breaks() -> None:
        world.receivers = 0
        world.deliver("subscribe")

    def stores() -> None:
        world.token = "next"

    world.at(1, breaks)
    world.at(30, stores)
    assert wait(world) == "next"
    assert 30 <= world.time <= 32


def test_after_a_gap_a_failure_from_before_the_report_that_is_received_is_not_ours(world: World) -> None:
    def breaks() -> None:
        world.receivers = 0
        world.deliver("subscribe")

    def is_back() -> None:
        world.fail()
        world.receivers = 1
        world.at(world.time + 5, lambda: world.update("next"))

    world.at(1, breaks)
    world.at(30, is_back)
    assert wait(world) == "next"


def test_a_redis_that_stays_away_is_not_hammered(world: World) -> None:
    world.is_alive = False
    progress = Progress()
    with pytest.raises(Expired):
        wait(world, progress=progress)
    assert world.time == 60
    assert 30 <= world.log.count("listen") <= 80
    assert "connection refused" in progress.state


def seen(world: World, until: float, call: Callable[[TokenUpdate], Any] = lambda _: None) -> list[tuple[float, int]]:
    """When the watch has called, and with which version."""
    calls: list[tuple[float, int]] = []

    async def note(update: TokenUpdate) -> None:
        calls.append((world.time, update.version))

    world.at(until, world.end)
    with pytest.raises(Over):
        run(watch(world, SITE, note, lambda: world.log.append("subscribed")))
    return calls


def test_a_watch_receives_every_update_and_none_from_before(world: World) -> None:
    world.update("old", 1)
    world.at(1, lambda: world.update("first", 2))
    world.at(2, lambda: world.update("first", 2, "repeated"))
    world.at(3, world.fail)
    world.at(300, lambda: world.update("second", 3))
    assert seen(world, 400) == [(1, 2), (2, 2), (300, 3)]
    assert world.log.count("listen") == 1


def test_a_watch_calls_once_with_what_it_has_missed(world: World) -> None:
    def gap() -> None:
        world.token, world.meta = "second", {"version": "2", "fingerprint": fingerprint("second")}
        world.deliver("subscribe")

    world.update("first", 1)
    world.at(1, gap)
    world.at(10, lambda: world.deliver("subscribe"))
    world.at(20, lambda: world.update("third", 3))
    calls = seen(world, 30)
    assert [version for _, version in calls] == [2, 3]
    assert calls[0][0] < 2
    assert world.log.count("listen") == 3


def test_what_a_watch_has_read_after_a_gap_is_not_called_again_when_it_is_received(world: World) -> None:
    def gap() -> None:
        world.deliver("subscribe")
        world.meta = {"version": "2", "fingerprint": fingerprint("second")}
        world.at(world.time + 1, lambda: world.update("second", 2))

    world.update("first", 1)
    world.at(1, gap)
    assert [version for _, version in seen(world, 30)] == [2]


def test_a_watch_outlasts_what_it_does_not_know(world: World) -> None:
    listen = world.listen

    async def strange(*channels: str) -> None:
        await listen(*channels)
        if 2 < world.time < 10:
            raise RuntimeError("a defect of a callback")

    world.listen = strange  # type: ignore[method-assign]
    world.at(1, lambda: world.deliver("subscribe"))
    world.at(2, lambda: world.deliver("subscribe"))
    world.at(3, lambda: world.deliver("subscribe"))
    world.at(20, lambda: world.update("first", 1))
    assert seen(world, 30) == [(20, 1)]
