"""What the flows ask of the outside. The shells answer: one blocks a thread, the other awaits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Message:
    """What came over the subscription: a `message`, or that a channel was subscribed to (again), or an answer."""

    kind: str
    data: str


class Port(Protocol):
    """One connection to Redis for commands, and at most one subscription.

    Whatever breaks is `RedisUnreachable`, whatever Redis forbids is `RedisRefused`; everything ends in bounded time.
    The methods are async for the flows' sake. Those of the blocking shell never suspend.
    """

    @property
    def counts_all(self) -> bool:
        """Whether the number of receivers is that of all there are: a node of a Cluster counts its own alone."""

    async def get(self, key: str) -> str | None: ...

    async def fields(self, key: str) -> dict[str, str]: ...

    async def publish(self, channel: str, payload: str) -> int: ...

    async def listen(self, *channels: str) -> None:
        """Begins a new subscription, in place of the last one; returns when every channel is confirmed."""

    async def receive(self, patience: float) -> Message | None:
        """The next message, or None where there was none for so long; 0 asks for what is there already."""

    async def ping(self) -> None:
        """Asks for an answer over the subscription."""

    async def pause(self, seconds: float) -> None: ...
