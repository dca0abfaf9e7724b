"""Indexes on the columns that plans of declared index keys narrow on. Built by the writer lane, between two groups.

`CREATE INDEX` beside a write loses rows from the index, so nobody but the lane may build one.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import duckdb

from featurestore.engine.apply import Tables
from featurestore.engine.column_types import is_key_type, quoted
from featurestore.engine.tables import identity, qualified
from featurestore.model.table import TableDefinition
from services.realtime.log import Log
from services.realtime.transactions import OpenReads

_logger = logging.getLogger(__name__)

_DRAIN_SECONDS: Final = 0.05
"""How long publishes wait for old reads to end before the build is put off."""
_RETRY_SECONDS: Final = 0.5
"""How long it is put off."""


@dataclass(frozen=True, slots=True)
class IndexedColumn:
    """A column to be found by value; both names as `tables.identity` has them."""

    table: str
    column: str


@dataclass(slots=True)
class _Build:
    wanted: IndexedColumn
    done: Future[None] = field(default_factory=Future)


def indexed_column(table: str, column: str) -> IndexedColumn:
    """A column of a table, however both are spelled."""
    return IndexedColumn(identity(table), column.lower())


class Indexes:
    """Knows which indexes are wanted and which are there. Used by the lane's thread alone, once it runs."""

    def __init__(self, log: Log, reads: OpenReads) -> None:
        """Take up what the log remembers; nothing is built yet.

        Args:
            log: remembers what is wanted, so that a restart builds it again.
            reads: of the same database.
        """
        self._log = log
        self._reads = reads
        self._remembered = {IndexedColumn(*pair) for pair in log.indexed_columns()}
        self._built: set[IndexedColumn] = set()
        self._builds: list[_Build] = []
        self._not_before = 0.0

    @property
    def due_in(self) -> float | None:
        """Seconds until there is something to build; None if there is nothing."""
        return max(0.0, self._not_before - time.monotonic()) if self._builds else None

    def want(self, wanted: IndexedColumn, done: Future[None], tables: Tables) -> None:
        """Have an index; it is remembered for good.

        Args:
            done: set when the index is there, when there is nothing to build, or when it can't be built.
        """
        if wanted not in self._remembered:
            self._remember(wanted)
        if wanted in self._built or not _can_be(wanted, tables):
            done.set_result(None)
        else:
            self._builds.append(_Build(wanted, done))

    def _remember(self, wanted: IndexedColumn) -> None:
        self._remembered.add(wanted)
        try:
            self._log.remember_indexed(wanted.table, wanted.column)
        except sqlite3.Error:
            _logger.exception("the log did not take that %s(%s) is indexed", wanted.table, wanted.column)

    def redefined(self, tables: Tables) -> None:
        """Follow tables that were dropped, or made again with columns that were indexed before."""
        self._built = {each for each in self._built if each.table in tables}
        waiting = {build.wanted for build in self._builds}
        self._builds += [
            _Build(each)
            for each in self._remembered - self._built - waiting
            if each.table in tables and _can_be(each, tables)
        ]

    def build_all(self, cursor: duckdb.DuckDBPyConnection, tables: Tables) -> None:
        """Build what the log remembers, before anybody reads or writes."""
        self.redefined(tables)
        while self._builds:
            self.build_next(cursor, tables)

    def build_next(self, cursor: duckdb.DuckDBPyConnection, tables: Tables) -> bool:
        """Build one, outside any transaction; False if old reads are in the way, so that it has to be tried again.

        A build that fails for good is logged and given up until the next start: queries are served by scans.
        """
        build = self._builds[0]
        if build.wanted in self._built or not _can_be(build.wanted, tables):
            self._end(build)
            return True
        if not self._reads.drained(_DRAIN_SECONDS):
            return self._put_off()
        definition = tables[build.wanted.table]
        try:
            cursor.execute(_create_sql(definition, build.wanted))
        except duckdb.TransactionException:
            return self._put_off()  # the engine itself still sees updates that somebody might read
        except duckdb.Error:
            _logger.exception("index on %s(%s) can't be built", build.wanted.table, build.wanted.column)
        else:
            self._built.add(build.wanted)
        self._end(build)
        return True

    def statements(self, definition: TableDefinition) -> list[str]:
        """What gives a table that is written anew the indexes that it has."""
        table = identity(definition.name)
        return [_create_sql(definition, each) for each in sorted(self._built, key=str) if each.table == table]

    def give_up(self) -> None:
        """Let go whoever waits; what is remembered is built at the next start."""
        while self._builds:
            self._end(self._builds[0])

    def _put_off(self) -> bool:
        self._not_before = time.monotonic() + _RETRY_SECONDS
        return False

    def _end(self, build: _Build) -> None:
        self._builds.remove(build)
        build.done.set_result(None)


def _column_of(definition: TableDefinition, wanted: IndexedColumn) -> str | None:
    """The column's name as the table spells it; None if it has no such column."""
    return next((name for name in definition.schema.names if name.lower() == wanted.column), None)


def _can_be(wanted: IndexedColumn, tables: Tables) -> bool:
    definition = tables.get(wanted.table)
    name = _column_of(definition, wanted) if definition else None
    if definition is None or name is None or not is_key_type(definition.schema.field(name).type):
        return False
    return definition.primary_key != (name,)  # the primary key is an index already


def _create_sql(definition: TableDefinition, wanted: IndexedColumn) -> str:
    name = quoted(f"__fs_{wanted.table}.{wanted.column}")
    column = _column_of(definition, wanted)
    assert column is not None  # noqa: S101 - _can_be says so
    return f"CREATE INDEX IF NOT EXISTS {name} ON {qualified(definition.name)} ({quoted(column)})"
