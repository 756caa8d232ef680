"""`get`, `invalidate` and `wait_newer` over a real Redis, with a sidecar controlled by the test."""

from __future__ import annotations

import json
import time
from typing import Callable

import pytest
from parsers import Parser
from servers import DEADLINE, ROOT, RedisServer, until
from stand_in import COOKIES, FAILED, META, TOKEN, UPDATED, StandIn

from token_sidecar_client import (
    Bundle,
    NobodyListens,
    RedisRefused,
    RedisUnreachable,
    RefreshFailed,
    TimedOut,
    TokenSidecarError,
    fingerprint,
)

pytestmark = pytest.mark.redis_py


def test_a_stored_token_is_given_without_a_report(parser: Parser, stand_in: StandIn) -> None:
    stand_in.store("first")
    assert parser.do("get") == "first"
    stand_in.receives_nothing_more()


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\xff\xfe",
        b"a token",
        b"Bearer",
        b"bearer Bearer",
        b'"a"',
        "токен".encode(),
        b"a" * 8193,
        b"a" * 10_000_000,
    ],
    ids=["nothing", "no text", "two words", "a scheme", "two schemes", "quotes", "other letters", "8 KiB", "10 MB"],
)
def test_what_can_be_no_token_is_none(parser: Parser, stand_in: StandIn, stored: bytes) -> None:
    stand_in.server.client.set(TOKEN, stored)
    got = parser.begin("get")
    assert "fingerprint" not in stand_in.report()
    stand_in.refresh("first")
    assert got.result(DEADLINE) == "first"


def test_a_token_is_given_and_named_without_what_stands_in_front_of_it(parser: Parser, stand_in: StandIn) -> None:
    stand_in.server.client.set(TOKEN, " bearer  first\n")
    assert parser.do("get") == "first"
    assert parser.do("invalidate", "Bearer first") == 1
    assert stand_in.report()["fingerprint"] == fingerprint("first")
    with pytest.raises(TimedOut):
        parser.do("wait_newer", "Bearer first", timeout=0.2)
    assert stand_in.report()["fingerprint"] == fingerprint("first")


def test_a_token_that_is_no_b64token_is_given(parser: Parser, stand_in: StandIn) -> None:
    stand_in.store("12|abc=!")
    assert parser.do("get") == "12|abc=!"


def test_a_missing_token_is_requested_without_a_fingerprint(parser: Parser, stand_in: StandIn) -> None:
    got = parser.begin("get")
    assert stand_in.report() == {"reason": "there is no token", "source": "Python client"}
    stand_in.refresh("first")
    assert got.result(DEADLINE) == "first"
    stand_in.receives_nothing_more()


def test_where_no_sidecar_is_subscribed_it_is_an_error_at_once(parser: Parser, server: RedisServer) -> None:
    begun = time.monotonic()
    with pytest.raises(NobodyListens, match="no sidecar listens on chitai_gorod:token:invalid"):
        parser.do("get", timeout=60)
    with pytest.raises(NobodyListens):
        parser.do("wait_newer", "dead", timeout=60)
    with pytest.raises(NobodyListens):
        parser.do("invalidate", "dead", "401")
    assert time.monotonic() - begun < 20


def test_a_report_names_the_token_and_returns_its_receivers(make: Callable[..., Parser], stand_in: StandIn) -> None:
    parser = make(stand_in.server.url, source="catalogue")
    assert parser.do("invalidate", "dead", "401 on /search?token=dead") == 1
    named = fingerprint("dead")
    assert stand_in.report() == {
        "fingerprint": named,
        "reason": f"401 on /search?token={named}",
        "source": "catalogue",
    }
    assert parser.do("invalidate", None, "x" * 500) == 1
    assert stand_in.report() == {"reason": "x" * 200, "source": "catalogue"}


def test_a_newer_token_that_is_there_already_is_given_without_a_report(parser: Parser, stand_in: StandIn) -> None:
    stand_in.store("next")
    assert parser.do("wait_newer", "dead") == "next"
    stand_in.receives_nothing_more()


