"""What `flow` needs of Redis; implemented for threads and for tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Message:
    """Received on the subscription: a `message`, the confirmation of a channel, or the answer to a ping."""

    kind: str
    data: str


class Port(Protocol):
    """One connection to Redis for commands, and at most one subscription.

    Every call ends in bounded time, and raises `RedisUnreachable` or `RedisRefused`. Those of the blocking
    port are async too, but never suspend.
    """

    @property
    def counts_all(self) -> bool:
        """Whether all receivers are counted: a node of a Cluster counts only its own."""

    async def get(self, key: str) -> str | None: ...

    async def fields(self, key: str) -> dict[str, str]: ...

    async def publish(self, channel: str, payload: str) -> int: ...

    async def listen(self, *channels: str) -> None:
        """Replaces the subscription by a new one; returns when every channel is confirmed."""

    async def receive(self, patience: float) -> Message | None:
        """The next message, or None if there was none in this time; 0 returns only what has arrived."""

    async def ping(self) -> None:
        """Requests an answer on the subscription."""

    async def pause(self, seconds: float) -> None: ...
