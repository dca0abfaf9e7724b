"""The writer lane: the one thread that writes, group by group.

Per group: begin in the engine, apply, append to the log (fsync), commit, acknowledge. So a reader never sees what
the log does not hold, and what is acknowledged is in both.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

import duckdb

from featurestore.engine import apply as engine
from featurestore.engine.apply import Tables
from featurestore.model import deadline
from featurestore.model.errors import (
    DeadlineExceeded,
    FeatureStoreError,
    ResourceExhausted,
    Unavailable,
)
from featurestore.model.table import Operation, Published, Version
from services.realtime import anew, proposals
from services.realtime.cache import AnswerCache
from services.realtime.callers import Entry, Verdict, settle
from services.realtime.compaction import Compaction
from services.realtime.indexes import IndexedColumn, Indexes
from services.realtime.judging import Accepted, Judge
from services.realtime.log import AppendFailedError, Log, Record
from services.realtime.marks import Marks
from services.realtime.proposals import Proposal
from services.realtime.touches import Touched, touched
from services.realtime.transactions import OpenReads

_logger = logging.getLogger(__name__)
_EXIT_CODE: Final = 70


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """How much may wait, and how much goes into one transaction."""

    waiting_count: int = 4096
    waiting_bytes: int = 256 * 2**20
    group_count: int = 512
    group_bytes: int = 64 * 2**20
    frame_bytes: int = 256 * 2**20


@dataclass(frozen=True, slots=True)
class _Judged:
    entry: Entry
    operations: tuple[Operation, ...]
    record: Record


@dataclass(frozen=True)
class _Applied:
    """What is about to be committed.

    Attributes:
        tables: the definitions after.
        anew: whether a table is another one by the same name.
    """

    tables: Tables
    touched: Touched
    anew: bool


def exit_process(why: str) -> None:
    """End the process at once: the log decides what happened, and a restart replays it."""
    _logger.critical("realtime ends: %s; what the log holds is replayed at the next start", why)
    logging.shutdown()
    os._exit(_EXIT_CODE)


class Lane:
    """Orders, judges and applies proposals; owns the writing cursor and the log from `start` to `close`."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        log: Log,
        tables: Tables,
        *,
        indexes: Indexes | None = None,
        cache: AnswerCache | None = None,
        compaction: Compaction | None = None,
        marks: Marks | None = None,
        limits: LaneLimits | None = None,
        on_advance: Callable[[], object] = lambda: None,
        die: Callable[[str], None] = exit_process,
    ) -> None:
        """Continue where the log ends.

        Args:
            cursor: holds exactly what the log holds; no one else writes through its database.
            tables: the definitions as of the log's end.
            indexes: those of the same database.
            cache: answers from the same database; told of every write.
            compaction: knows which tables are to be looked at.
            marks: of the tables; raised with every write.
            on_advance: called in the lane's thread after each commit.
            die: called when only a restart can tell what the log holds.
        """
        self._cursor = cursor
        self._log = log
        self._tables = tables
        self._indexes = indexes or Indexes(log, OpenReads())
        self._cache = cache or AnswerCache(0)
        self._compaction = compaction or Compaction()
        self._marks = marks or Marks()
        self._wanted: deque[tuple[IndexedColumn, Future[None]]] = deque()
        self._redefining = False
        self._version = Version(log.log_id, log.last_sequence)
        self._limits = limits or LaneLimits()
        self._on_advance = on_advance
        self._die = die
        self._refusal: Unavailable | None = None
        self._waiting: deque[Entry] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="realtime-writer", daemon=True)

    @property
    def tables(self) -> Tables:
        """The definitions as of the last commit; never changed in place."""
        return self._tables

    def unchanged_since(self, tables: Tables) -> bool:
        """Whether what was read since `tables` was taken was read under these definitions and no others."""
        return not self._redefining and self._tables is tables

    @property
    def version(self) -> Version:
        """The last version that every read from now on sees."""
        return self._version

    @property
    def refusal(self) -> Unavailable | None:
        """Why no more writes are taken; None while they are."""
        return self._refusal

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    async def close(self) -> None:
        """Finish what waits, refuse what comes, end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    async def submit(self, proposal: Proposal) -> Published:
        """Have the proposal judged and applied in its turn; when this returns it is durable and visible.

        A caller that goes away or whose time ends takes nothing back once the proposal is being applied:
        it is then applied as a whole.

        Raises:
            FeatureStoreError: the verdict of `proposals.judge`.
            InvalidArgument: `PUBLISH_ID_REUSED`.
            ResourceExhausted: `WRITES_WAITING`, `PUBLISH_TOO_LARGE`, `MEMORY`.
            Unavailable: `READ_ONLY`, `STOPPING`.
            DeadlineExceeded: `DEADLINE`.
        """
        entry = Entry(proposal, proposals.size(proposal), asyncio.get_running_loop().create_future())
        self._enqueue(entry)
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await entry.caller
        except TimeoutError:
            raise DeadlineExceeded(
                "DEADLINE",
                "the call's time ended before the write was acknowledged; it may be applied: "
                "repeat it with the same publish_id",
                publish_id=proposal.publish_id,
            ) from None

    def index(self, wanted: IndexedColumn) -> Future[None]:
        """Have a column indexed, from now on and after every start.

        Returns:
            done when the index is there, or when it can't be had; before that reads scan.
        """
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # from here on whoever waits can't cancel it
        with self._changed:
            if self._closing:
                done.set_result(None)
            else:
                self._wanted.append((wanted, done))
                self._changed.notify()
        return done

    def _enqueue(self, entry: Entry) -> None:
        limits = self._limits
        with self._changed:
            if self._closing:
                raise Unavailable("STOPPING", "realtime is stopping; try again in a moment")
            full = len(self._waiting) >= limits.waiting_count
            if full or (self._waiting and self._waiting_bytes + entry.size > limits.waiting_bytes):
                raise ResourceExhausted(
                    "WRITES_WAITING",
                    f"{len(self._waiting)} writes with {self._waiting_bytes} bytes are waiting; try again later",
                    waiting=len(self._waiting),
                    waiting_bytes=self._waiting_bytes,
                )
            self._waiting.append(entry)
            self._waiting_bytes += entry.size
            self._changed.notify()

    def _take(self) -> list[Entry] | None:
        """The next group, after waiting for one; empty when an index is due, None when nothing will come any more."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting or self._wanted or self._closing, self._indexes.due_in
            )
            if self._closing and not self._waiting:
                return None
            group: list[Entry] = []
            size = 0
            while self._waiting and len(group) < self._limits.group_count:
                if group and size + self._waiting[0].size > self._limits.group_bytes:
                    break
                entry = self._waiting.popleft()
                size += entry.size
                group.append(entry)
            self._waiting_bytes -= size
            return group

    def _run(self) -> None:
        while (group := self._take()) is not None:
            try:
                self._process(group)
                self._tend_indexes()
                self._tend_tables()
            except Exception:
                _logger.exception("the writer lane met an error of ours")
                self._stop("the writer lane met an error of ours; see the log of the server")
            left = self._refusal or Unavailable("STOPPING", "realtime is stopping")
            settle([(entry, left) for entry in group if not entry.settled])
        self._take_wanted()
        self._indexes.give_up()

    def _take_wanted(self) -> None:
        with self._changed:
            wanted, self._wanted = self._wanted, deque()
        for column, done in wanted:
            self._indexes.want(column, done, self._tables)

    def _tend_indexes(self) -> None:
        """Build one index at the most: publishes that came meanwhile go first."""
        self._take_wanted()
        if self._indexes.due_in == 0 and self._refusal is None:
            with self._marks.writing(None):
                self._indexes.build_next(self._cursor, self._tables)

    def _tend_tables(self) -> None:
        """Write one table anew at the most, if it holds more dead rows than live ones."""
        if self._compaction.due and self._refusal is None:
            with self._marks.writing(None):
                self._compaction.tend(self._cursor, self._tables, self._indexes.statements)

    def _process(self, group: list[Entry]) -> None:
        if self._refusal is not None:
            settle([(entry, self._refusal) for entry in group])
            return
        entries = [entry for entry in group if not entry.given_up]
        try:
            judge = Judge(
                self._log,
                [entry.proposal for entry in entries],
                self._tables,
                frame_bytes=self._limits.frame_bytes,
            )
        except Exception as error:
            _logger.exception("a group could not be judged")
            settle([(entry, error) for entry in entries])
            return
        batch: list[_Judged] = []
        pending: set[str] = set()
        for position, entry in enumerate(entries):
            if entry.proposal.publish_id in pending:
                batch = self._commit(batch)  # a repeat within the group: the log can answer it now
            judged = self._judge(judge, position, entry)
            if judged is None:
                continue
            if engine.defines(judged.operations):
                batch = self._commit(batch)
                self._commit([judged])
                continue
            batch.append(judged)
            pending.add(entry.proposal.publish_id)
        self._commit(batch)

    def _judge(self, judge: Judge, position: int, entry: Entry) -> _Judged | None:
        """What is to be applied; None if the entry is answered already."""
        verdict: Verdict | Accepted
        try:
            verdict = self._refusal or judge.judge(position, self._tables, self.version)
        except FeatureStoreError as refused:
            verdict = refused
        except Exception as error:
            _logger.exception("a proposal could not be judged")
            verdict = error
        if isinstance(verdict, Accepted):
            return _Judged(entry, verdict.operations, verdict.record)
        settle([(entry, verdict)])
        return None

    def _commit(self, batch: list[_Judged]) -> list[_Judged]:
        """Apply, log and commit the batch, or refuse it; returns an empty batch."""
        if not batch:
            return []
        if self._refusal is not None:
            self._refuse(batch)
            return []
        applied = self._apply(batch)
        if applied is not None and self._append(batch):
            self._acknowledge(batch, applied)
        return []

    def _apply(self, batch: list[_Judged]) -> _Applied | None:
        operations = [operation for judged in batch for operation in judged.operations]
        try:
            written = anew.for_changes(self._cursor, self._tables, operations, self._indexes.statements)
            self._cursor.begin()
            found = touched(self._cursor, self._tables, operations, self._cache.watched)
            after = engine.apply(self._cursor, self._tables, anew.without(operations, written))
            for definition in written.values():
                anew.put_in_place(self._cursor, definition, self._indexes.statements(definition))
            return _Applied(after, found, anew=bool(written))
        except Exception as error:
            if not self._rolled_back():
                return None
            if len(batch) > 1:  # only the bad one is to be refused
                for judged in batch:
                    self._commit([judged])
                return None
            _logger.exception("publish %s could not be applied", batch[0].record.publish_id)
            settle([(batch[0].entry, _as_verdict(error))])
            return None

    def _append(self, batch: list[_Judged]) -> bool:
        try:
            self._log.append([judged.record for judged in batch])
        except AppendFailedError as error:
            _logger.exception("the log took no write")
            if not error.certain:
                self._stop(f"the log may or may not have taken a write: {error}")
            elif self._rolled_back():
                self._refusal = Unavailable(
                    "READ_ONLY",
                    f"the log can't be written ({error}), so the store only answers reads; "
                    "repair the disk and start realtime again",
                    cause=error,
                )
            self._refuse(batch)
            return False
        return True

    def _acknowledge(self, batch: list[_Judged], applied: _Applied) -> None:
        after = applied.tables
        redefined = after is not self._tables
        self._redefining = redefined  # before readers can see it, until they are told
        self._cache.begin_write(applied.touched)
        try:
            with self._marks.writing(None if redefined or applied.anew else _tables(batch)):
                self._cursor.commit()
        except duckdb.Error as error:
            _logger.exception("the engine did not commit what the log holds")
            self._stop(f"the engine did not commit what the log holds: {error}")
            return
        self._tables = after  # before answers are taken in again: none by a plan for the tables as they were
        self._cache.end_write()
        first = self._version.sequence + 1
        self._redefining = False
        self._version = Version(self._log.log_id, self._log.last_sequence)
        if redefined:
            self._indexes.redefined(after)
        self._compaction.note(operation for judged in batch for operation in judged.operations)
        settle(
            [
                (judged.entry, Published(judged.record.row_count, Version(self._log.log_id, sequence)))
                for sequence, judged in enumerate(batch, first)
            ]
        )
        self._on_advance()

    def _refuse(self, batch: list[_Judged]) -> None:
        if self._refusal is not None:  # else they are refused with what is left of the group
            settle([(judged.entry, self._refusal) for judged in batch])

    def _rolled_back(self) -> bool:
        try:
            self._cursor.rollback()
            anew.discard(self._cursor)
        except duckdb.Error as error:
            _logger.exception("the engine did not roll back")
            self._stop(f"the engine did not roll back: {error}")
            return False
        return True

    def _stop(self, why: str) -> None:
        self._refusal = Unavailable("STOPPING", "realtime has to start again; try again in a moment")
        self._die(why)


def _tables(batch: list[_Judged]) -> set[str]:
    """The tables whose rows are changed."""
    return set(engine.changes_by_table(operation for judged in batch for operation in judged.operations))


def _as_verdict(error: Exception) -> Exception:
    if isinstance(error, duckdb.OutOfMemoryException):
        return ResourceExhausted(
            "MEMORY", "realtime has no memory left for this write; delete rows or give it more", cause=error
        )
    return error
