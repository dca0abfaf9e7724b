"""What a query returns: bound alone, not wrapped, so that its own names show."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from featurestore.engine import inspector
from featurestore.engine.failures import translate
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import Column

_DESCRIBE = "DESCRIBE\n"

INTERVAL = "INTERVAL"

_LEAVES_AS: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "utinyint": pa.uint8(),
    "usmallint": pa.uint16(),
    "uinteger": pa.uint32(),
    "ubigint": pa.uint64(),
    "hugeint": pa.int64(),  # sum(int) is HUGEINT; a value beyond 64 bits is an error
    "uhugeint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "varchar": pa.string(),
    "enum": pa.string(),
    "uuid": pa.string(),
    "blob": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp_s": pa.timestamp("s"),
    "timestamp_ms": pa.timestamp("ms"),
    "timestamp": pa.timestamp("us"),
    "timestamp_ns": pa.timestamp("ns"),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
}


def describe(cursor: duckdb.DuckDBPyConnection, sql: str) -> tuple[Column, ...]:
    """Bind a checked text and return its output columns; nothing is run.

    Args:
        cursor: of a connection under the profile.
        sql: checked by `sql_check.parse`.

    Raises:
        InvalidArgument: `UNKNOWN_TABLE`, `UNKNOWN_COLUMN`, `UNKNOWN_FUNCTION`, `SQL_BIND`, with line and
            character; `DUPLICATE_COLUMN`; `UNSUPPORTED_TYPE`, naming the column; `SQL_VALUE` for a constant that
            can't be computed.
    """
    try:
        found = cursor.execute(_DESCRIBE + sql).fetchall()
    except duckdb.Error as error:
        raise translate(error, sql, shift=len(_DESCRIBE)) from error
    columns = tuple(
        Column(name, _leaving_type(type_text, name, place), type_text)
        for place, (name, type_text, *_) in enumerate(found, start=1)
    )
    _refuse_duplicates(columns)
    return columns


def _refuse_duplicates(columns: tuple[Column, ...]) -> None:
    seen: dict[str, int] = {}
    for place, column in enumerate(columns, start=1):
        if not column.name:
            raise InvalidArgument(
                "DUPLICATE_COLUMN", f"output column {place} has no name: give it one with AS", position=place
            )
        first = seen.setdefault(column.name.lower(), place)
        if first != place:
            raise InvalidArgument(
                "DUPLICATE_COLUMN",
                f"output columns {first} and {place} are both named {column.name}: name them apart with AS, or "
                "select the columns one by one",
                column=column.name,
                position=place,
            )


def _leaving_type(type_text: str, name: str, place: int) -> pa.DataType:
    if type_text == INTERVAL:
        return pa.duration("us")
    try:
        leaving = _nested_type(inspector.engine_type(type_text))
    except duckdb.Error:  # a type that can't be named
        leaving = None
    if leaving is None:
        raise InvalidArgument(
            "UNSUPPORTED_TYPE",
            f"output column {place}, {name}, is {type_text}, which can't leave the store: {_advice(type_text)}",
            column=name,
            type=type_text,
            position=place,
        )
    return leaving


def _nested_type(type_: Any) -> pa.DataType | None:
    if type_.id in ("list", "array"):
        element = _nested_type(dict(type_.children)["child"])
        return None if element is None else pa.list_(element)
    if type_.id == "struct":
        fields = [(name, _nested_type(child)) for name, child in type_.children]
        return None if any(child is None for _, child in fields) else pa.struct(fields)
    if type_.id == "decimal":
        digits = dict(type_.children)
        return pa.decimal128(digits["precision"], digits["scale"])
    return _LEAVES_AS.get(type_.id)


def _advice(type_text: str) -> str:
    if type_text.startswith("MAP"):
        return "select map_entries(x), or the values you need"
    if INTERVAL in type_text:
        return "an INTERVAL leaves as a column of its own only; inside a list or struct use epoch_us(x)"
    if "STRUCT" in type_text:
        return "name all fields, as in {'a': x, 'b': y}, and use plain types for them"
    if type_text in ("TIME WITH TIME ZONE", "TIME_NS"):
        return "cast it to TIME"
    return "cast it to a type that can, such as VARCHAR"
