"""Rows as they came, cast to a table's own columns where that changes no value; everything else is named."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from featurestore.engine.column_types import exactly_castable
from featurestore.engine.tables import key_schema
from featurestore.model.errors import InvalidArgument
from featurestore.model.table import TableDefinition

# DuckDB hands intervals to Arrow in 64-bit nanoseconds; a longer one would come back as zero.
_MAX_DURATION_US = (2**63 - 1) // 1000

_Problem = tuple[str, str, str]
"""Reason, column, sentence."""


def cast_exact(rows: pa.Table, definition: TableDefinition) -> pa.Table:
    """The rows with exactly the table's columns and types, in its order.

    Columns that are missing and nullable are null.

    Raises:
        InvalidArgument: `BAD_ARROW`, `UNKNOWN_COLUMN`, `MISSING_COLUMN`, `COLUMN_TYPE`, `NULL_IN_KEY` or
            `NULL_VALUE`; the message names every offending column, the reason is that of the first.
    """
    _validate(rows, definition.name)
    problems = _unknown(rows, definition)
    columns: list[pa.ChunkedArray] = []
    present = set(rows.column_names)
    for field in definition.schema:
        if field.name in present:
            columns.append(_column(rows, field, problems))
        elif field.nullable:
            columns.append(pa.nulls(rows.num_rows, field.type))
        else:
            problems.append(
                ("MISSING_COLUMN", field.name, f"column {field.name} is missing and not nullable")
            )
    _refuse(problems, definition.name)
    _refuse(_nulls(columns, definition), definition.name)
    return pa.Table.from_arrays(columns, schema=definition.schema)


def cast_keys(keys: pa.Table, definition: TableDefinition) -> pa.Table:
    """The primary-key columns of a table of keys, in the key's order and types; other columns are ignored.

    Raises:
        InvalidArgument: `BAD_ARROW`, `MISSING_COLUMN`, `KEY_VALUE` for another type, `KEY_NULL`.
    """
    _validate(keys, definition.name)
    schema = key_schema(definition)
    problems: list[_Problem] = []
    columns: list[pa.ChunkedArray] = []
    for field in schema:
        if field.name not in keys.column_names:
            problems.append(
                ("MISSING_COLUMN", field.name, f"column {field.name} of the primary key is missing")
            )
            continue
        columns.append(_column(keys, field, problems, mismatch="KEY_VALUE"))
    _refuse(problems, definition.name)
    for name, column in zip(schema.names, columns, strict=True):
        if column.null_count:
            problems.append(("KEY_NULL", name, f"column {name} is null in row {_first_null(column)}"))
    _refuse(problems, definition.name)
    return pa.Table.from_arrays(columns, schema=schema)


def _validate(rows: pa.Table, table: str) -> None:
    # The engine trusts Arrow's offsets; a forged stream would crash the process instead of this call.
    try:
        rows.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InvalidArgument(
            "BAD_ARROW", f"the rows for table {table} are no valid Arrow data: {error}", table=table
        ) from error


def _unknown(rows: pa.Table, definition: TableDefinition) -> list[_Problem]:
    known = set(definition.schema.names)
    problems: list[_Problem] = []
    seen: set[str] = set()
    for name in rows.column_names:
        if name in seen:
            problems.append(("COLUMN_TYPE", name, f"column {name} is there twice"))
        elif name not in known:
            near = next((other for other in known if other.lower() == name.lower()), None)
            hint = f" (it is spelled {near})" if near else ""
            problems.append(("UNKNOWN_COLUMN", name, f"column {name} is not a column of the table{hint}"))
        seen.add(name)
    return problems


def _column(
    rows: pa.Table, field: pa.Field, problems: list[_Problem], mismatch: str = "COLUMN_TYPE"
) -> pa.ChunkedArray:
    column = rows.column(rows.column_names.index(field.name))
    if column.type != field.type:
        if not exactly_castable(column.type, field.type):
            sentence = f"column {field.name} is {column.type} and can't become {field.type} exactly"
            problems.append((mismatch, field.name, sentence))
            return column
        try:
            column = column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            sentence = f"column {field.name} can't become {field.type} exactly: {error}"
            problems.append((mismatch, field.name, sentence))
            return column
    if types.is_duration(field.type) and _too_long(column):
        problems.append((mismatch, field.name, f"column {field.name} has a duration above 292 years"))
    return column


def _too_long(durations: pa.ChunkedArray) -> bool:
    extremes = pc.min_max(durations.cast(pa.int64())).as_py()
    return extremes["min"] is not None and (
        extremes["min"] < -_MAX_DURATION_US or extremes["max"] > _MAX_DURATION_US
    )


def _nulls(columns: list[pa.ChunkedArray], definition: TableDefinition) -> list[_Problem]:
    problems: list[_Problem] = []
    for field, column in zip(definition.schema, columns, strict=True):
        if field.nullable or not column.null_count:
            continue
        at = _first_null(column)
        if field.name in definition.primary_key:
            sentence = f"primary-key column {field.name} is null in row {at}"
            problems.append(("NULL_IN_KEY", field.name, sentence))
        else:
            sentence = f"column {field.name} is null in row {at} and not nullable"
            problems.append(("NULL_VALUE", field.name, sentence))
    return problems


def _first_null(column: pa.ChunkedArray) -> int:
    position: int = pc.index(column.is_null(), value=True).as_py()
    return position


def _refuse(problems: list[_Problem], table: str) -> None:
    if not problems:
        return
    reason, column, _ = problems[0]
    raise InvalidArgument(
        reason,
        f"table {table}, rows counted from 0: {'; '.join(sentence for _, _, sentence in problems)}; "
        "nothing was changed",
        table=table,
        column=column,
        columns=", ".join(name for _, name, _ in problems),
    )
