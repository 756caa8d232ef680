"""`auth=` for httpx: sends the token, and on 401 waits for the next one and tries once more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import httpx

from .bundle import reason
from .tasks import AsyncTokenClient
from .threads import TokenClient


class TokenAuth(httpx.Auth):
    """For `httpx.Client` with a `TokenClient`, for `httpx.AsyncClient` with an `AsyncTokenClient`.

    `cookies` and `user_agent` send those of the browser too: the protection of an API may check all three.
    A body is read into memory, so that it can be sent twice.
    """

    def __init__(
        self,
        client: TokenClient | AsyncTokenClient,
        *,
        cookies: bool = False,
        user_agent: bool = False,
        timeout: float = 60.0,
    ) -> None:
        self._client = client
        self._sends = {"cookies": cookies, "user_agent": user_agent}
        self._timeout = timeout

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        client = self._client
        if not isinstance(client, TokenClient):
            raise TypeError("httpx.Client needs TokenAuth(TokenClient(…)): this one has an AsyncTokenClient")

        if isinstance(request.stream, httpx.SyncByteStream):
            request.read()
        own_cookies = request.headers.get("Cookie")
        first = client.bundle(self._timeout)
        first.put_on(request.headers, own_cookies, **self._sends)
        response = yield request
        if first.is_refused(response.status_code, response.request.headers):
            why = reason(str(response.request.url))
            next_one = client.bundle(self._timeout, refused=first.token, reason=why)
            next_one.put_on(request.headers, own_cookies, **self._sends)
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        client = self._client
        if not isinstance(client, AsyncTokenClient):
            raise TypeError("httpx.AsyncClient needs TokenAuth(AsyncTokenClient(…)): this one has a TokenClient")

        if isinstance(request.stream, httpx.AsyncByteStream):
            await request.aread()
        own_cookies = request.headers.get("Cookie")
        first = await client.bundle(self._timeout)
        first.put_on(request.headers, own_cookies, **self._sends)
        response = yield request
        if first.is_refused(response.status_code, response.request.headers):
            why = reason(str(response.request.url))
            next_one = await client.bundle(self._timeout, refused=first.token, reason=why)
            next_one.put_on(request.headers, own_cookies, **self._sends)
            yield request
