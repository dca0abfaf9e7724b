"""Rows that were replaced or deleted, given back.

DuckDB 1.5.5 replaces a row of a table with a secondary index by deleting it and adding another, and in memory it never
takes the deleted one away: without this a store that is written to would grow until its next start. So the lane now and
then writes a table anew, when at least as many of its rows are dead as alive: each row that was written costs a constant share of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import duckdb

from featurestore.engine.apply import Tables, changes_by_table, row_count
from featurestore.engine.tables import identity, qualified
from featurestore.model.table import Operation, TableDefinition
from services.realtime import anew

_logger = logging.getLogger(__name__)

LEAST_DEAD: Final = 200_000
"""So few dead rows are left where they are."""


@dataclass(slots=True)
class _Known:
    """Of one table: how many of its rows may be dead, and how many make a look worth while."""

    written: int
    enough: int


class Compaction:
    """Knows which tables may hold many dead rows, and writes them anew. Used by the lane's thread alone."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: dict[str, _Known] = {}

    def note(self, operations: Iterable[Operation]) -> None:
        """Take note of what was committed."""
        for table, changes in changes_by_table(operations).items():
            self._of(table).written += sum(map(row_count, changes))

    def look_at_all(self, tables: Tables) -> None:
        """Have every table looked at: after a replay, which deletes and adds too."""
        for table in tables:
            known = self._of(table)
            known.written = known.enough

    @property
    def due(self) -> bool:
        """Whether any table is worth a look."""
        return any(known.written >= known.enough for known in self._known.values())

    def tend(
        self,
        cursor: duckdb.DuckDBPyConnection,
        tables: Tables,
        create_indexes: anew.CreateIndexes,
    ) -> None:
        """Look at one table, and write it anew if it is worth it; outside any transaction.

        Readers go on with the table as they began it. If it can't be done now, for want of memory say, the table stays
        as it is, and is looked at again when as many rows have been written once more.

        Args:
            create_indexes: the statements that give a table its secondary indexes.

        Raises:
            duckdb.Error: what was begun could not be taken back.
        """
        name = next(table for table, known in self._known.items() if known.written >= known.enough)
        known = self._known[name]
        known.written = 0
        definition = tables.get(name)
        if definition is None:
            del self._known[name]
            return
        alive, dead = _count(cursor, definition)
        known.enough = max(LEAST_DEAD, alive)
        if dead < known.enough:
            known.written = dead  # so many need not be written again to make it worth while
            return
        began = time.monotonic()
        try:
            anew.write(cursor, definition)
            cursor.begin()
            try:
                anew.put_in_place(cursor, definition, create_indexes(definition))
                cursor.commit()
            except duckdb.Error:
                cursor.rollback()
                raise
        except duckdb.Error:
            anew.discard(cursor)
            _logger.exception("table %s, with %d dead rows, could not be written anew", definition.name, dead)
            return
        seconds = time.monotonic() - began
        _logger.info("table %s gave back %d dead rows in %.2f s", definition.name, dead, seconds)

    def _of(self, table: str) -> _Known:
        return self._known.setdefault(table, _Known(0, LEAST_DEAD))


def _count(cursor: duckdb.DuckDBPyConnection, definition: TableDefinition) -> tuple[int, int]:
    """How many rows are alive, and how many dead."""
    [(alive,)] = cursor.execute(f"SELECT count(*) FROM {qualified(definition.name)}").fetchall()
    [(held,)] = cursor.execute(
        "SELECT estimated_size FROM duckdb_tables() WHERE schema_name = 'feature_store' AND lower(table_name) = ?",
        [identity(definition.name)],
    ).fetchall()
    return alive, held - alive
