"""Index values: from what a caller sent to exactly one value of the key column's type, or an error.

DuckDB's own casts change values (`'1.5'`, `' 1'`, `'0x1'` become integers), so none is used: a string must match the
type's one grammar, and a typed value must equal what it is converted to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import Enum
from functools import cache
from numbers import Integral
from typing import TypeVar
from uuid import UUID

from featurestore.model.errors import InvalidArgument
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import Keys, KeyValue

MAX_TUPLES = 10_000

_Moment = TypeVar("_Moment", date, datetime)


class KeyKind(Enum):
    """The families of types whose equality is identity."""

    BOOL = "bool"
    INTEGER = "integer"
    DECIMAL = "decimal"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"
    ZONED_TIMESTAMP = "timestamp with time zone"
    UUID = "uuid"
    BLOB = "blob"


@dataclass(frozen=True, slots=True)
class ConvertedKeys:
    """Asked keys, each value of exactly its column's type; order and duplicates as asked."""

    columns: tuple[Column, ...]
    tuples: tuple[tuple[KeyValue, ...], ...]


_INTEGER_BITS = {
    "TINYINT": (True, 8),
    "SMALLINT": (True, 16),
    "INTEGER": (True, 32),
    "BIGINT": (True, 64),
    "HUGEINT": (True, 128),
    "UTINYINT": (False, 8),
    "USMALLINT": (False, 16),
    "UINTEGER": (False, 32),
    "UBIGINT": (False, 64),
    "UHUGEINT": (False, 128),
}

_INTEGER_RANGE = {
    type_: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    for type_, (signed, bits) in _INTEGER_BITS.items()
}

_FRACTION_DIGITS = {"TIMESTAMP_S": 0, "TIMESTAMP_MS": 3, "TIMESTAMP": 6, "TIMESTAMP_NS": 6}
"""Of a second, that a key can have: Python's datetime ends at microseconds."""

_KINDS = {
    "BOOLEAN": KeyKind.BOOL,
    **dict.fromkeys(_INTEGER_BITS, KeyKind.INTEGER),
    "DECIMAL": KeyKind.DECIMAL,
    "VARCHAR": KeyKind.TEXT,
    "DATE": KeyKind.DATE,
    **dict.fromkeys(_FRACTION_DIGITS, KeyKind.TIMESTAMP),
    "TIMESTAMP WITH TIME ZONE": KeyKind.ZONED_TIMESTAMP,
    "UUID": KeyKind.UUID,
    "BLOB": KeyKind.BLOB,
}

