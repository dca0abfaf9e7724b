"""Answers that are kept until a write touches what they depend on; never one that a finished write has spoiled.

The order that makes this exact, around a commit in the writer lane: `begin_write` (from here on no answer that the write
spoils is taken in), commit, `end_write` (such answers are dropped), acknowledge. A computation says `begin` before its
statement starts; its answer is taken in only if no write since then, finished or under way, spoils it. So an answer is here
only if it is what the query shows now, and a read that starts after an acknowledgement never finds an older one.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from sys import getsizeof, intern
from typing import Final, TypeAlias

from services.realtime.touches import Dependence, Place, Touched

Name: TypeAlias = tuple[object, ...]
"""Which answer: the plan, the format and the key's values."""
_Holders: TypeAlias = dict[object, Name | set[Name]]
"""Of one place, by value: the answers that depend on it."""

_ENTRY_BYTES: Final = 570
"""What an answer takes beside its message, its key and its touches. Measured; see the test of memory."""
_TOUCH_BYTES: Final = 16
"""What a touch takes in its answer; what it takes among the holders is asked of them."""
_PIECE: Final = 1_000
"""So many answers are dropped at once, before readers get their turn."""
_WRITES: Final = 1_024
"""Writes that are remembered for computations under way; those older than the oldest of them are of no use."""
_WRITTEN_VALUES: Final = 1_000_000
"""The most values that remembered writes may touch; the oldest go first."""


@dataclass(slots=True)
class Kept:
    """An answer.

    Attributes:
        message: its rows, encoded.
        row_count: how many they are.
        holders: of each of its touches, where it is registered, and in `values` under what.
        epochs: of the tables that were read whole, which write was the last.
        size: bytes, about, without what the holders take.
        stored_at: by the monotonic clock, in seconds.
    """

    message: bytes
    row_count: int
    holders: tuple[_Holders, ...]
    values: tuple[object, ...]
    epochs: tuple[tuple[str, int], ...]
    size: int
    stored_at: float


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """The cache at a glance.

    Attributes:
        hits: keys that were answered from it since the start; likewise `misses`.
        invalidated: answers that a write spoiled.
        size: bytes, about.
    """

    hits: int
    misses: int
    invalidated: int
    entries: int
    size: int


