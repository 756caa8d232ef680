"""The waits under way: all who want the same share one, each with a deadline of their own."""

from __future__ import annotations

import copy
import threading
import time
from typing import Callable, Generic, TypeVar, Union

from .flow import Progress

Handle = TypeVar("Handle")

Outcome = Union[str, BaseException, None]
"""A token, or what went wrong, or nothing in time."""


class Wait(Generic[Handle]):
    """One wait. Its handle is what the shell needs to wait for it."""

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
        """The wait for it, and whether it is a new one, which has to be served."""
        with self._lock:
            wait = self._waits.get(wanted)
            is_new = wait is None
            if wait is None:
                wait = self._waits[wanted] = Wait(wanted, handle())
            wait.waiting += 1
            wait.deadline = max(wait.deadline, deadline)
            return wait, is_new

    def leave(self, wait: Wait[Handle]) -> bool:
        """A caller waits no longer. Returns whether it was the last one."""
        with self._lock:
            wait.waiting -= 1
            if wait.waiting == 0:
                self._forget(wait)
            return wait.waiting == 0

    def patience(self, wait: Wait[Handle]) -> float:
        """How long a caller still waits; once that is 0, no other joins."""
        with self._lock:
            left = wait.deadline - time.monotonic() if wait.waiting else 0.0
            if left <= 0:
                self._forget(wait)
            return left

    def end(self, wait: Wait[Handle]) -> None:
        """It has an outcome: the next call begins another."""
        with self._lock:
            self._forget(wait)

    def _forget(self, wait: Wait[Handle]) -> None:
        if self._waits.get(wait.wanted) is wait:
            del self._waits[wait.wanted]


def token_of(outcome: Outcome) -> str | None:
    """The token; raises what went wrong, to each who waited as an exception of its own."""
    if isinstance(outcome, BaseException):
        raise copy.copy(outcome) from outcome
    return outcome
