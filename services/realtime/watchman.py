"""Looks at some answers again: is what the plan finds what the plain query finds? Behind everything else.

The planner is proved by tests; this is what stands between a mistake in it, or in the engine, and silently wrong answers.
As it runs all texts anyway, it also tells which of them is the fastest one.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

import duckdb
import pyarrow as pa

from featurestore.engine.compare import differences
from featurestore.engine.key_values import ConvertedKeys
from featurestore.model.errors import FeatureStoreError
from services.realtime.lane import Lane
from services.realtime.plans import Prepared
from services.realtime.rows import plain_rows, rows_in_transaction
from services.realtime.statements import Statements
from services.realtime.transactions import OpenReads

_logger = logging.getLogger(__name__)

_FIRST: Final = 12
"""So many answers of each plan and size of calls are looked at, and then ..."""
_EVERY: Final = 1_000
"""... one in so many."""
_WAITING: Final = 64
"""More are not kept waiting; what does not fit is not looked at."""
_MOST_KEYS: Final = 100
"""Of an answer for more keys, the first of them are looked at."""
_REST: Final = 4.0
"""It rests so many times as long as it worked."""
_LONGEST_SECONDS: Final = 5.0
"""A comparison that takes longer is given up."""


class Watchman:
    """One thread that compares. Plans are only ever taken back by it, never changed otherwise."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, lane: Lane, statements: Statements, reads: OpenReads
    ) -> None:
        """Watch over a database; nothing runs before `start`."""
        self._lane = lane
        self._cursor = connection.cursor()
        self._statements = statements
        self._reads = reads
        self._waiting: queue.Queue[tuple[str, Prepared, ConvertedKeys]] = queue.Queue(_WAITING)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="realtime-watchman", daemon=True)
        self.compared = 0
        """Answers that were looked at."""
        self.differed = 0
        """Those whose plan was dropped for it."""

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Stop at once, dropping what waits; blocks until the thread has ended."""
        self._closing.set()
        while self._thread.is_alive():
            self._cursor.interrupt()  # the engine forgets one that comes between two statements
            self._thread.join(0.05)
        self._cursor.close()

    def consider(self, query_id: str, prepared: Prepared, keys: ConvertedKeys) -> None:
        """Count an answer that was given, and have it looked at if it is its turn. Any thread; never waits."""
        trial = prepared.trials.of(len(keys.tuples))
        trial.answered += 1
        due = trial.answered <= _FIRST or trial.answered % _EVERY == 0
        if due and not prepared.uses_clock and prepared.plan.narrows and not self._waiting.full():
            some = ConvertedKeys(keys.columns, keys.tuples[:_MOST_KEYS])
            try:
                self._waiting.put_nowait((query_id, prepared, some))
            except queue.Full:
                return  # another answer took the last place

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                query_id, prepared, keys = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            began = time.monotonic()
            try:
                self._look(query_id, prepared, keys)
            except Exception:
                if self._closing.is_set():
                    return  # interrupted, wherever it was
                _logger.exception("the watchman met an error of ours")
            self._closing.wait(_REST * (time.monotonic() - began))

    def _look(self, query_id: str, prepared: Prepared, keys: ConvertedKeys) -> None:
        timer = threading.Timer(_LONGEST_SECONDS, self._cursor.interrupt)
        timer.daemon = True
        timer.start()
        try:
            with self._reads.reading():
                agreed = self._agrees(prepared, keys)
        except FeatureStoreError as error:
            _logger.info("an answer of query %s was not looked at: %s", query_id, error)
            return
        finally:
            timer.cancel()
        if agreed is None:
            return
        self.compared += 1
        if not agreed:
            self.differed += 1
            prepared.distrust(
                "a narrowed answer differed from the plain query's: please report it; it is served as it is"
            )
            # The key itself is some customer's.
            told = hashlib.sha256(repr(keys.tuples).encode()).hexdigest()[:16]
            _logger.error(
                "the plan of query %s gave another answer than the plain query; key hash %s", query_id, told
            )

    def _agrees(self, prepared: Prepared, keys: ConvertedKeys) -> bool | None:
        """Whether all texts agree on one state of the data.

        Returns:
            None if they can't tell: the tables are no longer those of the plan, or the rows are not determined.
        """
        form, plan, tables = prepared.form, prepared.plan, self._lane.tables
        if not prepared.serves(form, tables):
            return None
        trial = prepared.trials.of(len(keys.tuples))
        texts: list[tuple[str, Callable[[], pa.RecordBatch | None]]] = [
            ("plain", lambda: plain_rows(self._cursor, form, keys)),
            ("narrowed", lambda: rows_in_transaction(self._cursor, form, plan, keys)[0]),
            ("statement", lambda: self._statements.rows(self._cursor, prepared, keys)),
        ]
        first = trial.compared % len(texts)
        found: dict[str, pa.Table] = {}
        took: dict[str, float] = {}
        self._statements.have(self._cursor, prepared)
        self._cursor.begin()
        try:
            for name, text in texts[first:] + texts[:first]:
                began = time.monotonic()
                rows = text()
                if rows is not None:
                    took[name] = time.monotonic() - began
                    found[name] = pa.Table.from_batches([rows])
        finally:
            self._cursor.rollback()
        trial.add(took["plain"], took["narrowed"], took.get("statement"))
        if not prepared.comparable or not self._lane.unchanged_since(tables):
            return None
        plain, *narrowed = (found[name] for name, _ in texts if name in found)
        return not any(differences(plain, each) for each in narrowed)
