"""The errors of this package. No message contains a token, a cookie or a password."""

from __future__ import annotations

from datetime import datetime


class TokenSidecarError(Exception):
    """The base of all errors of this package."""


class InvalidSettings(TokenSidecarError, ValueError):
    """The arguments are invalid."""


class NobodyListens(TokenSidecarError):
    """The report was published and no sidecar received it."""


class RefreshFailed(TokenSidecarError):
    """The sidecar tried, or is backing off, and has no new token."""

    def __init__(
        self, message: str, *, error: str = "", stage: str | None = None, retry_at: datetime | None = None
    ) -> None:
        super().__init__(message)
        self.error = error
        """The sidecar's error."""
        self.stage = stage
        """The step that failed: ``solve``, ``extract``, ``verify`` or ``store``."""
        self.retry_at = retry_at
        """When the sidecar tries again by itself."""


class TimedOut(TokenSidecarError, TimeoutError):
    """There was no outcome in time."""


class RedisUnreachable(TokenSidecarError):
    """Redis does not answer, or the connection broke. Waits continue until their timeout."""


class RedisRefused(TokenSidecarError):
    """Redis refuses, and will until it is corrected: wrong password, no permission, a key of another type."""
