"""Answers that are kept until a write touches what they depend on; never one that a finished write has spoiled.

The order that makes this exact, around a commit in the writer lane: `begin_write` (from here on no answer that the write
spoils is taken in), commit, `end_write` (such answers hold no longer), acknowledge. A computation says `begin` before its
statement starts; its answer is taken in only if no write since then, finished or under way, spoils it. So an answer is here
only if it is what the query shows now, and a read that starts after an acknowledgement never finds an older one.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from sys import getsizeof, intern
from typing import Final

from services.realtime.kept import CacheStatus, Fate, Followed, Holders, Kept, Name, size_of
from services.realtime.touches import Dependence, Places, Touched

_COUNTED_PLANS: Final = 4_096
"""So many plans have their hits counted; those that were not asked for the longest are forgotten."""
_PIECE: Final = 1_000
"""So many values are gone through at once, before readers get their turn."""
_WRITES: Final = 1_024
"""Writes that are remembered for computations under way; those older than the oldest of them are of no use."""
_WRITTEN_VALUES: Final = 1_000_000
"""The most values that remembered writes may touch; the oldest go first."""


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
        self._by_places: dict[Places, Holders] = {}
        self._of_table: dict[str, list[Places]] = {}
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
        self._followed: dict[object, Followed] = {}
        self._asked: dict[object, tuple[int, int]] = {}
        self._hits = self._misses = self._invalidated = self._spoiled_count = 0

    @property
    def enabled(self) -> bool:
        """Whether anything is kept at all."""
        return self._limit > 0

    @property
    def limit(self) -> int:
        """Bytes."""
        return self._limit

    @property
    def watched(self) -> Mapping[str, frozenset[str]]:
        """By table, the columns that answers depend on; never changed in place."""
        return self._watched

    def get(self, names: Sequence[Name]) -> list[Kept | None]:
        """Those answers that are here and hold, in the order of the names."""
        with self._lock:
            found = [self._valid(name) for name in names]
            here = sum(kept is not None for kept in found)
            self._count(names, here, len(names) - here)
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
            self._count(names, len(names), 0)
            return found

    def missing(self, names: Sequence[Name]) -> list[Name]:
        """Those that are not here, or hold no longer: nobody asked for them, so nothing is counted or moved."""
        with self._lock:
            return [name for name in names if not self._holds(self._kept.get(name))]

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

    def put(
        self,
        token: int,
        name: Name,
        message: bytes,
        row_count: int,
        depends: Dependence,
        *,
        make_room: bool = True,
    ) -> Fate:
        """Take an answer in, unless a write since `begin` spoils it.

        Args:
            make_room: for an answer that was asked for: it stands last in the line, and those that stand first go for
                it. Without, nothing that holds goes for it, and if it is new it is the first to go.
        """
        size = size_of(name, message, depends)
        if size > self._limit // 8:
            return Fate.TOO_LARGE
        with self._lock:
            self._watch(depends)
            if self._spoiled(token, depends):
                return Fate.OVERTAKEN
            epochs = tuple(map(self._epoch, depends.whole))
            known = self._kept.get(name)
            if known is not None:
                self._free(known)
            kept = self._kept[name] = Kept(name, message, row_count, epochs, size, time.monotonic())
            self._size += size
            kept.holders = tuple([self._hold(places, value, kept) for places, value in depends.touches])
            kept.values = tuple([value for _, value in depends.touches])
            followed = self._followed.get(name[0])
            if followed is not None:
                followed.whole |= depends.whole
            if make_room:
                self._kept.move_to_end(name)
            self._shrink(kept, make_room=make_room)
            if name not in self._kept:
                return Fate.NO_ROOM
            if not make_room and known is None:
                self._kept.move_to_end(name, last=False)
            return Fate.KEPT

    def follow(self, number: object) -> None:
        """From now on remember which answers of this plan are spoiled, for `take_spoiled`; those that are already, too."""
        with self._lock:
            if number in self._followed:
                return
            followed = self._followed[number] = Followed()
            everything = list(self._kept.values())
        own = [kept for kept in everything if kept.name[0] == number]
        with self._lock:
            followed.whole |= {table for kept in own for table, _ in kept.epochs}
            followed.spoiled.update((kept.name, None) for kept in own if not self._holds(kept))

    def unfollow(self, number: object) -> list[Name]:
        """Remember them no longer; returns what `take_spoiled` would."""
        spoiled = self.take_spoiled(number)
        with self._lock:
            self._followed.pop(number, None)
        return spoiled

    def has_spoiled(self, number: object) -> bool | None:
        """Whether `take_spoiled` may have something; None if the plan is not followed. Never waits."""
        with self._lock:
            followed = self._followed.get(number)
            return None if followed is None else bool(followed.spoiled) or followed.outdated

    def take_spoiled(self, number: object) -> list[Name]:
        """Names of answers of a followed plan that writes have spoiled since this was asked before."""
        with self._lock:
            followed = self._followed.get(number)
            if followed is None:
                return []
            spoiled, followed.spoiled = followed.spoiled, {}
            # Of a table that is read whole, a write only raises the epoch: who depends on it is looked for here.
            everything = list(self._kept.values()) if followed.outdated else []
            followed.outdated = False
        outdated = (kept.name for kept in everything if kept.name[0] == number and kept.epochs)
        spoiled.update(dict.fromkeys(outdated))
        return list(spoiled)

    def snapshot(self) -> list[Kept]:
        """All that is here, holding or not, first the one that goes first."""
        with self._lock:
            return list(self._kept.values())

    def holds(self, kept: Kept) -> bool:
        """Whether an answer of a snapshot is still what the query shows."""
        with self._lock:
            return self._holds(kept)

    def asked(self, number: object) -> tuple[int, int]:
        """Keys of a plan that were answered from here, and those that were not."""
        with self._lock:
            return self._asked.get(number, (0, 0))

    def begin_write(self, touched: Touched) -> None:
        """A write is about to be committed."""
        with self._lock:
            self._now = next(self._sequence)
            self._pending = touched

    def end_write(self) -> None:
        """The write is committed, or is not going to be; what it spoils holds no longer. Readers get turns in between."""
        with self._lock:
            touched = self._pending
            if touched is None:
                return
            self._raise_epochs(touched)
            found = self._written(touched)
        if touched.everything:
            self._clear()
        for places in found:
            self._spoil_places(places, touched)
        with self._lock:
            self._pending = None
            self._now = next(self._sequence)
            if self._running:
                self._remember(touched)

    def status(self) -> CacheStatus:
        """How it does."""
        with self._lock:
            size = self._size + getsizeof(self._kept)
            entries = len(self._kept) - self._spoiled_count
            return CacheStatus(self._hits, self._misses, self._invalidated, entries, size)

    def _valid(self, name: Name) -> Kept | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        if not self._holds(kept):
            self._spoil((kept,))
            self._drop(name, kept)
            return None
        self._kept.move_to_end(name)
        return kept

    def _holds(self, kept: Kept | None) -> bool:
        return kept is not None and not kept.spoiled and not (kept.epochs and self._outdated(kept))

    def _count(self, names: Sequence[Name], here: int, missing: int) -> None:
        """All names of a call are of one plan."""
        self._hits += here
        self._misses += missing
        if names:
            hits, misses = self._asked.pop(names[0][0], (0, 0))
            self._asked[names[0][0]] = hits + here, misses + missing
            if len(self._asked) > _COUNTED_PLANS:
                del self._asked[next(iter(self._asked))]

    def _shrink(self, kept: Kept, *, make_room: bool) -> None:
        """Let answers go, first those that stand first, until all fit; for one that makes no room, only those of no use."""
        while self._kept and self._size + getsizeof(self._kept) > self._limit:
            first = next(iter(self._kept.values()))
            if not make_room and first is not kept and self._holds(first):
                first = kept
            self._drop(first.name, first)
            if first is kept:
                return

    def _outdated(self, kept: Kept) -> bool:
        return any(self._epochs[epoch[0]] != epoch for epoch in kept.epochs)

    def _watch(self, depends: Dependence) -> None:
        for places, _ in depends.touches:
            if places in self._by_places:
                continue
            self._by_places[places] = {}
            for table in {table for table, _ in places}:
                self._of_table.setdefault(table, []).append(places)
            for table, column in places:
                columns = self._watched.get(table, frozenset())
                self._watched = {**self._watched, table: columns | {column}}

    def _spoiled(self, token: int, depends: Dependence) -> bool:
        if token < self._forgotten or (self._pending is not None and self._pending.spoils(depends)):
            return True
        return bool(self._writes) and any(at > token and write.spoils(depends) for at, write in self._writes)

    def _written(self, touched: Touched) -> list[Places]:
        """Those with a table that is written."""
        return list(dict.fromkeys(each for table in touched.tables for each in self._of_table.get(table, ())))

    def _spoil_places(self, places: Places, touched: Touched) -> None:
        with self._lock:
            holders = self._by_places[places]
            values: list[object] = []
            for place in places:
                if place[0] in touched.tables:
                    values += self._spoiled_values(holders, touched.values.get(place))
        for start in range(0, len(values), _PIECE):
            with self._lock:
                for value in values[start : start + _PIECE]:
                    self._spoil_holders(holders, value)

    def _spoiled_values(self, holders: Holders, written: set[object] | None) -> list[object]:
        """Those values of a place that a write touches; all of them if it did not look there."""
        if written is None:
            return list(holders)
        few, many = (written, holders) if len(written) < len(holders) else (holders, written)
        return [value for value in few if value in many]

    def _spoil_holders(self, holders: Holders, value: object) -> None:
        held = holders.pop(value, None)
        if isinstance(held, set):
            self._size -= getsizeof(held)
            self._spoil(held)
        elif held is not None:
            self._spoil((held,))
        self._emptied(holders)

    def _spoil(self, spoiled: Iterable[Kept]) -> None:
        count = 0
        for kept in spoiled:
            if not kept.spoiled:
                kept.spoiled = True
                count += 1
                if self._followed and (followed := self._followed.get(kept.name[0])) is not None:
                    followed.spoiled[kept.name] = None
        self._spoiled_count += count
        self._invalidated += count

    def _clear(self) -> None:
        with self._lock:
            kept, self._kept = self._kept, OrderedDict()
            self._invalidated += len(kept) - self._spoiled_count
            self._spoiled_count = 0
            places, self._by_places = self._by_places, {}
            self._of_table = {}
            self._size = 0
            followed = dict(self._followed)
        lost = [name for name in kept if name[0] in followed] if followed else []
        with self._lock:
            for name in lost:
                followed[name[0]].spoiled[name] = None
        for holders in places.values():  # answers and holders name each other
            holders.clear()
        while kept:  # one by one, so that others get their turn
            kept.popitem()

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
        for followed in self._followed.values():
            followed.outdated |= not followed.whole.isdisjoint(touched.tables)

    def _drop(self, name: Name, kept: Kept) -> None:
        del self._kept[name]
        self._free(kept)

    def _free(self, kept: Kept) -> None:
        self._size -= kept.size
        self._spoiled_count -= kept.spoiled
        for holders, value in zip(kept.holders, kept.values, strict=True):
            self._let_go(holders, value, kept)

    def _hold(self, places: Places, value: object, kept: Kept) -> Holders:
        holders = self._by_places[places]
        held = holders.get(value)
        if held is None:
            before = getsizeof(holders)
            holders[value] = kept
            self._size += getsizeof(holders) - before
        elif isinstance(held, set):
            before = getsizeof(held)
            held.add(kept)
            self._size += getsizeof(held) - before
        else:
            both = {held, kept}
            holders[value] = both
            self._size += getsizeof(both)
        return holders

    def _let_go(self, holders: Holders, value: object, kept: Kept) -> None:
        """Of answers that were spoiled, others may stand there by now."""
        held = holders.get(value)
        if held is kept:
            del holders[value]
        elif isinstance(held, set) and kept in held:
            held.discard(kept)
            if held:
                return
            self._size -= getsizeof(held)
            del holders[value]
        self._emptied(holders)

    def _emptied(self, holders: Holders) -> None:
        """Of holders without a value, free the room that they had for many."""
        if not holders:
            self._size -= getsizeof(holders)
            holders.clear()
            self._size += getsizeof(holders)
