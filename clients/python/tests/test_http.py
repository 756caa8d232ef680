"""The `auth=` of httpx and of requests, against an API that refuses."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

import httpx
import pytest
import requests
from servers import DEADLINE, RedisServer
from stand_in import COOKIES, META, StandIn

import token_sidecar_client.httpx
import token_sidecar_client.requests
from token_sidecar_client import AsyncTokenClient, NobodyListens, RefreshFailed, TokenClient, fingerprint


class Api:
    """200 for the good token or "any", 401 for others; `/blocked` is 403, `/away` another host that takes no token."""

    def __init__(self) -> None:
        self.good = "next"
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.body()
                headers = {name.lower(): value for name, value in self.headers.items()}
                api.asked.append((self.command, self.path, headers, body))
                status = 200 if api.good in (headers.get("authorization", "").replace("Bearer ", ""), "any") else 401
                if self.path.startswith("/blocked"):
                    status = 403
                if self.path == "/away":
                    status = 307
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", f"http://localhost:{self.server.server_port}/elsewhere")  # type: ignore[attr-defined]
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_GET = do_POST = do_PUT = answer

            def body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    whole = b""
                    while size := int(self.rfile.readline(), 16):
                        whole += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                    return whole
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """Clients may leave."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def tokens(self) -> list[str]:
        return [headers.get("authorization", "").replace("Bearer ", "") for _, _, headers, _ in self.asked]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.close()


Send = Callable[..., Any]


def by_requests(url: str, method: str, target: str, sent: dict[str, Any], **options: Any) -> Any:
    with TokenClient(url=url) as client, requests.Session() as session:
        session.auth = token_sidecar_client.requests.TokenAuth(client, **options)
        if "content" in sent:
            sent["data"] = sent.pop("content")
        return session.request(method, target, timeout=DEADLINE, **sent)


def by_httpx(url: str, method: str, target: str, sent: dict[str, Any], **options: Any) -> Any:
    auth = token_sidecar_client.httpx.TokenAuth
    with TokenClient(url=url) as client, httpx.Client(auth=auth(client, **options), follow_redirects=True) as session:
        return session.request(method, target, timeout=DEADLINE, **sent)


def by_async_httpx(url: str, method: str, target: str, sent: dict[str, Any], **options: Any) -> Any:
    async def asynchronous(pieces: Any) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def send() -> Any:
        content = sent.get("content")
        if content is not None and not isinstance(content, (bytes, str)):
            sent["content"] = asynchronous(content)
        async with AsyncTokenClient(url=url) as client:
            auth = token_sidecar_client.httpx.TokenAuth(client, **options)
            async with httpx.AsyncClient(auth=auth, follow_redirects=True) as session:
                return await session.request(method, target, timeout=DEADLINE, **sent)

    return asyncio.run(send())


@pytest.fixture(params=[by_requests, by_httpx, by_async_httpx])
def send(request: pytest.FixtureRequest, server: RedisServer) -> Send:
    """Sends a request, and waits for the response in another thread."""

    def send(method: str, target: str, sent: dict[str, Any] | None = None, **options: Any) -> Any:
        return request.param(server.url, method, target, sent or {}, timeout=DEADLINE, **options)

    return send


@pytest.fixture
def refreshing(stand_in: StandIn) -> Iterator[list[dict[str, Any]]]:
    """A sidecar that answers the first report with a new token; the reports."""
    reports: list[dict[str, Any]] = []

    def work() -> None:
        reports.append(stand_in.report())
        stand_in.server.client.set(COOKIES, '{"a": "new"}')
        stand_in.refresh("next", 2)

    stand_in.store("dead")
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield reports
    thread.join(DEADLINE)
    stand_in.receives_nothing_more()


