"""The waits under way: callers that wait for the same share one, each with its own deadline."""

from __future__ import annotations

import copy
import threading
import time
from typing import Callable, Generic, TypeVar, Union

from .flow import Progress

Handle = TypeVar("Handle")

Outcome = Union[str, BaseException, None]
"""A token, an error, or None after the timeout."""


class Wait(Generic[Handle]):
    """One wait. Its handle holds the outcome, as threads or tasks wait for it."""

    def __init__(self, wanted: str | None, handle: Handle) -> None:
        self.wanted = wanted
        self.handle = handle
        self.progress = Progress()
        self.deadline = 0.0
        self.waiting = 0


class Waits(Generic[Handle]):
    """The waits of one client, by the fingerprint of the token that was refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: dict[str | None, Wait[Handle]] = {}

    def join(self, wanted: str | None, deadline: float, handle: Callable[[], Handle]) -> tuple[Wait[Handle], bool]:
        """The wait, and whether it is new and must be started."""
        with self._lock:
            wait = self._waits.get(wanted)
            is_new = wait is None
            if wait is None:
                wait = self._waits[wanted] = Wait(wanted, handle())
            wait.waiting += 1
            wait.deadline = max(wait.deadline, deadline)
            return wait, is_new

    def leave(self, wait: Wait[Handle]) -> bool:
        """A caller stops waiting. Returns whether it was the last one."""
        with self._lock:
            wait.waiting -= 1
            if wait.waiting == 0:
                self._forget(wait)
            return wait.waiting == 0

    def patience(self, wait: Wait[Handle]) -> float:
        """The time until the last deadline; once it is 0, no other caller joins."""
        with self._lock:
            left = wait.deadline - time.monotonic() if wait.waiting else 0.0
            if left <= 0:
                self._forget(wait)
            return left

    def end(self, wait: Wait[Handle]) -> None:
        """The wait has an outcome: the next call begins a new one."""
        with self._lock:
            self._forget(wait)

    def _forget(self, wait: Wait[Handle]) -> None:
        if self._waits.get(wait.wanted) is wait:
            del self._waits[wait.wanted]


def token_of(outcome: Outcome) -> str | None:
    """The token; raises an error, as a copy for each caller."""
    if isinstance(outcome, BaseException):
        raise copy.copy(outcome) from outcome
    return outcome
