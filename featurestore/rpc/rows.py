"""Typed rows for callers without Arrow: an Arrow table as a serialised `common.v1.RowSet`, and back.

Which kind a column's values have is a function of its type alone, never of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, TypeAlias

import pyarrow as pa
from google.protobuf.struct_pb2 import NULL_VALUE

from featurestore.api.common.v1 import common_pb2 as pb
from featurestore.model.errors import InvalidArgument
from featurestore.rpc.convert_value import value_from_proto, write_duration

_Write: TypeAlias = Callable[[pb.Value, Any], None]

_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_NANOS = 1_000_000_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_DAY_MILLIS = 86_400_000


def encode_rows(schema: pa.Schema, tables: Sequence[pa.Table]) -> bytes:
    """The rows of any number of tables of one schema as a serialised RowSet; without a table it has columns alone.

    Raises:
        InvalidArgument: as `encode_rows_alone`.
    """
    return b"".join((encode_columns(schema), *encode_rows_alone(tables)))


def encode_columns(schema: pa.Schema) -> bytes:
    """A serialised RowSet without rows; with those of `encode_rows_alone` behind it, of any number of tables, it is whole."""
    columns = [pb.Column(name=field.name, type=str(field.type)) for field in schema]
    return pb.RowSet(columns=columns).SerializeToString()


def encode_rows_alone(tables: Sequence[pa.Table] | Sequence[pa.RecordBatch]) -> list[bytes]:
    """The rows of a serialised RowSet for each table, to be put behind its columns: about a microsecond per value.

    Args:
        tables: all of one schema.

    Raises:
        InvalidArgument: `UNSUPPORTED_TYPE`, naming a column whose type has no kind of Value; `UNSUPPORTED_VALUE`,
            naming a column with a date outside the years 1 to 9999 or a time finer than a microsecond. Both can be
            had in Arrow.
    """
    if not tables:
        return []
    messages = [pb.RowSet() for _ in tables]
    adds = [
        message.rows.add().values.add
        for message, table in zip(messages, tables, strict=True)
        for _ in range(table.num_rows)
    ]
    rows = _joined(tables)
    for field, column in zip(rows.schema, rows.columns, strict=True):
        write = _writer(field.type, field.name)
        # What Python has no exact object for travels through it as the integers that Arrow stores.
        stored = _stored(field.type)
        values = (column if stored == field.type else column.cast(stored)).to_pylist()
        try:
            for add, value in zip(adds, values, strict=True):
                if value is None:
                    add().null_value = NULL_VALUE
                else:
                    write(add(), value)
        except (ValueError, OverflowError) as error:
            raise InvalidArgument(
                "UNSUPPORTED_VALUE",
                f"column {field.name!r} holds a value that typed rows can't carry ({error}); ask for ARROW instead",
                column=field.name,
                type=field.type,
            ) from None
    return [message.SerializeToString() for message in messages]


def _joined(tables: Sequence[pa.Table] | Sequence[pa.RecordBatch]) -> pa.Table | pa.RecordBatch:
    """All rows in one: what Arrow does for each column takes longer than its values, where each key has one row."""
    if len(tables) == 1:
        return tables[0]
    if isinstance(tables[0], pa.Table):
        return pa.concat_tables(tables).combine_chunks()
    return pa.concat_batches(tables)


def decode_rows(message: pb.RowSet) -> list[dict[str, object]]:
    """The rows as dicts of Python objects, by column name.

    Raises:
        InvalidArgument: as `value_from_proto`.
    """
    names = [column.name for column in message.columns]
    return [
        {name: value_from_proto(value, name) for name, value in zip(names, row.values, strict=True)}
        for row in message.rows
    ]


def _stored(kind: pa.DataType) -> pa.DataType:  # noqa: PLR0911 # one line per kind of type
    """The type to cast to before values become Python objects: the same layout, integers for times."""
    types = pa.types
    if types.is_timestamp(kind) or types.is_duration(kind) or types.is_time64(kind) or types.is_date64(kind):
        return pa.int64()
    if types.is_date32(kind) or types.is_time32(kind):
        return pa.int32()
    if types.is_dictionary(kind):
        return _stored(kind.value_type)
    if types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_stored(kind.value_type)))
    if types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_stored(kind.value_type)), kind.list_size)
    if types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_stored(kind.value_type)))
    if types.is_struct(kind):
        return pa.struct([field.with_type(_stored(field.type)) for field in kind])
    return kind


def _writer(kind: pa.DataType, column: str) -> _Write:  # noqa: C901, PLR0911, PLR0912 # one line per kind of type
    """What puts a value of this type, as `to_pylist` of its stored form has it, into a Value; never None."""
    types = pa.types
    if types.is_null(kind):
        return _write_int  # never called: all values are null
    if types.is_boolean(kind):
        return _write_bool
    if types.is_uint64(kind):
        return _write_digits
    if types.is_integer(kind):
        return _write_int
    if types.is_floating(kind):
        return _write_float
    if types.is_decimal(kind):
        return _write_decimal
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return _write_str
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return _write_bytes
    if types.is_fixed_size_binary(kind):
        return _write_bytes
    if types.is_timestamp(kind):
        return _timestamp_writer(_UNITS[kind.unit])
    if types.is_duration(kind):
        return _duration_writer(_NANOS // _UNITS[kind.unit])
    if types.is_date32(kind):
        return _write_day
    if types.is_date64(kind):
        return _write_millis
    if types.is_time(kind):
        return _time_writer(_UNITS[kind.unit])
    if types.is_dictionary(kind):
        return _writer(kind.value_type, column)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _list_writer(_writer(kind.value_type, column))
    if types.is_struct(kind):
        return _struct_writer([(field.name, _writer(field.type, column)) for field in kind])
    raise InvalidArgument(
        "UNSUPPORTED_TYPE",
        f"column {column!r} is {kind}, which typed rows can't carry; cast it in the query",
        column=column,
        type=kind,
    )


def _write_bool(cell: pb.Value, value: Any) -> None:
    cell.bool_value = value


def _write_int(cell: pb.Value, value: Any) -> None:
    cell.int64_value = value


def _write_digits(cell: pb.Value, value: Any) -> None:
    cell.decimal_value = str(value)


def _write_float(cell: pb.Value, value: Any) -> None:
    cell.double_value = value


def _write_decimal(cell: pb.Value, value: Any) -> None:
    cell.decimal_value = format(value, "f")


def _write_str(cell: pb.Value, value: Any) -> None:
    cell.string_value = value


def _write_bytes(cell: pb.Value, value: Any) -> None:
    cell.bytes_value = value


def _write_day(cell: pb.Value, value: Any) -> None:
    day = date.fromordinal(_EPOCH_ORDINAL + value)
    place = cell.date_value
    place.year, place.month, place.day = day.year, day.month, day.day


def _write_millis(cell: pb.Value, value: Any) -> None:
    _write_day(cell, value // _DAY_MILLIS)


def _timestamp_writer(per_second: int) -> _Write:
    nanos = _NANOS // per_second

    def write(cell: pb.Value, value: Any) -> None:
        seconds, rest = divmod(value, per_second)
        place = cell.timestamp_value
        place.seconds, place.nanos = seconds, rest * nanos

    return write


def _duration_writer(nanos: int) -> _Write:
    def write(cell: pb.Value, value: Any) -> None:
        write_duration(cell, value * nanos)

    return write


def _time_writer(per_second: int) -> _Write:
    def write(cell: pb.Value, value: Any) -> None:
        micros, rest = divmod(value * 1_000_000, per_second)
        if rest:
            raise ValueError("a time finer than a microsecond")
        cell.time_value.micros = micros

    return write


def _list_writer(write_element: _Write) -> _Write:
    def write(cell: pb.Value, value: Any) -> None:
        cell.list_value.SetInParent()
        add = cell.list_value.values.add
        for element in value:
            if element is None:
                add().null_value = NULL_VALUE
            else:
                write_element(add(), element)

    return write


def _struct_writer(fields: list[tuple[str, _Write]]) -> _Write:
    def write(cell: pb.Value, value: Any) -> None:
        cell.struct_value.SetInParent()
        add = cell.struct_value.fields.add
        for name, write_field in fields:
            element = value[name]
            place = add(name=name).value
            if element is None:
                place.null_value = NULL_VALUE
            else:
                write_field(place, element)

    return write
