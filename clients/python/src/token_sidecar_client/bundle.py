"""A token with the cookies and the user agent of the browser that received it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .cookies import cookie_header, cookie_pairs
from .site import Product


@dataclass(frozen=True)
class Bundle:
    """A token, and the cookies and the user agent that belong to it."""

    token: str = field(repr=False)
    cookies: dict[str, str] = field(repr=False)
    """As the browser had them, still percent-encoded; empty where there are none."""
    user_agent: str | None
    product: Product = "token"

    @property
    def authorization(self) -> str:
        """The header `Authorization`; empty where the cookies are the product."""
        return f"Bearer {self.token}" if self.product == "token" else ""

    def put_on(
        self, headers: MutableMapping[str, str], own_cookies: str | None, *, cookies: bool, user_agent: bool
    ) -> None:
        """Sets the headers; `own_cookies` is the request's own header `Cookie`.

        Cookies that are the product are always sent.
        """
        if self.product == "token":
            headers["Authorization"] = self.authorization
        if user_agent and self.user_agent:
            headers["User-Agent"] = self.user_agent
        if (cookies or self.product == "cookies") and self.cookies:
            header = cookie_header(own_cookies, self.cookies)
            if header is not None:
                headers["Cookie"] = header

    def is_refused(self, status: int, sent: Mapping[str, str]) -> bool:
        """Whether the API has refused this token; `sent` are the headers of the request that it answers.

        403 means that the request was blocked. After a redirect, another host has not received the token.
        """
        if self.product == "token":
            return status == 401 and sent.get("Authorization") == self.authorization
        return status == 401 and set(cookie_pairs(self.cookies)) <= set((sent.get("Cookie") or "").split("; "))


def reason(url: str) -> str:
    """The reason of a report after a 401, without the query, which may contain secrets."""
    return f"401 on {urlsplit(url).path}"
