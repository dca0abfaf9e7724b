"""What is kept of an answer, what it takes, and what may become of one that is to be kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from sys import getsizeof
from typing import Final, TypeAlias

from services.realtime.touches import Dependence

Name: TypeAlias = tuple[object, ...]
"""Which answer: the plan, the format and the key's values."""
Holders: TypeAlias = "dict[object, Kept | set[Kept]]"
"""Of places that one value narrows, by value: the answers that depend on it."""

ENTRY_BYTES: Final = 578
"""What an answer takes beside its message, its key and its touches. Measured; see the test of memory."""
_TOUCH_BYTES: Final = 16
"""What a touch takes in its answer; what it takes among the holders is asked of them."""


class Fate(Enum):
    """What became of an answer that was to be taken in."""

    KEPT = "kept"
    OVERTAKEN = "overtaken"
    """A write since its computation began spoils it."""
    NO_ROOM = "no room"
    """It would have taken the place of another one."""
    TOO_LARGE = "too large"
    """For any cache of this size."""

    def __bool__(self) -> bool:
        return self is Fate.KEPT


@dataclass(slots=True, eq=False)
class Kept:
    """An answer.

    Attributes:
        name: under which it is kept.
        message: its rows, encoded.
        row_count: how many they are.
        epochs: of the tables that were read whole, which write was the last.
        size: bytes, about, without what the holders take.
        stored_at: by the monotonic clock, in seconds.
        holders: of each of its touches, where it is registered, and in `values` under what.
        spoiled: by a write; what is left of it goes when it is asked for, or when its turn comes.
    """

    name: Name
    message: bytes
    row_count: int
    epochs: tuple[tuple[str, int], ...]
    size: int
    stored_at: float
    holders: tuple[Holders, ...] = ()
    values: tuple[object, ...] = ()
    spoiled: bool = False


@dataclass(slots=True)
class Followed:
    """Of a plan whose answers are kept up: those that are spoiled, and the tables that some of them read whole."""

    spoiled: dict[Name, None] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """The cache at a glance.

    Attributes:
        hits: keys that were answered from it since the start; likewise `misses`.
        invalidated: answers that a write spoiled.
        entries: answers that hold.
        size: bytes, about, of all that is there.
    """

    hits: int
    misses: int
    invalidated: int
    entries: int
    size: int


def size_of(name: Name, message: bytes, depends: Dependence) -> int:
    """Bytes, about; a value that is both in the name and a touch is there once."""
    key = name[-1] if isinstance(name[-1], tuple) else ()
    size = len(message) + ENTRY_BYTES + _TOUCH_BYTES * len(depends.touches)
    for value in key:
        size += getsizeof(value)
    for _, value in depends.touches:
        if value not in key:
            size += getsizeof(value)
    return size
