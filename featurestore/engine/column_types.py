"""Column types: which Arrow types a table can hold, as what, and which casts between them are exact."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from pyarrow import types

_PLAIN: dict[pa.DataType, str] = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.duration("us"): "INTERVAL",
    pa.timestamp("s"): "TIMESTAMP_S",
    pa.timestamp("ms"): "TIMESTAMP_MS",
    pa.timestamp("us"): "TIMESTAMP",
    pa.timestamp("ns"): "TIMESTAMP_NS",
    pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
}

# Arrow has several physical forms of one logical type; a table stores the first of each.
_SAME_AS: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (types.is_large_string, pa.string()),
    (types.is_string_view, pa.string()),
    (types.is_large_binary, pa.binary()),
    (types.is_binary_view, pa.binary()),
    (types.is_fixed_size_binary, pa.binary()),
    (types.is_date64, pa.date32()),
    (types.is_time, pa.time64("us")),
    (types.is_duration, pa.duration("us")),
    (types.is_float16, pa.float32()),
)

_FINENESS: dict[str, int] = {"s": 0, "ms": 1, "us": 2, "ns": 3}
_MAX_DECIMAL_DIGITS = 38


def storage_type(type_: pa.DataType) -> pa.DataType | None:  # noqa: PLR0911 - one per family of types
    """The type as which a column of this Arrow type is stored and leaves again; None if it can't be stored.

    Zoned timestamps are stored in UTC and microseconds, the only zoned type that the engine has.
    """
    if type_ in _PLAIN:
        return type_
    if types.is_timestamp(type_):
        return pa.timestamp("us", "UTC")
    if types.is_dictionary(type_):
        return storage_type(type_.value_type)
    if _is_list(type_):
        element = storage_type(type_.value_type)
        return None if element is None else pa.list_(element)
    if types.is_struct(type_):
        return _storage_struct(type_)
    if types.is_decimal(type_):
        return _storage_decimal(type_)
    return next((stored for belongs, stored in _SAME_AS if belongs(type_)), None)


def duckdb_type(stored: pa.DataType) -> str:
    """DuckDB's name for a storage type."""
    if types.is_decimal(stored):
        return f"DECIMAL({stored.precision},{stored.scale})"
    if types.is_list(stored):
        return f"{duckdb_type(stored.value_type)}[]"
    if types.is_struct(stored):
        return f"STRUCT({', '.join(f'{quoted(field.name)} {duckdb_type(field.type)}' for field in stored)})"
    return _PLAIN[stored]


def is_key_type(stored: pa.DataType) -> bool:
    """Whether equality of this storage type is identity, so that it can be part of a key."""
    return bool(
        types.is_boolean(stored)
        or types.is_integer(stored)
        or types.is_decimal(stored)
        or types.is_string(stored)
        or types.is_binary(stored)
        or types.is_date(stored)
        or types.is_timestamp(stored)
    )


def exactly_castable(source: pa.DataType, stored: pa.DataType) -> bool:
    """Whether a publish may bring this type for a column of that storage type.

    A function of the types alone, with one exception: where the engine has no type as fine as the source
    (zoned or time-of-day nanoseconds), the cast is tried and refused for a value that would change.
    """
    if types.is_null(source):
        return True
    if types.is_dictionary(source):
        return exactly_castable(source.value_type, stored)
    if _is_list(source):
        return bool(types.is_list(stored)) and exactly_castable(source.value_type, stored.value_type)
    if types.is_struct(source):
        return _castable_struct(source, stored)
    return storage_type(source) == stored or _widens(source, stored)


def quoted(name: str) -> str:
    """The name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _widens(source: pa.DataType, stored: pa.DataType) -> bool:
    if types.is_integer(source) and types.is_integer(stored):
        (low, high), (lowest, highest) = _integer_range(source), _integer_range(stored)
        return lowest <= low and high <= highest
    if types.is_floating(source):
        return bool(types.is_floating(stored) and source.bit_width <= stored.bit_width)
    if types.is_decimal(source) and types.is_decimal(stored):
        more_scale = stored.scale - source.scale
        return bool(more_scale >= 0 and stored.precision - source.precision >= more_scale)
    if types.is_timestamp(source) and types.is_timestamp(stored):
        zoneless = source.tz is None and stored.tz is None
        return zoneless and _FINENESS[source.unit] <= _FINENESS[stored.unit]
    return False


def _integer_range(type_: pa.DataType) -> tuple[int, int]:
    bits = type_.bit_width
    if types.is_signed_integer(type_):
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def _is_list(type_: pa.DataType) -> bool:
    return bool(
        types.is_list(type_)
        or types.is_large_list(type_)
        or types.is_fixed_size_list(type_)
        or types.is_list_view(type_)
        or types.is_large_list_view(type_)
    )


def _storage_decimal(type_: pa.DataType) -> pa.DataType | None:
    fits = type_.precision <= _MAX_DECIMAL_DIGITS and 0 <= type_.scale <= type_.precision
    return pa.decimal128(type_.precision, type_.scale) if fits else None


def _storage_struct(type_: pa.DataType) -> pa.DataType | None:
    names = [field.name for field in type_]
    if not names or "" in names or len({name.lower() for name in names}) != len(names):
        return None
    stored = [(field.name, storage_type(field.type)) for field in type_]
    return None if any(each is None for _, each in stored) else pa.struct(stored)


def _castable_struct(source: pa.DataType, stored: pa.DataType) -> bool:
    if not types.is_struct(stored) or [f.name for f in source] != [f.name for f in stored]:
        return False
    return all(exactly_castable(a.type, b.type) for a, b in zip(source, stored, strict=True))