_DECIMAL_TYPE = re.compile(r"DECIMAL\(([0-9]+),([0-9]+)\)")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)", re.ASCII)
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?", re.ASCII
)
_ZONED = re.compile(_TIMESTAMP.pattern + r"(?:Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_MAX_DIGITS = 60  # more than any type has; keeps int() and Decimal() cheap
_NANOSECOND_YEARS = range(1678, 2262)  # what 64 bits of nanoseconds hold, whole years
_EXACT = Context(prec=_MAX_DIGITS, traps=[Inexact, InvalidOperation])


def convert_keys(form: QueryForm, keys: Keys) -> ConvertedKeys:
    """The asked keys as values of the key columns' types.

    Raises:
        InvalidArgument: `KEYS_EMPTY`, `KEYS_TOO_MANY`, `UNKNOWN_KEY_COLUMN`, `KEY_COLUMN_TWICE`, `KEY_TYPE`,
            `KEY_WIDTH`, `KEY_NULL`, `KEY_VALUE`; each naming the column and the position, from 1.
    """
    return converted_to(check_key_columns(form, keys.columns), keys)


def converted_to(columns: tuple[Column, ...], keys: Keys) -> ConvertedKeys:
    """The same for columns that were checked before.

    Raises:
        InvalidArgument: `KEYS_EMPTY`, `KEYS_TOO_MANY`, `KEY_WIDTH`, `KEY_NULL`, `KEY_VALUE`.
    """
    if not keys.tuples:
        raise InvalidArgument("KEYS_EMPTY", "there are no index values: ask for at least one")
    if len(keys.tuples) > MAX_TUPLES:
        raise InvalidArgument(
            "KEYS_TOO_MANY",
            f"there are {len(keys.tuples)} index values: ask for at most {MAX_TUPLES} in one call",
            count=len(keys.tuples),
            limit=MAX_TUPLES,
        )
    if len(columns) == 1 and (quickly := _quickly(columns[0], keys.tuples)) is not None:
        return ConvertedKeys(columns, quickly)
    return ConvertedKeys(
        columns,
        tuple([_convert_tuple(one, columns, place) for place, one in enumerate(keys.tuples, start=1)]),
    )


def _quickly(
    column: Column, tuples: tuple[tuple[KeyValue, ...], ...]
) -> tuple[tuple[KeyValue, ...], ...] | None:
    """The keys of one column; None if there is anything to say of any of them."""
    way, type_ = _CONVERT[key_kind(column)], column.engine_type
    try:
        values = [way(value, type_) for (value,) in tuples]
    except ValueError:  # some have other than one part
        return None
    return None if None in values else tuple([(value,) for value in values])


def check_key_columns(form: QueryForm, names: Sequence[str]) -> tuple[Column, ...]:
    """The columns of an index key.

    Raises:
        InvalidArgument: `UNKNOWN_KEY_COLUMN`, listing the query's columns; `KEY_COLUMN_TWICE`; `KEY_TYPE`.
    """
    if not names:
        known = ", ".join(column.name for column in form.columns)
        raise InvalidArgument("UNKNOWN_KEY_COLUMN", f"the index key names no column: name some of {known}")
    columns: list[Column] = []
    for name in names:
        column = form.column(name)
        if column is None:
            known = ", ".join(column.name for column in form.columns)
            raise InvalidArgument(
                "UNKNOWN_KEY_COLUMN",
                f"the index key {name} is no output column of the query: it returns {known}",
                column=name,
                columns=known,
            )
        if column in columns:
            raise InvalidArgument(
                "KEY_COLUMN_TWICE", f"the index key names {name} twice: name it once", column=name
            )
        key_kind(column)
        columns.append(column)
    return tuple(columns)


@cache
def _kind_of(engine_type: str) -> KeyKind | None:
    return _KINDS.get(engine_type.partition("(")[0])


def key_kind(column: Column) -> KeyKind:
    """The family of a key column's type.

    Raises:
        InvalidArgument: `KEY_TYPE`, naming the column and its type.
    """
    kind = _kind_of(column.engine_type)
    if kind is None:
        raise InvalidArgument(
            "KEY_TYPE",
            f"column {column.name} is {column.engine_type}, which can't be an index key: use a bool, integer, decimal, "
            "varchar, date, timestamp, uuid or blob column, or cast it to one in the query",
            column=column.name,
            type=column.engine_type,
        )
    return kind


def convert(value: object, column: Column, position: int = 1) -> KeyValue:
    """One index value as a Python value of the column's type, as `to_pylist` shows it in an answer.

    Args:
        value: what the caller sent.
        column: a key column.
        position: of the value among the asked ones, from 1, for the error.

    Raises:
        InvalidArgument: `KEY_NULL`, `KEY_VALUE`, `KEY_TYPE`.
    """
    kind = key_kind(column)
    if value is None:
        raise InvalidArgument(
            "KEY_NULL",
            f"index value {position} is null in column {column.name}: null matches nothing; leave it out",
            column=column.name,
            position=position,
        )
    converted = _CONVERT[kind](value, column.engine_type)
    if converted is None:
        raise InvalidArgument(
            "KEY_VALUE",
            f"index value {position} is no value of column {column.name}, which is {column.engine_type}: it is a "
            f"{type(value).__name__}; {_WANTED[kind]}",
            column=column.name,
            position=position,
            type=column.engine_type,
            given=type(value).__name__,
        )
    return converted


def _convert_tuple(
    values: tuple[KeyValue, ...], columns: tuple[Column, ...], place: int
) -> tuple[KeyValue, ...]:
    if len(values) != len(columns):
        raise InvalidArgument(
            "KEY_WIDTH",
            f"index value {place} has {len(values)} parts: the index key has {len(columns)}, "
            f"{', '.join(column.name for column in columns)}",
            position=place,
            parts=len(values),
            wanted=len(columns),
        )
    return tuple([convert(value, column, place) for value, column in zip(values, columns, strict=True)])


def _bool(value: object, _type: str) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value)
    return value if isinstance(value, bool) else None


def _integer(value: object, type_: str) -> int | None:
    low, high = _INTEGER_RANGE[type_]
    if type(value) is int:  # the common case, which needs no Decimal
        return value if low <= value <= high else None
    number = _number(value, _INTEGER)
    if number is None or number != number.to_integral_value(context=_EXACT):
        return None
    return int(number) if low <= number <= high else None


