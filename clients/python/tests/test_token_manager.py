"""The drop-in: what a parser of the Celery design calls, with one import changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import DEADLINE, RedisServer, Sidecar, Simulator, until
from stand_in import COOKIES, TOKEN, StandIn

from token_sidecar_client import TokenManager, fingerprint
from token_sidecar_client.token_manager import ENV_KEY

pytestmark = pytest.mark.redis_py


@pytest.fixture
def manager(server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenManager]:
    monkeypatch.delenv(ENV_KEY, raising=False)
    manager = TokenManager(server.url, env_file=str(tmp_path / ".env"))
    yield manager
    manager.close()


def test_what_is_saved_is_what_is_got(manager: TokenManager, server: RedisServer) -> None:
    assert manager.get_chitai_gorod_token() is None
    assert manager.get_chitai_gorod_cookies() is None
    assert manager.save_chitai_gorod_token("abc") is True
    assert manager.save_chitai_gorod_cookies({"access-token": "Bearer%20abc"}, ttl=100) is True
    assert manager.get_chitai_gorod_token() == "abc"
    assert manager.get_chitai_gorod_cookies() == {"access-token": "Bearer%20abc"}
    assert 86390 < server.client.ttl(TOKEN) <= 86400
    assert 90 < server.client.ttl(COOKIES) <= 100
    assert json.loads(server.client.get(COOKIES)) == {"access-token": "Bearer%20abc"}
    manager.save_chitai_gorod_token("def", 50)
    assert 40 < server.client.ttl(TOKEN) <= 50


def test_the_fallback_is_the_env_file_and_then_the_environment(
    manager: TokenManager, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert manager.get_chitai_gorod_token_fallback() is None
    monkeypatch.setenv(ENV_KEY, "of the environment")
    assert manager.get_chitai_gorod_token_fallback() == "of the environment"
    Path(manager.env_file).write_text(f"A=1\n# {ENV_KEY}=x\n{ENV_KEY}='of the file'\n")
    assert manager.get_chitai_gorod_token_fallback() == "of the file"
    server.client.set(TOKEN, "of Redis")
    assert manager.get_chitai_gorod_token_fallback() == "of Redis"
    server.stop()
    assert manager.get_chitai_gorod_token_fallback() == "of the file"
    server.start()


def test_a_trigger_names_the_token_that_its_thread_was_given(manager: TokenManager, stand_in: StandIn) -> None:
    manager.save_chitai_gorod_token("first")
    assert manager.get_chitai_gorod_token() == "first"
    # The sidecar has renewed meanwhile: the report is late, and returns that.
    manager.save_chitai_gorod_token("second")
    manager.trigger_token_update()
    assert stand_in.report()["fingerprint"] == fingerprint("first")
    threading.Thread(target=manager.trigger_token_update).start()
    assert stand_in.report()["fingerprint"] == fingerprint("second")
    stand_in.server.client.delete(TOKEN)
    threading.Thread(target=manager.trigger_token_update).start()
    assert "fingerprint" not in stand_in.report()


def test_every_expiry_is_reported_and_its_result_can_be_waited_for(
    manager: TokenManager, sidecar: Sidecar, simulator: Simulator
) -> None:
    manager.client.get(DEADLINE)
    for _ in range(2):
        refused = manager.get_chitai_gorod_token_fallback()
        simulator.control("POST", "revoke")
        refresh = manager.trigger_token_update()
        assert refresh
        assert refresh.get(timeout=DEADLINE) == {"status": "ok"}
        assert manager.get_chitai_gorod_token_fallback() not in (None, refused)


def test_a_trigger_that_no_sidecar_receives_is_false(manager: TokenManager, caplog: pytest.LogCaptureFixture) -> None:
    assert manager.trigger_token_update() is False
    assert "no sidecar listens" in caplog.text


def test_without_redis_nothing_is_raised(
    manager: TokenManager, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.client.set(COOKIES, "no JSON: secret")
    assert manager.get_chitai_gorod_cookies() is None
    assert "chitai_gorod_cookies holds no JSON object" in caplog.text
    server.stop()
    caplog.clear()
    assert manager.get_chitai_gorod_token() is None
    assert manager.get_chitai_gorod_cookies() is None
    assert manager.save_chitai_gorod_token("secret") is False
    assert manager.save_chitai_gorod_cookies({"access-token": "secret"}) is False
    assert manager.trigger_token_update() is False
    assert [record.getMessage().count("Redis is out of reach") for record in caplog.records] == [1] * 6
    server.start()
    unsaved: Any = {"access-token": object()}
    assert manager.save_chitai_gorod_cookies(unsaved) is False
    assert manager.save_chitai_gorod_token("secret", 0) is False
    assert manager.save_chitai_gorod_token("secret") is True
    assert "secret" not in caplog.text


def test_the_cookies_of_wildberries_are_a_product(
    manager: TokenManager, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WB_X_WBAAS_TOKEN", "of the environment")
    assert manager.get_wildberries_cookies() is None
    assert manager.get_wildberries_token_fallback() == "of the environment"
    assert manager.trigger_wildberries_cookies_update() is False
    assert manager.save_wildberries_cookies({"x_wbaas_token": "1.1000.abc", "_wbauid": "7"}) is True
    assert 43190 < server.client.ttl("wildberries_cookies") <= 43200
    assert manager.get_wildberries_cookies() == {"x_wbaas_token": "1.1000.abc", "_wbauid": "7"}
    assert manager.get_wildberries_token_fallback() == "1.1000.abc"
    stored = server.client.get("wildberries_cookies")
    assert isinstance(stored, str)
    server.client.set("wildberries_cookies", '{"x_wbaas_token":"1.1000.def"}')
    reports = server.client.pubsub()
    reports.subscribe("wildberries:token:invalid")
    assert reports.get_message(timeout=DEADLINE)["type"] == "subscribe"
    # They have been renewed meanwhile: the report is late, and its result returns at once.
    refresh = manager.trigger_wildberries_cookies_update()
    assert refresh
    report = json.loads(reports.get_message(timeout=DEADLINE)["data"])
    assert report["fingerprint"] == fingerprint(stored)
    assert refresh.get(timeout=DEADLINE) == {"status": "ok"}


def test_a_manager_that_is_closed_leaves_no_connection_and_may_be_used_again(
    manager: TokenManager, server: RedisServer
) -> None:
    manager.get_chitai_gorod_token()
    manager.trigger_token_update()
    manager.close()
    until(lambda: len(server.client.client_list()) == 1)
    assert manager.save_chitai_gorod_token("abc")
    assert manager.get_chitai_gorod_token() == "abc"
    manager.close()


def test_there_is_one_manager_in_a_process(server: RedisServer) -> None:
    program = """
from token_sidecar_client.token_manager import TokenManager, get_token_manager
assert get_token_manager() is get_token_manager()
assert isinstance(get_token_manager(), TokenManager)
assert get_token_manager().redis.ping()
"""
    environment = {**os.environ, "REDIS_URL": server.url}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=DEADLINE, env=environment)
