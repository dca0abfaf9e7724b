"""The time that is left for the call at hand, carried from hop to hop in a context variable.

The server sets it from the caller's deadline, less a margin, so that our typed verdict arrives
before the caller's clock ends. Whatever waits or blocks reads it; whatever calls a peer passes it on.
"""

from __future__ import annotations

import time
from contextvars import ContextVar

from featurestore.model.errors import DeadlineExceeded

_ends_at: ContextVar[float | None] = ContextVar("featurestore_deadline", default=None)


class within:  # noqa: N801 - reads as what it does; a class, as a generator costs every call more
    """Work in this block has `seconds` from now, or what an outer block left, if that is less."""

    __slots__ = ("_seconds", "_token")

    def __init__(self, seconds: float | None) -> None:
        """Begin when the block is entered; None sets no end."""
        self._seconds = seconds

    def __enter__(self) -> None:
        ends = _ends_at.get()
        if self._seconds is not None:
            own = time.monotonic() + self._seconds
            ends = own if ends is None else min(ends, own)
        self._token = _ends_at.set(ends)

    def __exit__(self, *_: object) -> None:
        _ends_at.reset(self._token)


def remaining() -> float | None:
    """Seconds left for the call at hand, at least 0; None when nobody set a deadline."""
    ends = _ends_at.get()
    return None if ends is None else max(0.0, ends - time.monotonic())


def remaining_or(default: float) -> float:
    """Seconds left, or `default` when nobody set a deadline."""
    left = remaining()
    return default if left is None else left


def check(doing: str) -> None:
    """Raise `DEADLINE` when no time is left.

    Raises:
        DeadlineExceeded: with `doing` in its message.
    """
    if remaining() == 0.0:
        raise DeadlineExceeded("DEADLINE", f"the call's time ended while {doing}", doing=doing)


def margin(seconds: float) -> float:
    """What a server keeps back of a caller's deadline so that its answer still arrives: seconds."""
    return max(0.05, min(0.1 * seconds, 0.5))