def _decimal(value: object, type_: str) -> Decimal | None:
    sizes = _DECIMAL_TYPE.fullmatch(type_)
    number = _number(value, _DECIMAL)
    if sizes is None or number is None:
        return None
    precision, scale = int(sizes[1]), int(sizes[2])
    if isinstance(value, str) and len(value.partition(".")[2]) > scale:
        return None
    try:
        exact = number.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
    except (Inexact, InvalidOperation):
        return None
    if exact.copy_abs() >= Decimal(10) ** (precision - scale):
        return None
    return exact or exact.copy_abs()  # the engine has one zero


def _number(value: object, grammar: re.Pattern[str]) -> Decimal | None:
    """The exact value of a number, if it is finite and of a size that some type can have."""
    if isinstance(value, str):
        return Decimal(value) if grammar.fullmatch(value) and len(value) <= _MAX_DIGITS else None
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral):
        number = Decimal(int(value)) if abs(int(value)) < 10**_MAX_DIGITS else Decimal("NaN")
    elif isinstance(value, float | Decimal):
        number = Decimal(value)  # of a float its exact value: 0.1 is none that a DECIMAL has
    else:
        return None
    return number if number.is_finite() and number.adjusted() < _MAX_DIGITS else None


def _text(value: object, _type: str) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: no text
        return None
    return value


def _date(value: object, _type: str) -> date | None:
    if isinstance(value, str):
        return _parsed(date.fromisoformat, value, _DATE)
    return value if isinstance(value, date) and not isinstance(value, datetime) else None


def _timestamp(value: object, type_: str) -> datetime | None:
    moment = _parsed(datetime.fromisoformat, value, _TIMESTAMP) if isinstance(value, str) else _moment(value)
    if moment is None:
        return None
    if moment.utcoffset() == timedelta(0):  # how a TIMESTAMP without a zone travels on the wire
        moment = moment.replace(tzinfo=None)
    if moment.tzinfo is not None or moment.microsecond % 10 ** (6 - _FRACTION_DIGITS[type_]):
        return None
    if type_ == "TIMESTAMP_NS" and moment.year not in _NANOSECOND_YEARS:
        return None
    return moment


def _zoned_timestamp(value: object, _type: str) -> datetime | None:
    moment = _parsed(datetime.fromisoformat, value, _ZONED) if isinstance(value, str) else _moment(value)
    if moment is None or moment.utcoffset() is None:
        return None
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # beyond year 1 or 9999 in UTC
        return None


def _moment(value: object) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    nanosecond: int = getattr(
        value, "nanosecond", 0
    )  # pandas' Timestamp is a datetime with nanoseconds beside
    if nanosecond:
        return None
    return datetime.combine(value.date(), value.time(), value.tzinfo).replace(fold=value.fold)


def _parsed(read: Callable[[str], _Moment], text: str, grammar: re.Pattern[str]) -> _Moment | None:
    if not grammar.fullmatch(text):
        return None
    try:
        return read(text)
    except ValueError:  # the thirtieth of February
        return None


def _uuid(value: object, _type: str) -> str | None:
    if isinstance(value, UUID):
        return str(value)
    return value if isinstance(value, str) and _UUID.fullmatch(value) else None


def _blob(value: object, _type: str) -> bytes | None:
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else None


_CONVERT: dict[KeyKind, Callable[[object, str], KeyValue | None]] = {
    KeyKind.BOOL: _bool,
    KeyKind.INTEGER: _integer,
    KeyKind.DECIMAL: _decimal,
    KeyKind.TEXT: _text,
    KeyKind.DATE: _date,
    KeyKind.TIMESTAMP: _timestamp,
    KeyKind.ZONED_TIMESTAMP: _zoned_timestamp,
    KeyKind.UUID: _uuid,
    KeyKind.BLOB: _blob,
}

_WANTED = {
    KeyKind.BOOL: "give true or false",
    KeyKind.INTEGER: "give a whole number within the type's range, or its digits alone",
    KeyKind.DECIMAL: "give a number that the type holds exactly, or its digits with no more places than its scale",
    KeyKind.TEXT: "give a string of valid Unicode",
    KeyKind.DATE: "give a date, or a string such as 2024-02-29",
    KeyKind.TIMESTAMP: "give a time without a zone and no finer than the type, or a string such as "
    "2024-02-29T12:30:00",
    KeyKind.ZONED_TIMESTAMP: "give a time with a zone, or a string such as 2024-02-29T12:30:00+00:00",
    KeyKind.UUID: "give a UUID, or its 36 characters in lower case",
    KeyKind.BLOB: "give bytes",
}
