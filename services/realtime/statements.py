"""Narrowed texts that the engine has planned once: run for a hundred other keys, they take two thirds of the time.

DuckDB 1.5.5 plans a prepared statement by what the tables hold, and runs that plan also when they hold something else: a
filter beyond the greatest value that was there finds nothing for good (its issue 23704). So a statement is used only while
the tables that it reads are as they were when it was prepared, which the marks tell. Under writes a text is so planned as
often as without: a statement is prepared once so many calls found the tables unchanged that it may be worth it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from featurestore.engine.column_types import quoted
from featurestore.engine.failures import translate
from featurestore.engine.key_values import ConvertedKeys
from featurestore.engine.planner.text import arguments, has_statement, prepared_sql
from services.realtime import rows
from services.realtime.marks import Mark, Marks
from services.realtime.plans import Prepared

_logger = logging.getLogger(__name__)

_MOST: Final = 64
"""Of one cursor; the one that was not used for the longest goes first."""
_WORTH_WHILE: Final = 3
"""Preparing takes about as long as three calls gain by it: after so many it is done, as more may come."""
_LONG_SECONDS: Final = 0.05
_MOST_HELD_BYTES: Final = 16 * 2**20
"""A statement holds the narrowed rows of its last call. After a long call all that is held is looked at, and if it is more than
so much, this statement is given up: for a call that reads so many rows, planning hardly counts."""
_HELD: Final = "SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory() WHERE tag = 'COLUMN_DATA'"


@dataclass(slots=True)
class _Known:
    """Of a plan, on one cursor.

    Attributes:
        mark: the tables as they were when it was used last.
        calls: so many were answered otherwise since.
        holds: whether its statement was prepared for them.
        exists: whether it has one at all.
    """

    mark: Mark
    calls: int = 0
    holds: bool = False
    exists: bool = False


class _OfThread(threading.local):
    """A thread has one cursor at a time; what is prepared belongs to the cursor."""

    def __init__(self) -> None:
        self.cursor: duckdb.DuckDBPyConnection | None = None
        self.known: OrderedDict[int, _Known] = OrderedDict()


class Statements:
    """Those of all readers. Any thread."""

    def __init__(self, marks: Marks) -> None:
        """Know none.

        Args:
            marks: taken away and given anew around every commit.
        """
        self._marks = marks
        self._own = _OfThread()

    def rows(
        self, cursor: duckdb.DuckDBPyConnection, prepared: Prepared, keys: ConvertedKeys
    ) -> pa.RecordBatch | None:
        """The rows of these keys by a statement; None if there is none that holds, or none for such keys.

        Raises:
            InvalidArgument, Internal, ResourceExhausted, DeadlineExceeded: see `rows.run`; the first two may be said of the
                statement only.
        """
        mark = self._mark(prepared)
        if mark is None:
            return None
        given = arguments(keys)
        if given is None:
            return None
        known = self._known(cursor, prepared.number)
        if known.mark != mark:
            known.mark, known.calls, known.holds = mark, 0, False
        if not known.holds:
            known.calls += 1
            if known.calls <= _WORTH_WHILE or not _prepare(cursor, prepared, known):
                return None
        text = f"EXECUTE {_name(prepared.number)}({given})"
        began = time.monotonic()
        found = rows.run(cursor, prepared.form, text, len(keys.tuples))
        if time.monotonic() - began > _LONG_SECONDS:
            _look_at_memory(cursor, prepared.number, known)
        return found if self._mark(prepared) == mark else None

    def have(self, cursor: duckdb.DuckDBPyConnection, prepared: Prepared) -> None:
        """Have a statement prepared for the tables as they are, if there can be one; outside any transaction.

        Raises:
            DeadlineExceeded: `DEADLINE`.
        """
        mark = self._mark(prepared)
        if mark is not None:
            known = self._known(cursor, prepared.number)
            if not (known.holds and known.mark == mark):
                known.mark = mark
                _prepare(cursor, prepared, known)

    def _mark(self, prepared: Prepared) -> Mark | None:
        if prepared.without_statement or prepared.uses_clock or not has_statement(prepared.plan):
            return None
        return self._marks.of(prepared.reads)

    def _known(self, cursor: duckdb.DuckDBPyConnection, number: int) -> _Known:
        own = self._own
        if own.cursor is not cursor:
            own.cursor = cursor
            own.known.clear()
        known = own.known.get(number)
        if known is None:
            known = own.known[number] = _Known(())  # as if it had been used for other tables
            if len(own.known) > _MOST:
                oldest, dropped = own.known.popitem(last=False)
                if dropped.exists:
                    cursor.execute(f"DEALLOCATE {_name(oldest)}")
        else:
            own.known.move_to_end(number)
        return known


def _look_at_memory(cursor: duckdb.DuckDBPyConnection, number: int, known: _Known) -> None:
    try:
        [(held,)] = cursor.execute(_HELD).fetchall()
        if held > _MOST_HELD_BYTES:
            cursor.execute(f"DEALLOCATE {_name(number)}")
            known.calls, known.holds, known.exists = 0, False, False
    except duckdb.Error as error:
        raise translate(error) from error


def _name(number: int) -> str:
    return quoted(f"__fs_{number}")


def _prepare(cursor: duckdb.DuckDBPyConnection, prepared: Prepared, known: _Known) -> bool:
    """Whether the engine took the statement; if not, the plan is served without from now on."""
    text = prepared_sql(prepared.form, prepared.plan, prepared.columns)
    try:
        cursor.execute(f"PREPARE {_name(prepared.number)} AS {text}")
    except duckdb.InterruptException as error:
        raise translate(error) from error
    except duckdb.Error:
        _logger.exception("a narrowed text can't be prepared, and is planned for each call")
        prepared.without_statement = True
        return False
    known.holds = known.exists = True
    return True
