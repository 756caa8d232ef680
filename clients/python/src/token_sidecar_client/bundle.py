"""A token with the cookies and the user agent of the browser that got it."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .cookies import cookie_header


@dataclass(frozen=True)
class Bundle:
    """A token, and the cookies and the user agent that belong to it."""

    token: str = field(repr=False)
    cookies: dict[str, str] = field(repr=False)
    """As the browser had them, still percent-encoded; empty where there are none."""
    user_agent: str | None

    @property
    def authorization(self) -> str:
        """The header of that name."""
        return f"Bearer {self.token}"

    def put_on(
        self, headers: MutableMapping[str, str], own_cookies: str | None, *, cookies: bool, user_agent: bool
    ) -> None:
        """Sets the headers; `own_cookies` is the header `Cookie` as the request had it without us."""
        headers["Authorization"] = self.authorization
        if user_agent and self.user_agent:
            headers["User-Agent"] = self.user_agent
        if cookies and self.cookies:
            headers["Cookie"] = cookie_header(own_cookies, self.cookies) or ""

    def is_refused(self, status: int, sent: str | None) -> bool:
        """Whether the API has refused this very token: `sent` is the `Authorization` of the request it answers.

        403 says that we are blocked, not that the token is bad; and another host, after a redirect, never saw it.
        """
        return status == 401 and sent == self.authorization


def reason(url: str) -> str:
    """What to report of a 401: no query, for it may say more than a log should know."""
    return f"401 on {urlsplit(url).path}"