def test_the_token_that_follows_is_waited_for(parser: Parser, stand_in: StandIn) -> None:
    stand_in.store("dead")
    waited = parser.begin("wait_newer", "dead")
    assert stand_in.report()["fingerprint"] == fingerprint("dead")
    stand_in.refresh("next")
    assert waited.result(DEADLINE) == "next"


def test_an_update_that_names_the_refused_token_answers_another_report(parser: Parser, stand_in: StandIn) -> None:
    stand_in.store("dead")
    waited = parser.begin("wait_newer", "dead")
    stand_in.report()
    stand_in.announce("dead", cause="repeated")
    stand_in.server.client.publish(UPDATED, "plain garbage")
    stand_in.server.client.publish(UPDATED, "[1]")
    # An update without the token that it names: another program has deleted the key meanwhile.
    stand_in.announce("gone")
    stand_in.refresh("next")
    assert waited.result(DEADLINE) == "next"
    stand_in.receives_nothing_more()


def test_a_message_that_is_no_text_stops_no_wait(parser: Parser, stand_in: StandIn) -> None:
    waited = parser.begin("wait_newer", "dead", timeout=DEADLINE)
    stand_in.report()
    stand_in.server.client.publish(UPDATED, b"\xff\xfe")
    stand_in.store("next")
    stand_in.announce("next")
    assert waited.result(DEADLINE) == "next"


def test_a_failure_is_raised_with_its_error_and_the_time_of_the_next_try(parser: Parser, stand_in: StandIn) -> None:
    waited = parser.begin("wait_newer", "dead")
    stand_in.report()
    stand_in.fail()
    with pytest.raises(RefreshFailed, match=r"FlareSolverr: timeout after 60 s; .* 2026-11-22T07:14:05Z") as raised:
        waited.result(DEADLINE)
    assert raised.value.stage == "solve"
    assert raised.value.error == "FlareSolverr: timeout after 60 s"
    assert raised.value.retry_at is not None
    assert raised.value.retry_at.isoformat() == "2026-11-22T07:14:05+00:00"


def test_without_an_outcome_the_time_is_over_and_the_key_is_read_once_more(parser: Parser, stand_in: StandIn) -> None:
    waited = parser.begin("wait_newer", "dead", timeout=0.6)
    quiet = parser.begin("wait_newer", "other", timeout=0.6)
    stand_in.report()
    stand_in.report()
    # Its message was lost.
    stand_in.store("other")
    assert waited.result(DEADLINE) == "other"
    with pytest.raises(TimedOut, match=r"no new token of chitai_gorod within 0.6 s: 1 received the report") as raised:
        quiet.result(DEADLINE)
    assert isinstance(raised.value, TimeoutError)


def test_a_timeout_of_zero_reads_the_key_once(parser: Parser, stand_in: StandIn) -> None:
    with pytest.raises(TimedOut):
        parser.do("get", timeout=0)
    stand_in.store("first")
    assert parser.do("get", timeout=0) == "first"
    stand_in.receives_nothing_more()


def test_a_hundred_calls_for_the_same_token_share_one_wait(parser: Parser, stand_in: StandIn) -> None:
    stand_in.store("dead")
    waits = [parser.begin("wait_newer", "dead") for _ in range(100)]
    stand_in.report()
    stand_in.server.until_subscribed(UPDATED, 1)
    stand_in.refresh("next")
    assert {wait.result(DEADLINE) for wait in waits} == {"next"}
    stand_in.receives_nothing_more()


def test_all_calls_that_share_a_wait_get_their_own_exception(parser: Parser, stand_in: StandIn) -> None:
    waits = [parser.begin("wait_newer", "dead") for _ in range(10)]
    stand_in.report()
    # All but the last calls have joined when each of them has read the key; the last report anew.
    until(lambda: int(stand_in.server.client.info("commandstats")["cmdstat_get"]["calls"]) >= 11)

    def have_failed() -> bool:
        stand_in.fail()
        return all(wait.done() for wait in waits)

    until(have_failed)
    errors = [wait.exception() for wait in waits]
    assert all(isinstance(error, RefreshFailed) and error.stage == "solve" for error in errors), errors
    assert len({id(error) for error in errors}) == 10


