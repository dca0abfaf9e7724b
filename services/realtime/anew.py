"""Tables written anew: beside the old one, which is read meanwhile, and then put in its place.

DuckDB 1.5.5 replaces a row of a table with a secondary index by deleting it and adding another. Within the commit it then takes
each deleted row out of the indexes, 5 microseconds a row, and no read can begin before it is through: 400,000 replaced rows
kept all readers waiting for three seconds. To write the table anew takes a sixth of the time, and its commit a millisecond.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import duckdb
import pyarrow as pa

from featurestore.engine.apply import Tables, changes_by_table, defines, reduce, row_count
from featurestore.engine.column_types import quoted
from featurestore.engine.tables import add_key_sql, create_sql, drop_sql, identity, qualified
from featurestore.model.table import Operation, Put, Remove, TableDefinition

_logger = logging.getLogger(__name__)

LEAST_CHANGED: Final = 10_000
"""Fewer rows are changed where they are: a commit of 50 ms."""
_SHARE: Final = 16
"""A table is written anew for a 16th of its rows: as long as to change them, for a row that stays takes a tenth of the time."""
_PREFIX: Final = "__fs_anew_"
_ROWS: Final = "__fs_anew_rows"
_KEYS: Final = "__fs_anew_keys"

CreateIndexes = Callable[[TableDefinition], Sequence[str]]
"""The statements that give a table its secondary indexes."""


def write(
    cursor: duckdb.DuckDBPyConnection,
    definition: TableDefinition,
    rows: pa.Table | None = None,
    keys: pa.Table | None = None,
) -> None:
    """Write the table beside itself; outside any transaction. Nobody sees it before `put_in_place`.

    Args:
        rows: to be added.
        keys: of the rows that go, and of those that are added.

    Raises:
        duckdb.Error: what was written is for `discard`.
    """
    new = _beside(definition)
    cursor.execute(create_sql(new))
    kept = f"SELECT * FROM {qualified(definition.name)}"
    if keys is None:
        cursor.execute(f"INSERT INTO {qualified(new.name)} {kept}")
    else:
        key = ", ".join(map(quoted, definition.primary_key))
        _with(
            cursor, _KEYS, keys, f"INSERT INTO {qualified(new.name)} {kept} ANTI JOIN {_KEYS} USING ({key})"
        )
    if rows is not None:
        _with(cursor, _ROWS, rows, f"INSERT INTO {qualified(new.name)} SELECT * FROM {_ROWS}")
    if definition.primary_key:
        cursor.execute(add_key_sql(new))


def put_in_place(
    cursor: duckdb.DuckDBPyConnection, definition: TableDefinition, create_indexes: Iterable[str]
) -> None:
    """Let what was written be the table; in a transaction. Readers go on with the one that they began with.

    Args:
        create_indexes: only the table that has its name at last can be given them.

    Raises:
        duckdb.Error: the transaction can only be rolled back.
    """
    cursor.execute(drop_sql(definition.name))
    cursor.execute(f"ALTER TABLE {qualified(_beside(definition).name)} RENAME TO {quoted(definition.name)}")
    for statement in create_indexes:
        cursor.execute(statement)


def discard(cursor: duckdb.DuckDBPyConnection) -> None:
    """Take back all that was written and did not get its place; outside any transaction.

    Raises:
        duckdb.Error: the engine can't even drop a table.
    """
    left = f"SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, '{_PREFIX}')"
    for (name,) in cursor.execute(left).fetchall():
        cursor.execute(drop_sql(name))


def for_changes(
    cursor: duckdb.DuckDBPyConnection,
    tables: Tables,
    operations: Sequence[Operation],
    create_indexes: CreateIndexes,
) -> dict[str, TableDefinition]:
    """Write those tables that the operations change so much that it takes less time than to change their rows.

    Args:
        cursor: outside any transaction.
        tables: the definitions.
        operations: about to be applied.

    Returns:
        The tables, by identity; what the operations say of them is for `put_in_place` alone.

    Raises:
        duckdb.Error: see `discard`.
    """
    written: dict[str, TableDefinition] = {}
    if defines(operations):
        return written
    try:
        for name, changes in changes_by_table(operations).items():
            if sum(map(row_count, changes)) < LEAST_CHANGED:
                continue
            definition = tables[name]
            if not definition.primary_key or not create_indexes(definition):
                continue  # DuckDB replaces their rows in place
            rows, removed = reduce(changes, definition)
            keys = pa.concat_tables([rows.select(list(definition.primary_key)), removed])
            if _worth_it(cursor, definition, keys):
                write(cursor, definition, rows, keys)
                written[name] = definition
    except (duckdb.Error, pa.ArrowException):  # for want of memory, say
        _logger.exception("a table can't be written anew; its rows are changed instead")
        discard(cursor)
        return {}
    return written


def without(operations: Iterable[Operation], written: Mapping[str, object]) -> list[Operation]:
    """Those of the operations that change other tables."""
    return [
        each
        for each in operations
        if not (isinstance(each, Put | Remove) and identity(each.table) in written)
    ]


def _worth_it(cursor: duckdb.DuckDBPyConnection, definition: TableDefinition, keys: pa.Table) -> bool:
    table = qualified(definition.name)
    [(alive,)] = cursor.execute(f"SELECT count(*) FROM {table}").fetchall()
    if keys.num_rows * _SHARE < alive:
        return False
    key = ", ".join(map(quoted, definition.primary_key))
    [(changed,)] = _with(cursor, _KEYS, keys, f"SELECT count(*) FROM {table} SEMI JOIN {_KEYS} USING ({key})")
    return bool(changed >= max(LEAST_CHANGED, alive // _SHARE))


def _with(cursor: duckdb.DuckDBPyConnection, name: str, rows: pa.Table, sql: str) -> list[tuple[int]]:
    cursor.register(name, rows)
    try:
        found: list[tuple[int]] = cursor.execute(sql).fetchall()
        return found
    finally:
        cursor.unregister(name)


def _beside(definition: TableDefinition) -> TableDefinition:
    return replace(definition, name=_PREFIX + definition.name)
