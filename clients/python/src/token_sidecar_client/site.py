"""The names of a site in Redis: its channels and its keys."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from .errors import InvalidSettings

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# Visible ASCII without quotes and $ % , ; \ .
_TOKEN = re.compile(r"(?:bearer\s+)?([!#&(-+\--:<-\[\]-_a-~]{1,8192})", re.IGNORECASE | re.ASCII)


def bare(stored: str | None) -> str | None:
    """The token in the value of a key, read as the sidecar reads it; None if the value cannot be a token."""
    found = _TOKEN.fullmatch((stored or "").strip())
    token = found.group(1) if found else ""
    return token if token.lower() not in ("", "bearer") else None


def fingerprint(token: str) -> str:
    """Identifies a token without revealing it: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class Site:
    """The id of a site and the names of its keys."""

    id: str
    token_key: str
    cookies_key: str

    @classmethod
    def of(cls, site: str, token_key: str | None = None, cookies_key: str | None = None) -> Site:
        if not _ID.fullmatch(site):
            raise InvalidSettings(f"site {site!r}: expected 1 to 64 lower-case letters, digits, '_' and '-'")
        return cls(site, token_key or f"{site}_token", cookies_key or f"{site}_cookies")

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
