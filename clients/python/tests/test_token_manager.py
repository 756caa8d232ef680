"""The drop-in: what a parser of the Celery design calls, with one import changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis
from servers import DEADLINE, RedisServer, Sidecar, Simulator
from stand_in import COOKIES, TOKEN, StandIn

from token_sidecar_client import NobodyListens, TokenManager, fingerprint
from token_sidecar_client.token_manager import ENV_KEY


@pytest.fixture
def manager(server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenManager:
    monkeypatch.delenv(ENV_KEY, raising=False)
    return TokenManager(server.url, str(tmp_path / ".env"))


def test_what_is_saved_is_what_is_got(manager: TokenManager, server: RedisServer) -> None:
    assert manager.get_chitai_gorod_token() is None
    assert manager.get_chitai_gorod_cookies() is None
    manager.save_chitai_gorod_token("abc")
    manager.save_chitai_gorod_cookies({"access-token": "Bearer%20abc"}, ttl=100)
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
    with pytest.raises(redis.RedisError):
        manager.get_chitai_gorod_token()
    server.start()


def test_a_trigger_names_the_token_that_its_thread_was_given(manager: TokenManager, stand_in: StandIn) -> None:
    manager.save_chitai_gorod_token("first")
    assert manager.get_chitai_gorod_token() == "first"
    # The sidecar has renewed meanwhile: the report is late, and says so.
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
        assert manager.trigger_token_update().get(timeout=DEADLINE) == {"status": "ok"}
        assert manager.get_chitai_gorod_token_fallback() not in (None, refused)


def test_a_trigger_that_nobody_hears_says_so(manager: TokenManager) -> None:
    with pytest.raises(NobodyListens):
        manager.trigger_token_update()


def test_there_is_one_manager_in_a_process(server: RedisServer) -> None:
    program = """
from token_sidecar_client.token_manager import TokenManager, get_token_manager
assert get_token_manager() is get_token_manager()
assert isinstance(get_token_manager(), TokenManager)
assert get_token_manager().redis.ping()
"""
    environment = {**os.environ, "REDIS_URL": server.url}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=DEADLINE, env=environment)