def test_a_call_that_joins_a_wait_has_its_own_deadline(parser: Parser, stand_in: StandIn) -> None:
    short = parser.begin("wait_newer", "dead", timeout=0.5)
    stand_in.report()
    long = parser.begin("wait_newer", "dead", timeout=DEADLINE)
    with pytest.raises(TimedOut):
        short.result(DEADLINE)
    stand_in.server.until_subscribed(UPDATED, 1)
    stand_in.refresh("next")
    assert long.result(DEADLINE) == "next"
    stand_in.receives_nothing_more()


def test_a_shorter_timeout_is_not_extended_by_a_longer_one(parser: Parser, stand_in: StandIn) -> None:
    long = parser.begin("wait_newer", "dead", timeout=DEADLINE)
    stand_in.report()
    begun = time.monotonic()
    with pytest.raises(TimedOut):
        parser.do("wait_newer", "dead", timeout=0.2)
    assert time.monotonic() - begun < 10
    stand_in.refresh("next")
    assert long.result(DEADLINE) == "next"


def test_nothing_is_left_behind(parser: Parser, stand_in: StandIn) -> None:
    with pytest.raises(TimedOut):
        parser.do("wait_newer", "dead", timeout=0.2)
    stand_in.server.until_subscribed(UPDATED, 0)
    stand_in.server.until_subscribed(FAILED, 0)


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_a_broken_connection_is_made_anew_and_the_report_repeated(
    parser: Parser, stand_in: StandIn, server: RedisServer, how: str
) -> None:
    waited = parser.begin("wait_newer", "dead", timeout=DEADLINE)
    assert stand_in.report()["fingerprint"] == fingerprint("dead")
    if how == "restarted":
        server.stop()
        server.start()
        # The sidecar is back later than we are.
        server.until_subscribed(UPDATED, 1)
        stand_in.listen()
    else:
        assert server.client.client_kill_filter(_type="pubsub", skipme=True) == 2
        stand_in.listen()
    assert stand_in.report()["fingerprint"] == fingerprint("dead")
    stand_in.refresh("next")
    assert waited.result(DEADLINE) == "next"


def test_what_was_stored_while_the_connection_was_broken_is_found(parser: Parser, stand_in: StandIn) -> None:
    server = stand_in.server
    waited = parser.begin("wait_newer", "dead", timeout=DEADLINE)
    stand_in.report()
    server.stop()
    server.start()
    # No event announces it, and no sidecar is subscribed.
    stand_in.store("next")
    assert waited.result(DEADLINE) == "next"


def test_a_redis_that_is_away_is_outlasted(parser: Parser, stand_in: StandIn) -> None:
    server = stand_in.server
    server.stop()
    waited = parser.begin("get", timeout=DEADLINE)
    with pytest.raises(RedisUnreachable):
        parser.do("user_agent")
    with pytest.raises(TimedOut, match=r"Redis is out of reach: Error .* connecting"):
        parser.do("get", timeout=0.3)
    server.start()
    stand_in.listen()
    stand_in.report()
    stand_in.refresh("first")
    assert waited.result(DEADLINE) == "first"


def test_a_redis_that_hangs_delays_no_call(make: Callable[..., Parser], stand_in: StandIn) -> None:
    parser = make(stand_in.server.url, redis_timeout=0.5)
    waited = parser.begin("wait_newer", "dead", timeout=0.5)
    stand_in.report()
    stand_in.server.freeze()
    begun = time.monotonic()
    got, cookies = parser.begin("get", timeout=0.1), parser.begin("cookies")
    with pytest.raises(TimedOut, match=r"1 received the report|Redis"):
        waited.result(DEADLINE)
    with pytest.raises(TimedOut, match="Redis is out of reach"):
        got.result(DEADLINE)
    with pytest.raises(RedisUnreachable):
        cookies.result(DEADLINE)
    assert time.monotonic() - begun < 15


