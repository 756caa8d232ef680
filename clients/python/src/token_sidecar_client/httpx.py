"""`auth=` for httpx: sends the token, and on 401 waits for the next one and tries once more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import httpx

from .credentials import Credentials, reason
from .tasks import AsyncTokenClient
from .threads import TokenClient


class TokenAuth(httpx.Auth):
    """For `httpx.Client` with a `TokenClient`, for `httpx.AsyncClient` with an `AsyncTokenClient`.

    `cookies` and `user_agent` send along what the browser had: what stands in front of an API may look at all three.
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
        self._cookies = cookies
        self._user_agent = user_agent
        self._timeout = timeout

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        client = self._client
        if not isinstance(client, TokenClient):
            raise TypeError("httpx.Client needs TokenAuth(TokenClient(…)): this one has an AsyncTokenClient")

        def credentials(token: str) -> Credentials:
            return Credentials(
                token, client.cookies() if self._cookies else {}, client.user_agent() if self._user_agent else None
            )

        if isinstance(request.stream, httpx.SyncByteStream):
            request.read()
        own_cookies = request.headers.get("Cookie")
        first = credentials(client.get(self._timeout))
        first.put_on(request.headers, own_cookies)
        response = yield request
        if first.are_refused(response.status_code, response.request.headers.get("Authorization")):
            token = client.wait_newer(first.token, self._timeout, reason(str(response.request.url)))
            credentials(token).put_on(request.headers, own_cookies)
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        client = self._client
        if not isinstance(client, AsyncTokenClient):
            raise TypeError("httpx.AsyncClient needs TokenAuth(AsyncTokenClient(…)): this one has a TokenClient")

        async def credentials(token: str) -> Credentials:
            return Credentials(
                token,
                await client.cookies() if self._cookies else {},
                await client.user_agent() if self._user_agent else None,
            )

        if isinstance(request.stream, httpx.AsyncByteStream):
            await request.aread()
        own_cookies = request.headers.get("Cookie")
        first = await credentials(await client.get(self._timeout))
        first.put_on(request.headers, own_cookies)
        response = yield request
        if first.are_refused(response.status_code, response.request.headers.get("Authorization")):
            token = await client.wait_newer(first.token, self._timeout, reason(str(response.request.url)))
            (await credentials(token)).put_on(request.headers, own_cookies)
            yield request
