"""`auth=` for requests: sends the token, and on 401 waits for the next one and tries once more."""

from __future__ import annotations

from typing import Any

import requests
from requests.auth import AuthBase

from .bundle import reason
from .threads import TokenClient


class TokenAuth(AuthBase):
    """For `requests.get(…, auth=…)` and `Session.auth`.

    `cookies` and `user_agent` send those of the browser too: the protection of an API may check all three.
    A file is sent again from its start; any other body that can be read only once is read into memory first.
    """

    def __init__(
        self, client: TokenClient, *, cookies: bool = False, user_agent: bool = False, timeout: float = 60.0
    ) -> None:
        self._client = client
        self._sends = {"cookies": cookies, "user_agent": user_agent}
        self._timeout = timeout

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        own_cookies = request.headers.get("Cookie")
        start = _start_of_the_body(request)
        first = self._client.bundle(self._timeout)
        first.put_on(request.headers, own_cookies, **self._sends)

        def once_more(response: requests.Response, **kwargs: Any) -> requests.Response:
            if not first.is_refused(response.status_code, response.request.headers):
                return response
            # Frees the connection for the next request.
            _ = response.content
            response.close()
            why = reason(response.request.url or "")
            next_one = self._client.bundle(self._timeout, refused=first.token, reason=why)
            again = response.request.copy()
            next_one.put_on(again.headers, own_cookies, **self._sends)
            body: Any = again.body
            if start is not None and hasattr(body, "seek"):
                body.seek(start)
            # Sent by the adapter, without hooks: a second 401 is returned to the caller.
            second: requests.Response = response.connection.send(again, **kwargs)
            second.history.append(response)
            second.request = again
            return second

        request.hooks["response"].append(once_more)
        return request


def _start_of_the_body(request: requests.PreparedRequest) -> int | None:
    """The position of a file; any other body that can be read only once is read here."""
    body: Any = request.body
    if body is None or isinstance(body, (bytes, str)):
        return None
    if hasattr(body, "seek") and hasattr(body, "tell"):
        try:
            return int(body.tell())
        except OSError:
            # A pipe, which cannot be read again.
            pass
    whole = body.read() if hasattr(body, "read") else b"".join(body)
    # requests sets its length after authentication.
    request.body = whole
    request.headers.pop("Transfer-Encoding", None)
    return None
