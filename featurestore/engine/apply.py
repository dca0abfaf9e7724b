"""Applying operations to the engine's tables: the one write path of realtime and of the warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.engine.column_types import quoted
from featurestore.engine.row_text import has_key, values
from featurestore.engine.tables import add_key_sql, alter_sql, create_sql, drop_sql, identity, qualified
from featurestore.model.table import Define, Drop, Frame, Operation, Put, Remove, TableDefinition

Tables = dict[str, TableDefinition]
"""The definitions as they are, by `tables.identity` of the name."""

_INCOMING = "__fs_incoming"
_POSITION = "__fs_position"
_FEW = 1_000
"""Of so few keys Python sees sooner than Arrow whether one is there twice: 0.01 ms for 30, not 0.25."""


def defines(operations: Iterable[Operation]) -> bool:
    """Whether the operations change definitions: such a frame is applied in a transaction of its own."""
    return any(isinstance(operation, Define | Drop) for operation in operations)


def changes_by_table(operations: Iterable[Operation]) -> dict[str, list[Put | Remove]]:
    """What is put into and removed from each table, by `tables.identity` of its name, in order."""
    found: dict[str, list[Put | Remove]] = {}
    for operation in operations:
        if isinstance(operation, Put | Remove):
            found.setdefault(identity(operation.table), []).append(operation)
    return found


def row_count(change: Put | Remove) -> int:
    """How many rows a change puts, or keys it removes."""
    return len(change.rows if isinstance(change, Put) else change.keys)


def in_groups(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """The frames in order, in lists that may share a transaction."""
    group: list[Frame] = []
    for frame in frames:
        if defines(frame.operations):
            if group:
                yield group
            yield [frame]
            group = []
        else:
            group.append(frame)
    if group:
        yield group


def apply(
    cursor: duckdb.DuckDBPyConnection,
    tables: Tables,
    operations: Sequence[Operation],
    *,
    indexed: bool = True,
) -> Tables:
    """Apply a group of operations in their order, inside the transaction that is open on the cursor.

    Rows and removals of one table are reduced to the last one per primary key before the engine sees them.

    Args:
        cursor: in a transaction; the caller commits it, or rolls it back after an error.
        tables: the definitions before; not changed.
        operations: judged before they come here, so that none contradicts its table's definition.
        indexed: False for a bulk load that ends with `index`: several times faster per row, but each group looks
            through the whole table for its keys.

    Returns:
        The definitions after; the very same object if none changed.

    Raises:
        duckdb.Error: the transaction can only be rolled back.
    """
    after = dict(tables) if defines(operations) else tables
    waiting: dict[str, list[Put | Remove]] = {}
    for operation in operations:
        match operation:
            case Put() | Remove():
                waiting.setdefault(identity(operation.table), []).append(operation)
            case Define() | Drop():
                _flush(cursor, after, waiting, indexed=indexed)
                _define(cursor, after, operation, indexed=indexed)
    _flush(cursor, after, waiting, indexed=indexed)
    return after


def index(cursor: duckdb.DuckDBPyConnection, tables: Tables) -> None:
    """Give the tables of a bulk load their primary keys; a transaction each."""
    for definition in tables.values():
        if definition.primary_key:
            cursor.execute(add_key_sql(definition))


def reduce(changes: Sequence[Put | Remove], definition: TableDefinition) -> tuple[pa.Table, pa.Table]:
    """What is left when only the last change of each primary key counts: (rows to put, keys to remove)."""
    key = list(definition.primary_key)
    changes = [_as_stored(change, definition) for change in changes]
    puts = [change.rows for change in changes if isinstance(change, Put)]
    rows = _concat(puts) if puts else definition.schema.empty_table()
    keys = _concat(
        [change.rows.select(key) if isinstance(change, Put) else change.keys for change in changes]
    )
    last = _last_positions(keys)
    if len(puts) == len(changes):
        return (rows if last is None else rows.take(last)), keys.slice(0, 0)
    last = pa.arange(0, keys.num_rows) if last is None else last
    is_put = pa.chunked_array(
        [pa.repeat(isinstance(change, Put), row_count(change)) for change in changes], pa.bool_()
    )
    # A row's place among the rows of all puts is the number of put rows before it.
    row_of = pc.subtract(pc.cumulative_sum(is_put.cast(pa.int64())), 1)
    last_is_put = is_put.take(last)
    put_rows = rows.take(row_of.take(last.filter(last_is_put)))
    return put_rows, keys.take(last.filter(pc.invert(last_is_put)))


def _define(
    cursor: duckdb.DuckDBPyConnection, tables: Tables, operation: Define | Drop, *, indexed: bool
) -> None:
    if isinstance(operation, Drop):
        dropped = tables.pop(identity(operation.table))
        cursor.execute(drop_sql(dropped.name))
        return
    wanted = operation.table
    known = tables.get(identity(wanted.name))
    if known is None:
        cursor.execute(create_sql(wanted))
        if indexed and wanted.primary_key:
            cursor.execute(add_key_sql(wanted))
    else:
        for statement in alter_sql(known, wanted):
            cursor.execute(statement)
    tables[identity(wanted.name)] = wanted


def _flush(
    cursor: duckdb.DuckDBPyConnection,
    tables: Tables,
    waiting: dict[str, list[Put | Remove]],
    *,
    indexed: bool,
) -> None:
    for name, changes in waiting.items():
        definition = tables[name]
        if not definition.primary_key:
            puts = [_as_stored(change, definition) for change in changes]
            rows = _concat([put.rows for put in puts if isinstance(put, Put)])
            _insert(cursor, rows, definition, "INSERT")
            continue
        rows, removed = reduce(changes, definition)
        _write(cursor, removed, _delete_sql(definition))
        if indexed:
            _upsert(cursor, rows, definition)
        else:
            _write(cursor, rows, _delete_sql(definition), _insert_sql(definition, "INSERT"))
    waiting.clear()


def _upsert(cursor: duckdb.DuckDBPyConnection, rows: pa.Table, definition: TableDefinition) -> None:
    """Write rows whose keys are there once each: with one key twice in a statement OR REPLACE keeps the first.

    To see first whether any of a few keys is there pays: OR REPLACE costs three times as much as the look and the insert.
    """
    if not rows.num_rows:
        return
    there = has_key(rows.select(list(definition.primary_key)))
    found = f"SELECT 1 FROM {qualified(definition.name)} WHERE {there} LIMIT 1"
    new = there is not None and cursor.execute(found).fetchone() is None
    _insert(cursor, rows, definition, "INSERT" if new else "INSERT OR REPLACE")


def _insert(
    cursor: duckdb.DuckDBPyConnection, rows: pa.Table, definition: TableDefinition, verb: str
) -> None:
    text = values(rows) if rows.num_rows else None
    if text is not None:
        cursor.execute(f"{verb} INTO {qualified(definition.name)} VALUES {text}")
    else:
        _write(cursor, rows, _insert_sql(definition, verb))


def _insert_sql(definition: TableDefinition, verb: str) -> str:
    return f"{verb} INTO {qualified(definition.name)} SELECT * FROM {_INCOMING}"


def _as_stored(change: Put | Remove, definition: TableDefinition) -> Put | Remove:
    """The change; rows of a frame may have come with another nullability than the table's."""
    schema = definition.schema
    if isinstance(change, Remove) or change.rows.schema == schema or change.rows.schema.types != schema.types:
        return change
    return Put(change.table, pa.Table.from_arrays(change.rows.columns, schema=schema))


