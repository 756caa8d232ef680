"""A parser's side of token-sidecar: the current token, and its replacement when an API answers 401."""

from .bundle import Bundle
from .errors import (
    InvalidSettings,
    NobodyListens,
    RedisRefused,
    RedisUnreachable,
    RefreshFailed,
    TimedOut,
    TokenSidecarError,
)
from .event import TokenUpdate
from .site import fingerprint
from .tasks import AsyncTokenClient, AsyncWatch
from .threads import TokenClient, Watch
from .token_manager import TokenManager, get_token_manager

__version__ = "0.1.0"

__all__ = [
    "AsyncTokenClient",
    "AsyncWatch",
    "Bundle",
    "InvalidSettings",
    "NobodyListens",
    "RedisRefused",
    "RedisUnreachable",
    "RefreshFailed",
    "TimedOut",
    "TokenClient",
    "TokenManager",
    "TokenSidecarError",
    "TokenUpdate",
    "Watch",
    "fingerprint",
    "get_token_manager",
]