def test_a_401_is_answered_by_the_next_token(send: Send, api: Api, refreshing: list[dict[str, Any]]) -> None:
    answer = send("GET", f"{api.url}/search?phrase=a%20secret")
    assert answer.status_code == 200
    assert api.tokens == ["dead", "next"]
    named = fingerprint("dead")
    assert refreshing == [{"fingerprint": named, "reason": "401 on /search", "source": "Python client"}]


def test_it_is_tried_once_more_and_not_twice(send: Send, api: Api, refreshing: list[dict[str, Any]]) -> None:
    api.good = "unknown"
    assert send("GET", f"{api.url}/search").status_code == 401
    assert api.tokens == ["dead", "next"]
    assert len(refreshing) == 1


def test_a_token_that_works_is_sent_without_a_report(send: Send, api: Api, stand_in: StandIn) -> None:
    stand_in.store("next")
    assert send("GET", f"{api.url}/search").status_code == 200
    assert api.tokens == ["next"]
    assert "cookie" not in api.asked[0][2]
    stand_in.receives_nothing_more()


def test_a_403_is_no_401(send: Send, api: Api, stand_in: StandIn) -> None:
    stand_in.store("dead")
    assert send("GET", f"{api.url}/blocked").status_code == 403
    stand_in.receives_nothing_more()


def test_another_host_gets_no_token_and_its_401_is_not_reported(send: Send, api: Api, stand_in: StandIn) -> None:
    stand_in.store("next")
    assert send("GET", f"{api.url}/away").status_code == 401
    assert api.tokens == ["next", ""]
    stand_in.receives_nothing_more()


def test_cookies_that_are_the_product_are_sent_alone(api: Api, server: RedisServer) -> None:
    stored = '{"a": "dead"}'
    server.client.set(COOKIES, stored)
    with TokenClient(url=server.url, product="cookies") as client:
        reports = server.client.pubsub()
        reports.subscribe(client.site.invalid)
        assert reports.get_message(timeout=DEADLINE)["type"] == "subscribe"
        assert client.get() == stored
        auth = token_sidecar_client.requests.TokenAuth(client)
        answer: list[Any] = []
        sending = threading.Thread(
            target=lambda: answer.append(requests.get(f"{api.url}/search", auth=auth, timeout=DEADLINE))
        )
        sending.start()
        report = json.loads(reports.get_message(timeout=DEADLINE)["data"])
        assert report["fingerprint"] == fingerprint(stored)
        api.good = "any"
        server.client.set(COOKIES, '{"a":"next"}')
        event = {"event": "token:updated", "version": 2, "fingerprint": fingerprint('{"a":"next"}')}
        server.client.publish(client.site.updated, json.dumps(event))
        sending.join(DEADLINE)
    assert answer[0].status_code == 200
    assert api.tokens == ["", ""]
    assert [headers.get("cookie") for _, _, headers, _ in api.asked] == ["a=dead", "a=next"]


def pieces() -> Iterator[bytes]:
    yield b"one,"
    yield b"two"


@pytest.mark.usefixtures("refreshing")
@pytest.mark.parametrize("body", ["bytes", "json", "form", "pieces", "file", "pipe", "multipart"])
def test_a_body_is_sent_again_as_it_was(send: Send, api: Api, body: str, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"one,two")
    with path.open("rb") as file:
        sent: dict[str, dict[str, Any]] = {
            "bytes": {"content": b"one,two"},
            "json": {"json": {"a": 1}},
            "form": {"data": {"a": "1"}},
            "pieces": {"content": pieces()},
            "file": {"content": file},
            "pipe": {"content": Pipe(b"one,two")},
            "multipart": {"files": {"f": ("f.txt", file)}},
        }
        assert send("POST", f"{api.url}/orders", sent[body]).status_code == 200
    (_, _, first, sent_first), (_, _, second, sent_again) = api.asked
    assert sent_first == sent_again
    assert sent_first.strip()
    assert {"json": b"1", "form": b"a=1"}.get(body, b"one,two") in sent_first
    assert first.get("content-type") == second.get("content-type")