def _last_positions(keys: pa.Table) -> pa.ChunkedArray | None:
    """For each distinct key the position of its last row, ascending; None when no key is there twice."""
    if keys.num_rows < 2 or _each_once(keys):
        return None
    numbered = keys.append_column(_POSITION, pa.arange(0, keys.num_rows))
    distinct = numbered.group_by(keys.column_names).aggregate([(_POSITION, "max")])
    if distinct.num_rows == keys.num_rows:
        return None
    positions = distinct.column(f"{_POSITION}_max")
    return positions.take(pc.sort_indices(positions))


def _each_once(keys: pa.Table) -> bool:
    """Whether no key is there twice, where that is cheap to see; False does not say that one is."""
    if keys.num_rows > _FEW or not all(
        pa.types.is_integer(kind) or pa.types.is_string(kind) for kind in keys.schema.types
    ):
        return False  # of other types Python's equality need not be the engine's
    values = [column.to_pylist() for column in keys.columns]
    return bool(len(set(zip(*values, strict=True))) == keys.num_rows)


def _delete_sql(definition: TableDefinition) -> str:
    key = ", ".join(map(quoted, definition.primary_key))
    return f"DELETE FROM {qualified(definition.name)} WHERE ({key}) IN (SELECT ({key}) FROM {_INCOMING})"


def _write(cursor: duckdb.DuckDBPyConnection, incoming: pa.Table, *statements: str) -> None:
    if not incoming.num_rows:
        return
    cursor.register(_INCOMING, incoming)
    try:
        for statement in statements:
            cursor.execute(statement)
    finally:
        cursor.unregister(_INCOMING)


def _concat(parts: Sequence[pa.Table]) -> pa.Table:
    return parts[0] if len(parts) == 1 else pa.concat_tables(parts).combine_chunks()
