"""The cookies that go with a token."""

from __future__ import annotations

import json

from .errors import TokenSidecarError


def cookies_of(key: str, stored: str | None) -> dict[str, str]:
    """What the key holds: a JSON object, cookie name to value, still percent-encoded."""
    if not stored:
        return {}
    try:
        cookies = json.loads(stored)
    except (ValueError, RecursionError):
        cookies = None
    if not isinstance(cookies, dict):
        raise TokenSidecarError(f"the key {key} holds no JSON object: something else than the sidecar has written it")
    return {name: value for name, value in cookies.items() if isinstance(value, str)}


def cookie_header(present: str | None, cookies: dict[str, str]) -> str | None:
    """The header `Cookie` with these in it, which beat those of the same name that are there already."""
    kept = [pair for pair in (present or "").split("; ") if pair and pair.partition("=")[0] not in cookies]
    return "; ".join(kept + [f"{name}={value}" for name, value in cookies.items()]) or None
