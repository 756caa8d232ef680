"""What can go wrong, each told apart from the others. No message holds a token, a cookie or a password."""

from __future__ import annotations

from datetime import datetime


class TokenSidecarError(Exception):
    """The base of all errors of this package."""


class InvalidSettings(TokenSidecarError, ValueError):
    """The client cannot be made of these arguments."""


class NobodyListens(TokenSidecarError):
    """The report was published and no sidecar received it."""


class RefreshFailed(TokenSidecarError):
    """The sidecar tried, or still backs off, and says why there is no new token."""

    def __init__(
        self, message: str, *, error: str = "", stage: str | None = None, retry_at: datetime | None = None
    ) -> None:
        super().__init__(message)
        self.error = error
        """What the sidecar says."""
        self.stage = stage
        """The step that failed: ``solve``, ``extract``, ``verify`` or ``store``."""
        self.retry_at = retry_at
        """When the sidecar tries again by itself."""


class TimedOut(TokenSidecarError, TimeoutError):
    """There was no outcome in time."""


class RedisUnreachable(TokenSidecarError):
    """Redis does not answer, or the connection broke. Waiting mends it: waits go on until their time is over."""


class RedisRefused(TokenSidecarError):
    """Redis answers with an error that waiting does not mend: wrong password, no permission, a key of another type."""
