"""Typed values and keys: Python objects <-> `common.v1.Value`, `Keys`.

Every kind of Value has one Python type and back: null None, bool, int64 int, double float, decimal Decimal,
string str, bytes, timestamp datetime in UTC, date, time, duration timedelta, list, struct dict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from numbers import Integral
from uuid import UUID

from google.protobuf.struct_pb2 import NULL_VALUE

from featurestore.api.common.v1 import common_pb2 as pb
from featurestore.model.errors import InvalidArgument
from featurestore.model.serving import Keys, KeyValue
from featurestore.rpc.fields import missing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = range(-(2**63), 2**63)
_DAY_SECONDS = 86_400
_NANOS = 1_000_000_000
_UNSENDABLE = (TypeError, ValueError, ArithmeticError)
_UNREADABLE = (ValueError, OverflowError)
_REMEMBERED, _REMEMBERED_BYTES = 8_192, 128
"""The keys of so many calls are remembered, of so many bytes each: 20 MB at the very most, and 5 MB where calls ask for one."""
_DIGITS = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def value_to_proto(value: object, field: str = "value") -> pb.Value:
    """One value on the wire.

    Besides the types above: UUIDs go as strings, tuples as lists, numpy integers as integers, and integers beyond
    64 bits as decimals. A datetime without a zone is taken as UTC.

    Raises:
        InvalidArgument: `BAD_VALUE`, for another type or a value that has no place on the wire.
    """
    message = pb.Value()
    try:
        _write(message, value)
    except _UNSENDABLE as error:
        raise InvalidArgument(
            "BAD_VALUE", f"{field} can't be sent: {error}", field=field, type=type(value).__name__
        ) from None
    return message


def value_from_proto(message: pb.Value, field: str = "value") -> object:
    """The Python object of a value.

    Raises:
        InvalidArgument: `MISSING_FIELD` when no kind is set, `BAD_VALUE` for what Python can't hold exactly: dates
            outside the years 1 to 9999, moments finer than a microsecond, decimals that are no digits.
    """
    try:
        return _read(message)
    except KeyError:
        raise missing(field) from None
    except _UNREADABLE as error:
        raise InvalidArgument("BAD_VALUE", f"{field} is no valid value: {error}", field=field) from None


def keys_to_proto(keys: Keys) -> pb.Keys:
    """The asked index values on the wire.

    Raises:
        InvalidArgument: `BAD_VALUE`, naming tuple and column.
    """
    message = pb.Keys(columns=keys.columns)
    for at, parts in enumerate(keys.tuples):
        add = message.tuples.add().values.add
        for place, part in enumerate(parts):
            try:
                _write(add(), part)
            except _UNSENDABLE as error:
                column = keys.columns[place] if place < len(keys.columns) else str(place)
                raise InvalidArgument(
                    "BAD_VALUE",
                    f"index value {at}, {column}, can't be sent: {error}",
                    field=f"Keys.tuples[{at}].values[{place}]",
                    column=column,
                    position=at,
                ) from None
    return message


def keys_from_proto(message: pb.Keys) -> Keys:
    """The asked index values.

    Raises:
        InvalidArgument: as `value_from_proto`, naming tuple and place.
    """
    # A backend asks for its hot keys again and again, and to read them costs more than all else of a kept answer.
    encoded = message.SerializeToString()
    return _remembered(encoded) if len(encoded) <= _REMEMBERED_BYTES else _keys(message)


@lru_cache(_REMEMBERED)
def _remembered(encoded: bytes) -> Keys:
    return _keys(pb.Keys.FromString(encoded))


def _keys(message: pb.Keys) -> Keys:
    try:
        tuples = tuple([_parts(key.values) for key in message.tuples])
    except (KeyError, *_UNREADABLE):
        tuples = _slowly(message.tuples)  # finds and names the place
    return Keys(tuple(message.columns), tuples)


def _parts(values: Sequence[pb.Value]) -> tuple[KeyValue, ...]:
    return (_read(values[0]),) if len(values) == 1 else tuple([_read(value) for value in values])


def _slowly(tuples: Iterable[pb.KeyTuple]) -> tuple[tuple[KeyValue, ...], ...]:
    return tuple(
        tuple(
            value_from_proto(value, f"Keys.tuples[{at}].values[{place}]")
            for place, value in enumerate(key.values)
        )
        for at, key in enumerate(tuples)
    )


def _write(message: pb.Value, value: object) -> None:
    write = _WRITERS.get(type(value))
    if write is None:
        write = next((writer for kind, writer in _WRITERS.items() if isinstance(value, kind)), None)
    if write is None:
        raise TypeError(f"{type(value).__name__} is not a type that the store knows")
    write(message, value)


def _write_null(message: pb.Value, _: None) -> None:
    message.null_value = NULL_VALUE


def _write_bool(message: pb.Value, value: bool) -> None:  # noqa: FBT001 # a writer takes the value
    message.bool_value = value


def _write_int(message: pb.Value, value: Integral) -> None:
    number = int(value)
    if number in _INT64:
        message.int64_value = number
    else:
        message.decimal_value = str(number)


def _write_float(message: pb.Value, value: float) -> None:
    message.double_value = value


def _write_decimal(message: pb.Value, value: Decimal) -> None:
    if not value.is_finite():
        raise ValueError(f"the decimal {value} is not a number")
    message.decimal_value = format(value, "f")


def _write_str(message: pb.Value, value: str) -> None:
    message.string_value = value


def _write_uuid(message: pb.Value, value: UUID) -> None:
    message.string_value = str(value)


def _write_bytes(message: pb.Value, value: bytes) -> None:
    message.bytes_value = bytes(value)


def _write_datetime(message: pb.Value, value: datetime) -> None:
    since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
    stamp = message.timestamp_value
    stamp.seconds = since.days * _DAY_SECONDS + since.seconds
    # pandas' timestamps are datetimes that go on to nanoseconds.
    stamp.nanos = since.microseconds * 1_000 + int(getattr(value, "nanosecond", 0))


def _write_date(message: pb.Value, value: date) -> None:
    day = message.date_value
    day.year, day.month, day.day = value.year, value.month, value.day


def _write_time(message: pb.Value, value: time) -> None:
    if value.tzinfo:
        raise ValueError("a time of day has no zone here")
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    message.time_value.micros = seconds * 1_000_000 + value.microsecond


def _write_timedelta(message: pb.Value, value: timedelta) -> None:
    nanos = (value.days * _DAY_SECONDS + value.seconds) * _NANOS
    nanos += value.microseconds * 1_000 + int(getattr(value, "nanoseconds", 0))
    write_duration(message, nanos)


def write_duration(message: pb.Value, nanos: int) -> None:
    """Make the value a duration; on the wire both parts of one have the same sign."""
    seconds, rest = divmod(abs(nanos), _NANOS)
    sign = -1 if nanos < 0 else 1
    message.duration_value.seconds, message.duration_value.nanos = sign * seconds, sign * rest


def _write_list(message: pb.Value, value: list[object] | tuple[object, ...]) -> None:
    message.list_value.SetInParent()
    add = message.list_value.values.add
    for element in value:
        _write(add(), element)


def _write_dict(message: pb.Value, value: dict[str, object]) -> None:
    message.struct_value.SetInParent()
    add = message.struct_value.fields.add
    for name, element in value.items():
        if not isinstance(name, str):
            raise TypeError(f"a struct's field is named by a string, not by {name!r}")
        _write(add(name=name).value, element)


# In this order for subclasses: a bool is an int, a datetime is a date.
_WRITERS: dict[type, Callable[..., None]] = {
    type(None): _write_null,
    bool: _write_bool,
    int: _write_int,
    float: _write_float,
    str: _write_str,
    Decimal: _write_decimal,
    datetime: _write_datetime,
    date: _write_date,
    time: _write_time,
    timedelta: _write_timedelta,
    bytes: _write_bytes,
    bytearray: _write_bytes,
    UUID: _write_uuid,
    list: _write_list,
    tuple: _write_list,
    dict: _write_dict,
    Integral: _write_int,
}


def _read(message: pb.Value) -> object:
    return _READERS[message.WhichOneof("kind")](message)  # type: ignore[index]  # None is a KeyError: see callers


def _read_decimal(message: pb.Value) -> Decimal:
    if not _DIGITS.fullmatch(message.decimal_value):
        raise ValueError(f"{message.decimal_value[:50]!r} is not a decimal: digits, perhaps with '-' and '.'")
    return Decimal(message.decimal_value)


def _micros(nanos: int) -> int:
    micros, rest = divmod(nanos, 1_000)
    if rest:
        raise ValueError(f"{nanos} ns is finer than a microsecond")
    return micros


def _read_timestamp(message: pb.Value) -> datetime:
    stamp = message.timestamp_value
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=_micros(stamp.nanos))


def _read_date(message: pb.Value) -> date:
    day = message.date_value
    return date(day.year, day.month, day.day)


def _read_time(message: pb.Value) -> time:
    seconds, micros = divmod(message.time_value.micros, 1_000_000)
    return time(seconds // 3_600, seconds // 60 % 60, seconds % 60, micros)


def _read_duration(message: pb.Value) -> timedelta:
    span = message.duration_value
    return timedelta(seconds=span.seconds, microseconds=_micros(span.nanos))


def _read_list(message: pb.Value) -> list[object]:
    return [_read(element) for element in message.list_value.values]


def _read_struct(message: pb.Value) -> dict[str, object]:
    return {field.name: _read(field.value) for field in message.struct_value.fields}


_READERS: dict[str, Callable[[pb.Value], object]] = {
    "null_value": lambda _: None,
    "bool_value": lambda message: message.bool_value,
    "int64_value": lambda message: message.int64_value,
    "double_value": lambda message: message.double_value,
    "decimal_value": _read_decimal,
    "string_value": lambda message: message.string_value,
    "bytes_value": lambda message: message.bytes_value,
    "timestamp_value": _read_timestamp,
    "date_value": _read_date,
    "time_value": _read_time,
    "duration_value": _read_duration,
    "list_value": _read_list,
    "struct_value": _read_struct,
}
