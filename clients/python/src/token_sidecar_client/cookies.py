"""The cookies that belong to a token."""

from __future__ import annotations

import json

from .errors import TokenSidecarError


def cookies_of(key: str, stored: str | None) -> dict[str, str]:
    """Reads the value of the cookies key, a JSON object from names to values, which stay percent-encoded."""
    if not stored:
        return {}
    try:
        cookies = json.loads(stored)
    except (ValueError, RecursionError):
        cookies = None
    if not isinstance(cookies, dict):
        raise TokenSidecarError(f"the key {key} holds no JSON object: another program has written it")
    return {name: value for name, value in cookies.items() if isinstance(value, str)}


def cookie_pairs(cookies: dict[str, str]) -> list[str]:
    """`name=value` of each cookie, without those that a header cannot carry (RFC 6265: printable ASCII)."""
    pairs = [f"{name}={value}" for name, value in cookies.items()]
    return [pair for pair in pairs if pair.isascii() and pair.isprintable()]


def cookie_header(present: str | None, cookies: dict[str, str]) -> str | None:
    """The header `Cookie` with these cookies, which replace those of the same names."""
    kept = [pair for pair in (present or "").split("; ") if pair and pair.partition("=")[0] not in cookies]
    return "; ".join(kept + cookie_pairs(cookies)) or None