class AnswerCache:
    """A bounded number of bytes; what was asked for the longest ago goes first. Any thread."""

    def __init__(self, limit: int) -> None:
        """Start empty.

        Args:
            limit: bytes; 0 keeps nothing.
        """
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[Name, Kept] = OrderedDict()
        self._by_place: dict[Place, _Holders] = {}
        self._epochs: dict[str, tuple[str, int]] = {}
        self._watched: dict[str, frozenset[str]] = {}
        self._size = 0
        self._sequence = itertools.count(1)
        self._now = 0
        self._pending: Touched | None = None
        self._writes: deque[tuple[int, Touched]] = deque()
        self._written_values = 0
        self._forgotten = 0
        self._running: dict[int, int] = {}
        self._hits = self._misses = self._invalidated = 0

    @property
    def enabled(self) -> bool:
        """Whether anything is kept at all."""
        return self._limit > 0

    @property
    def watched(self) -> Mapping[str, frozenset[str]]:
        """By table, the columns that answers depend on; never changed in place."""
        return self._watched

    def get(self, names: Sequence[Name]) -> list[Kept | None]:
        """Those answers that are here and hold, in the order of the names."""
        with self._lock:
            found = [self._valid(name) for name in names]
            here = sum(kept is not None for kept in found)
            self._hits += here
            self._misses += len(names) - here
            return found

    def get_all(self, names: Sequence[Name]) -> list[Kept] | None:
        """All of these answers; None if one is not here, which then is no miss yet: `get` will be asked for it."""
        with self._lock:
            found: list[Kept] = []
            for name in names:
                kept = self._valid(name)
                if kept is None:
                    return None
                found.append(kept)
            self._hits += len(names)
            return found

    def begin(self) -> int:
        """A computation begins: before its statement starts. Give what this returns to `end`, whatever happens."""
        with self._lock:
            token = self._now
            self._running[token] = self._running.get(token, 0) + 1
            return token

    def end(self, token: int) -> None:
        """A computation is over, and has put in what it found."""
        with self._lock:
            self._running[token] -= 1
            if not self._running[token]:
                del self._running[token]
            oldest = min(self._running, default=self._now)
            while self._writes and self._writes[0][0] <= oldest:
                self._forget()

    def put(self, token: int, name: Name, message: bytes, row_count: int, depends: Dependence) -> bool:
        """Take an answer in, unless a write since `begin` spoils it; returns whether it was."""
        size = _size(name, message, depends)
        if size > self._limit // 8:
            return False
        with self._lock:
            self._watch(depends)
            if self._spoiled(token, depends):
                return False
            known = self._kept.get(name)
            if known is not None:
                self._drop(name, known)
            holders = tuple(
                self._hold((table, column), value, name) for table, column, value in depends.touches
            )
            values = tuple(value for _, _, value in depends.touches)
            epochs = tuple(self._epoch(table) for table in depends.whole)
            self._kept[name] = Kept(message, row_count, holders, values, epochs, size, time.monotonic())
            self._size += size
            while self._kept and self._size + getsizeof(self._kept) > self._limit:
                self._drop(*next(iter(self._kept.items())))
            return name in self._kept

    def begin_write(self, touched: Touched) -> None:
        """A write is about to be committed."""
        with self._lock:
            self._now = next(self._sequence)
            self._pending = touched

    def end_write(self) -> None:
        """The write is committed, or is not going to be; drop what it spoils. Readers get their turn in between."""
        with self._lock:
            touched = self._pending
            if touched is None:
                return
            self._raise_epochs(touched)
            spoiled = list(self._kept) if touched.everything else self._spoiled_names(touched)
        for start in range(0, len(spoiled), _PIECE):
            with self._lock:
                for name in spoiled[start : start + _PIECE]:
                    self._invalidate(name)
        with self._lock:
            self._pending = None
            self._now = next(self._sequence)
            if self._running:
                self._remember(touched)

    def status(self) -> CacheStatus:
        """How it does."""
        with self._lock:
            size = self._size + getsizeof(self._kept)
            return CacheStatus(self._hits, self._misses, self._invalidated, len(self._kept), size)

    def _valid(self, name: Name) -> Kept | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        for epoch in kept.epochs:
            if self._epochs[epoch[0]] != epoch:
                self._invalidate(name)
                return None
        self._kept.move_to_end(name)
        return kept

    def _watch(self, depends: Dependence) -> None:
        for table, column, _ in depends.touches:
            columns = self._watched.get(table, frozenset())
            if column not in columns:
                self._watched = {**self._watched, table: columns | {column}}

    def _spoiled(self, token: int, depends: Dependence) -> bool:
        if token < self._forgotten or (self._pending is not None and self._pending.spoils(depends)):
            return True
        return any(at > token and write.spoils(depends) for at, write in self._writes)

    def _spoiled_names(self, touched: Touched) -> list[Name]:
        spoiled: list[Name] = []
        for place, holders in self._by_place.items():
            if place[0] not in touched.tables:
                continue
            values = touched.values.get(place)
            if values is None:  # watched since the write looked
                spoiled += (name for held in holders.values() for name in _names(held))
            else:
                few, many = (values, holders) if len(values) < len(holders) else (holders, values)
                spoiled += (name for value in few if value in many for name in _names(holders[value]))
        return spoiled

    def _remember(self, touched: Touched) -> None:
        self._writes.append((self._now, touched))
        self._written_values += touched.value_count
        while len(self._writes) > _WRITES or self._written_values > _WRITTEN_VALUES:
            self._forgotten = self._forget()

    def _forget(self) -> int:
        at, touched = self._writes.popleft()
        self._written_values -= touched.value_count
        return at

    def _epoch(self, table: str) -> tuple[str, int]:
        return self._epochs.setdefault(table, (intern(table), 0))

    def _raise_epochs(self, touched: Touched) -> None:
        for table in touched.tables:
            name, count = self._epoch(table)
            self._epochs[table] = (name, count + 1)

    def _invalidate(self, name: Name) -> None:
        kept = self._kept.get(name)
        if kept is not None:
            self._drop(name, kept)
            self._invalidated += 1

    def _drop(self, name: Name, kept: Kept) -> None:
        del self._kept[name]
        self._size -= kept.size
        for holders, value in zip(kept.holders, kept.values, strict=True):
            self._let_go(holders, value, name)

    def _hold(self, place: Place, value: object, name: Name) -> _Holders:
        holders = self._by_place.get(place)
        if holders is None:
            holders = self._by_place[place] = {}
        before = getsizeof(holders)
        held = holders.get(value)
        if held is None:
            holders[value] = name
            self._size += getsizeof(holders) - before
        elif isinstance(held, set):
            before = getsizeof(held)
            held.add(name)
            self._size += getsizeof(held) - before
        else:
            both = {held, name}
            holders[value] = both
            self._size += getsizeof(both)
        return holders

    def _let_go(self, holders: _Holders, value: object, name: Name) -> None:
        held = holders[value]
        if isinstance(held, set):
            held.discard(name)
            if held:
                return
            self._size -= getsizeof(held)
        del holders[value]
        if not holders:  # it would keep the room that it had
            self._size -= getsizeof(holders)
            holders.clear()
            self._size += getsizeof(holders)


def _size(name: Name, message: bytes, depends: Dependence) -> int:
    """Bytes, about; a value that is both in the name and a touch is there once."""
    touches = [value for _, _, value in depends.touches]
    key = name[-1] if isinstance(name[-1], tuple) else ()
    values = {id(value): value for value in (*key, *touches)}
    beside = sum(map(getsizeof, values.values()))
    return len(message) + beside + _ENTRY_BYTES + _TOUCH_BYTES * len(touches)


def _names(held: Name | set[Name]) -> Iterable[Name]:
    return held if isinstance(held, set) else (held,)
