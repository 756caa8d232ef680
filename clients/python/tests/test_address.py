"""Where Redis is: what `REDIS_URL` means, and what of the arguments is refused."""

from __future__ import annotations

import asyncio
import json
import traceback
from typing import Any

import pytest
import redis
import redis.asyncio
from servers import ROOT, RedisServer
from stand_in import TOKEN

from token_sidecar_client import AsyncTokenClient, InvalidSettings, RedisRefused, TokenClient, TokenManager
from token_sidecar_client.address import options_of

URLS = json.loads((ROOT / "clients" / "redis_urls.json").read_text())
NAMES = {
    "host": "host",
    "port": "port",
    "database": "db",
    "user": "username",
    "password": "password",
    "tls": "ssl",
    "path": "unix_socket_path",
}

pytestmark = pytest.mark.redis_py


@pytest.mark.parametrize("case", URLS, ids=[case["url"] for case in URLS])
@pytest.mark.parametrize("kind", [TokenClient, AsyncTokenClient, TokenManager])
def test_a_url_means_what_it_means_to_the_sidecar(kind: Any, case: dict[str, Any]) -> None:
    if "reaches" in case:
        if "host" in case["reaches"] or redis.__version__ != "4.5.2":
            kind(**{"redis_url" if kind is TokenManager else "url": case["url"]})
        options = options_of(case["url"])
        assert options.pop("ssl_check_hostname", None) == case["reaches"].get("tls")
        assert options == {NAMES[name]: value for name, value in case["reaches"].items()}
        return
    with pytest.raises(InvalidSettings, match="the URL of Redis") as raised:
        kind(**{"redis_url" if kind is TokenManager else "url": case["url"]})
    shown = "".join(traceback.format_exception(type(raised.value), raised.value, None))
    assert case["refused"] in shown
    assert "secret" not in shown
    assert "pa" not in shown.replace("password", "").replace("pass", "").replace("part", "").replace("/path", "")


async def for_tasks() -> redis.asyncio.Redis:
    """Before Python 3.10 it must be made in a loop."""
    return redis.asyncio.Redis()


@pytest.mark.parametrize("kind", [TokenClient, AsyncTokenClient])
def test_what_is_no_client_of_redis_py_is_refused(kind: Any) -> None:
    other: Any = redis.Redis() if kind is AsyncTokenClient else object()
    with pytest.raises(InvalidSettings, match=r"client= is of the type .*, not redis.*\.Redis"):
        kind(client=other)
    own: Any = redis.Redis() if kind is TokenClient else asyncio.run(for_tasks())
    for more in ({"url": "redis://127.0.0.1"}, {"password": "secret"}):
        with pytest.raises(InvalidSettings, match="client= excludes url= and password="):
            kind(client=own, **more)
    with pytest.raises(InvalidSettings, match="site 'Chitai Gorod'"):
        kind("Chitai Gorod")
    assert "secret" not in repr(kind(url="redis://user:secret@host", password="secret"))


def test_the_password_of_the_url_comes_before_the_argument_and_that_before_the_environment(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD", "of the environment")
    server.client.set(TOKEN, "token")
    server.client.config_set("requirepass", "of the environment")
    socket = f"unix://{server.folder}/redis.sock"
    if redis.__version__ == "4.5.2":  # it has no Unix sockets
        socket = server.url
    with_another = server.url.replace("//", "//:wrong@")
    try:
        for at in (server.url, socket):
            with TokenClient(url=at) as client:
                assert client.get(0) == "token"
            manager = TokenManager(at)
            assert manager.get_chitai_gorod_token() == "token"
            manager.close()
        for at, password in ((server.url, "wrong"), (with_another, "of the environment")):
            with TokenClient(url=at, password=password) as client, pytest.raises(RedisRefused):
                client.get(0)
        with TokenClient(url=server.url.replace("//", "//:of%20the%20environment@"), password="wrong") as client:
            assert client.get(0) == "token"
    finally:
        server.client.config_set("requirepass", "")
