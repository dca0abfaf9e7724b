"""A few rows as SQL text.

To write 18 rows of 2 columns from text takes DuckDB 1.5.5 a third of the time that it takes from Arrow, which it scans with
all of its threads; from about 200 values on the text takes longer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
from pyarrow import types

from featurestore.engine.column_types import duckdb_type, is_key_type, quoted
from featurestore.engine.literals import literal
from featurestore.engine.wrapping import among
from featurestore.model.query import Column

_MOST_CELLS: Final = 200
_MOST_BYTES: Final = 2**16
_MOST_KEYS: Final = 200
"""The rows of so many keys are looked up one by one; for more, the engine joins."""


def values(rows: pa.Table) -> str | None:
    """The rows as they stand behind VALUES; None where the engine had better read them from Arrow.

    Args:
        rows: at least one, of the columns and types of a stored table.
    """
    if rows.num_rows * rows.num_columns > _MOST_CELLS or rows.nbytes > _MOST_BYTES:
        return None
    try:
        columns = [_cells(column) for column in rows.columns]
    except (ValueError, OverflowError):  # a day or a moment that Python's calendar does not have
        return None
    if None in columns:
        return None
    return ", ".join(f"({', '.join(row)})" for row in zip(*filter(None, columns), strict=True))


def has_key(keys: pa.Table) -> str | None:
    """The condition that finds these keys by the table's own index; None where it would not, or not any faster.

    Args:
        keys: the columns of the primary key.
    """
    if keys.num_columns != 1 or not 0 < keys.num_rows <= _MOST_KEYS:
        return None
    kind = keys.schema.field(0).type
    if not (types.is_integer(kind) or types.is_string(kind)):
        return None
    column = Column(keys.column_names[0], kind, duckdb_type(kind))
    return f"{quoted(column.name)} {among(column, keys.column(0).to_pylist())}"


def _cells(column: pa.ChunkedArray) -> list[str] | None:
    write = _writer(column.type)
    if write is None:
        return None
    return ["NULL" if value is None else write(value) for value in column.to_pylist()]


def _writer(kind: pa.DataType) -> Callable[[Any], str] | None:
    if types.is_integer(kind):
        return str
    if types.is_floating(kind):
        return _double
    if not is_key_type(kind) or kind == pa.timestamp("ns"):  # which Python's moments are too coarse for
        return None
    return functools.partial(literal, column=Column("", kind, duckdb_type(kind)))


def _double(value: float) -> str:
    """With an exponent, which makes a number a DOUBLE; the shortest text that is read back as the same one."""
    text = repr(value)
    if not math.isfinite(value):
        return f"'{text}'::DOUBLE"
    return text if "e" in text else f"{text}e0"
