"""The names of a site in Redis: its channels and its keys."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Literal

from .errors import InvalidSettings

Product = Literal["token", "cookies"]
"""What the parsers of a site read: a token, or the cookies themselves."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# Visible ASCII without quotes and $ % , ; \ .
_TOKEN = re.compile(r"(?:bearer\s+)?([!#&(-+\--:<-\[\]-_a-~]{1,8192})", re.IGNORECASE | re.ASCII)


def bare(stored: str | None) -> str | None:
    """The token in the value of a key, read as the sidecar reads it; None if the value cannot be a token."""
    found = _TOKEN.fullmatch((stored or "").strip())
    token = found.group(1) if found else ""
    return token if token.lower() not in ("", "bearer") else None


def jar(stored: str | None) -> str | None:
    """The value of a key, as it stands, if it is a JSON object of cookies, read as the sidecar reads it."""
    if not stored or len(stored.encode("utf-8", "surrogatepass")) > 65536:
        return None
    try:
        cookies = json.loads(stored)
    except (ValueError, RecursionError):
        return None
    is_jar = isinstance(cookies, dict) and cookies and all(isinstance(value, str) for value in cookies.values())
    return stored if is_jar else None


def fingerprint(token: str) -> str:
    """Identifies a token, or cookies by their JSON, without revealing it: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class Site:
    """The id of a site and the names of its keys."""

    id: str
    token_key: str
    """What parsers read; that of the cookies where these are the product."""
    cookies_key: str
    product: Product = "token"

    @classmethod
    def of(
        cls,
        site: str,
        token_key: str | None = None,
        cookies_key: str | None = None,
        product: Product = "token",
    ) -> Site:
        if not _ID.fullmatch(site):
            raise InvalidSettings(f"site {site!r}: expected 1 to 64 lower-case letters, digits, '_' and '-'")
        cookies_key = cookies_key or f"{site}_cookies"
        if product == "cookies":
            if token_key:
                raise InvalidSettings("product 'cookies': there is no token, and so no token_key")
            return cls(site, cookies_key, cookies_key, product)
        if product != "token":
            raise InvalidSettings(f"product {product!r}: expected 'token' or 'cookies'")
        return cls(site, token_key or f"{site}_token", cookies_key)

    def read(self, stored: str | None) -> str | None:
        """The product in the value of its key; None if the value cannot be one."""
        return jar(stored) if self.product == "cookies" else bare(stored)

    @property
    def meta_key(self) -> str:
        """The hash that the sidecar keeps beside the token, in the same slot."""
        key = self.token_key
        return f"{key}:meta" if "{" in key else f"{{{key}}}:meta"

    @property
    def invalid(self) -> str:
        return f"{self.id}:token:invalid"

    @property
    def updated(self) -> str:
        return f"{self.id}:token:updated"

    @property
    def failed(self) -> str:
        return f"{self.id}:token:failed"
