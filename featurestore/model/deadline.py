"""The time that is left for the call at hand, carried from hop to hop in a context variable.

The server interceptor sets it from the caller's deadline, less a margin, so that our typed verdict arrives
before the caller's clock ends. Whatever waits or blocks reads it; whatever calls a peer passes it on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from featurestore.model.errors import DeadlineExceeded

_ends_at: ContextVar[float | None] = ContextVar("featurestore_deadline", default=None)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Work in this block has `seconds` from now, or what an outer block left, if that is less."""
    outer = _ends_at.get()
    own = None if seconds is None else time.monotonic() + seconds
    ends = own if outer is None else outer if own is None else min(outer, own)
    token = _ends_at.set(ends)
    try:
        yield
    finally:
        _ends_at.reset(token)


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
