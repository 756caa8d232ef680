"""The messages: the sidecar's events, and the reports to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Union

_LONGEST = 200
"""The sidecar cuts free text here, and ignores the details of a payload that is far too long."""


@dataclass(frozen=True)
class TokenUpdate:
    """A token is ready to be read."""

    site: str
    cause: str
    """``refreshed`` (a new token) or ``repeated`` (the current one, announced again)."""
    version: int
    fingerprint: str
    key: str
    ttl: int | None
    expires_at: datetime | None
    refresh_at: datetime | None
    refreshed_at: datetime | None
    trigger: str
    source: str
    raw: Mapping[str, Any] = field(repr=False, compare=False)
    """The event as received, including fields that this version of the package does not know."""


@dataclass(frozen=True)
class RefreshFailure:
    """An attempt ended without a new token."""

    error: str
    stage: str | None
    retry_at: datetime | None


Event = Union[TokenUpdate, RefreshFailure]


def event_of(payload: str) -> Event | None:
    """Reads a message; None for one that the contract does not define."""
    try:
        raw = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict):
        return None
    if raw.get("event") == "token:failed":
        stage = raw.get("stage")
        return RefreshFailure(
            error=_text(raw, "error") or "the sidecar gives no reason",
            stage=stage if isinstance(stage, str) else None,
            retry_at=instant(raw.get("retry_at")),
        )
    return update_of(raw) if raw.get("event") == "token:updated" else None


def update_of(raw: Mapping[str, Any]) -> TokenUpdate | None:
    version, named, ttl = raw.get("version"), raw.get("fingerprint"), raw.get("ttl")
    if not isinstance(version, int) or not isinstance(named, str):
        return None
    return TokenUpdate(
        site=_text(raw, "site"),
        cause=_text(raw, "cause"),
        version=version,
        fingerprint=named,
        key=_text(raw, "key"),
        ttl=ttl if isinstance(ttl, int) else None,
        expires_at=instant(raw.get("expires_at")),
        refresh_at=instant(raw.get("refresh_at")),
        refreshed_at=instant(raw.get("refreshed_at")),
        trigger=_text(raw, "trigger"),
        source=_text(raw, "source"),
        raw=raw,
    )


def report_of(named: str | None, reason: str, source: str) -> str:
    """The payload of a report; `named` is the fingerprint of the token that was refused."""
    fields = {"reason": reason[:_LONGEST], "source": source[:_LONGEST]}
    return json.dumps({"fingerprint": named, **fields} if named else fields)


def instant(value: object) -> datetime | None:
    """A time of the contract: whole seconds, UTC, `2026-11-22T07:13:05Z`."""
    try:
        return datetime.strptime(str(value), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) else ""