def test_what_waiting_does_not_repair_is_raised_at_once(make: Callable[..., Parser], server: RedisServer) -> None:
    server.client.execute_command("ACL", "SETUSER", "channelless", "on", ">x", "~*", "+@all", "resetchannels")
    begun = time.monotonic()
    with pytest.raises(RedisRefused, match="channel"):
        make(server.url.replace("//", "//channelless:x@")).do("get", timeout=60)
    with pytest.raises(RedisRefused, match="login") as raised:
        make(server.url.replace("//", "//channelless:wrong-secret@")).do("get", timeout=60)
    assert "wrong-secret" not in str(raised.value)
    server.client.hset(TOKEN, "of another", "type")
    with pytest.raises(RedisRefused, match="WRONGTYPE"):
        make(server.url).do("get", timeout=60)
    assert time.monotonic() - begun < 20


def test_the_rights_of_the_shipped_user_for_parsers_suffice(make: Callable[..., Parser], stand_in: StandIn) -> None:
    stand_in.server.client.execute_command("ACL", "SETUSER", "parser", "on", ">secret", *shipped_rights("parser")[1:])
    parser = make(stand_in.server.url.replace("//", "//parser:secret@"))
    stop = parser.watch(lambda _: None)
    stand_in.store("dead")
    stand_in.server.client.set(COOKIES, '{"a": "1"}')
    stand_in.server.client.hset(META, "user_agent", "Firefox")
    waited = parser.begin("wait_newer", "dead")
    stand_in.report()
    stand_in.refresh("next")
    assert waited.result(DEADLINE) == "next"
    assert parser.do("cookies") == {"a": "1"}
    assert parser.do("user_agent") == "Firefox"
    assert parser.do("bundle") == Bundle("next", {"a": "1"}, "Firefox")
    stop()


def test_cookies_and_user_agent_are_those_beside_the_token(parser: Parser, server: RedisServer) -> None:
    assert parser.do("cookies") == {}
    assert parser.do("user_agent") is None
    server.client.set(COOKIES, json.dumps({"access-token": "Bearer%20abc", "__ddg1_": "é"}))
    server.client.hset(META, "user_agent", "Mozilla/5.0")
    assert parser.do("cookies") == {"access-token": "Bearer%20abc", "__ddg1_": "é"}
    assert parser.do("user_agent") == "Mozilla/5.0"
    server.client.hset(META, "user_agent", "")
    assert parser.do("user_agent") is None
    server.client.set(COOKIES, "no JSON, secret")
    with pytest.raises(TokenSidecarError, match="chitai_gorod_cookies holds no JSON object") as raised:
        parser.do("cookies")
    assert "secret" not in str(raised.value)


def test_a_bundle_is_of_one_refresh(parser: Parser, stand_in: StandIn) -> None:
    with stand_in.replacing():
        bundles = [parser.do("bundle", timeout=DEADLINE) for _ in range(200)]
    mixed = [bundle for bundle in bundles if bundle != Bundle(bundle.token, {"of": bundle.token}, bundle.token)]
    assert len(mixed) == 0
    stand_in.store("dead")
    waited = parser.begin("bundle", timeout=DEADLINE, refused="dead", reason="403")
    assert stand_in.report()["reason"] == "403"
    stand_in.refresh("next", 2)
    assert waited.result(DEADLINE).token == "next"


def test_names_of_keys_can_be_others(make: Callable[..., Parser], server: RedisServer) -> None:
    parser = make(server.url, site="shop-2", token_key="{shop}:t", cookies_key="{shop}:c")
    server.client.set("{shop}:t", "token")
    server.client.set("{shop}:c", '{"a": "1"}')
    server.client.hset("{shop}:t:meta", "user_agent", "ua")
    assert (parser.do("get"), parser.do("cookies"), parser.do("user_agent")) == ("token", {"a": "1"}, "ua")
    with pytest.raises(NobodyListens, match="shop-2:token:invalid"):
        parser.do("wait_newer", "token")


def shipped_rights(user: str) -> list[str]:
    """The rights of one of the shipped Redis users."""
    lines = (ROOT / "compose" / "users.acl").read_text().splitlines()
    return next(line.split()[3:] for line in lines if line.startswith(f"user {user} "))