@pytest.mark.usefixtures("refreshing")
def test_requests_winds_a_file_back_to_where_it_was(api: Api, server: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"one,two")
    with TokenClient(url=server.url) as client, path.open("rb") as file:
        file.seek(4)
        auth = token_sidecar_client.requests.TokenAuth(client)
        assert requests.post(f"{api.url}/orders", data=file, auth=auth, timeout=DEADLINE).status_code == 200
    assert [body for *_, body in api.asked] == [b"two", b"two"]


class Pipe(io.RawIOBase):
    """A body that can be read only once."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._content.readinto(buffer)


def test_cookies_and_user_agent_go_along_where_that_is_wanted(
    send: Send, api: Api, stand_in: StandIn, refreshing: list[dict[str, Any]]
) -> None:
    stand_in.server.client.set(COOKIES, json.dumps({"access-token": "Bearer%20dead", "a": "old"}))
    stand_in.server.client.hset(META, "user_agent", "Mozilla/5.0")
    sent = {"headers": {"Cookie": "mine=1; a=mine"}}
    assert send("GET", f"{api.url}/search", sent, cookies=True, user_agent=True).status_code == 200
    (_, _, first, _), (_, _, second, _) = api.asked
    assert (first["user-agent"], second["user-agent"]) == ("Mozilla/5.0", "Mozilla/5.0")
    assert first["cookie"] == "mine=1; access-token=Bearer%20dead; a=old"
    assert second["cookie"] == "mine=1; a=new"
    assert len(refreshing) == 1


@pytest.mark.redis_py
def test_no_request_carries_the_cookies_or_the_user_agent_of_another_token(
    send: Send, api: Api, stand_in: StandIn
) -> None:
    api.good = "any"
    with stand_in.replacing():
        for _ in range(20):
            send("GET", f"{api.url}/search", cookies=True, user_agent=True)
    sent = [
        (headers["authorization"][7:], headers["cookie"][3:], headers["user-agent"]) for _, _, headers, _ in api.asked
    ]
    assert len(sent) == 20
    assert [of for of in sent if len(set(of)) != 1] == []


def test_where_there_is_no_next_token_it_is_an_error(send: Send, api: Api, server: RedisServer) -> None:
    server.client.set("chitai_gorod_token", "dead")
    with pytest.raises(NobodyListens):
        send("GET", f"{api.url}/search")
    stand_in = StandIn(server)

    def fail() -> None:
        stand_in.report()
        stand_in.fail()

    failing = threading.Thread(target=fail, daemon=True)
    failing.start()
    with pytest.raises(RefreshFailed, match="timeout after 60 s"):
        send("GET", f"{api.url}/search")
    failing.join(DEADLINE)
    stand_in.subscription.close()


def test_many_threads_of_one_session_share_a_wait(api: Api, server: RedisServer, refreshing: list[Any]) -> None:
    with TokenClient(url=server.url) as client:
        auth = token_sidecar_client.requests.TokenAuth(client)
        statuses: list[int] = []

        def work() -> None:
            statuses.append(requests.get(f"{api.url}/search", auth=auth, timeout=DEADLINE).status_code)

        threads = [threading.Thread(target=work) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        assert statuses == [200] * 20
    assert len(refreshing) == 1


def test_a_client_of_the_other_kind_is_refused(server: RedisServer, api: Api) -> None:
    auth = token_sidecar_client.httpx.TokenAuth
    with pytest.raises(TypeError, match="TokenClient"), httpx.Client(auth=auth(AsyncTokenClient(url=server.url))) as c:
        c.get(api.url)

    async def other() -> None:
        with TokenClient(url=server.url) as client:
            async with httpx.AsyncClient(auth=auth(client)) as session:
                await session.get(api.url)

    with pytest.raises(TypeError, match="AsyncTokenClient"):
        asyncio.run(other())
