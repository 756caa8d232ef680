"""What a request carries for the API, and whether the API has refused it."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .cookies import cookie_header


@dataclass(frozen=True)
class Credentials:
    """A token, and what was agreed to send along with it."""

    token: str = field(repr=False)
    cookies: dict[str, str] = field(default_factory=dict, repr=False)
    user_agent: str | None = None

    @property
    def authorization(self) -> str:
        return f"Bearer {self.token}"

    def put_on(self, headers: MutableMapping[str, str], own_cookies: str | None) -> None:
        """Sets the headers; `own_cookies` is the header `Cookie` as the request had it without us."""
        headers["Authorization"] = self.authorization
        if self.user_agent:
            headers["User-Agent"] = self.user_agent
        if self.cookies:
            headers["Cookie"] = cookie_header(own_cookies, self.cookies) or ""

    def are_refused(self, status: int, sent: str | None) -> bool:
        """Whether the API has refused this very token: `sent` is the `Authorization` of the request it answers.

        403 says that we are blocked, not that the token is bad; and another host, after a redirect, never saw it.
        """
        return status == 401 and sent == self.authorization


def reason(url: str) -> str:
    """What to report of a 401: no query, for it may say more than a log should know."""
    return f"401 on {urlsplit(url).path}"
