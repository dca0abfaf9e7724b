"""Answers that are kept: what warming did, and how a query's answers fare."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum


@dataclass(frozen=True, slots=True)
class Warmed:
    """What warming a query did. Every key that was meant is in exactly one of the last four.

    Attributes:
        computed: answers that were computed.
        kept: of these, those that are kept now.
        already_there: keys whose answers were kept before.
        no_room: keys whose answers are not kept for want of room: nothing that holds is let go for them.
        overtaken: keys whose answers a write spoiled while they were computed.
    """

    computed: int = 0
    kept: int = 0
    already_there: int = 0
    no_room: int = 0
    overtaken: int = 0

    def __add__(self, other: Warmed) -> Warmed:
        return Warmed(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Warmed)))


class KeptUp(Enum):
    """Whether answers that a write spoils are computed again behind it, and why."""

    NOT = "not"
    ASKED = "asked"
    BY_ITSELF = "by itself"
    """Its misses took more than a set share of the readers' time."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How the kept answers of a query by an index key fare.

    Attributes:
        hits: keys that were answered from the cache, since the query was planned; likewise `misses`.
        entries: answers that hold.
        size_bytes: what they take, about.
        oldest_seconds: since the oldest of them was computed; 0 if there is none.
    """

    query_id: str
    index_key: tuple[str, ...]
    kept_up: KeptUp = KeptUp.NOT
    hits: int = 0
    misses: int = 0
    entries: int = 0
    size_bytes: int = 0
    oldest_seconds: float = 0.0

    @property
    def hit_rate(self) -> float:
        """Hits per key asked for, from 0 to 1; 0 if nobody asked."""
        return self.hits / (self.hits + self.misses) if self.hits else 0.0

    def __str__(self) -> str:
        kept_up = "" if self.kept_up is KeptUp.NOT else f"kept warm ({self.kept_up.value}), "
        return (
            f"{kept_up}{self.entries:,} answers with {self.size_bytes:,} bytes, the oldest "
            f"{self.oldest_seconds:,.0f} s old; {self.hit_rate:.0%} of {self.hits + self.misses:,} keys from the cache"
        )


@dataclass(frozen=True, slots=True)
class CacheReport:
    """The answer cache at a glance.

    Attributes:
        hits: keys that were answered from it since the start; likewise `misses`.
        invalidated: answers that writes spoiled.
        entries: answers that hold.
        size_bytes: what is there takes, about.
        limit_bytes: what it may take; 0 keeps nothing.
        kept_up: the queries that are kept warm.
    """

    hits: int = 0
    misses: int = 0
    invalidated: int = 0
    entries: int = 0
    size_bytes: int = 0
    limit_bytes: int = 0
    kept_up: tuple[CacheUse, ...] = ()
