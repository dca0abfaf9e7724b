"""Object columns: their Arrow type from their values, and their values in a given Arrow type, exactly or not at all.

pyarrow's own conversion is lenient where we must not be: it truncates times, takes 1.0 for an integer, bytes for
text, a naive time for UTC, and drops unknown struct fields.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.types as pat

from featurestore.etl.arrow_types import MisfitError

DECIMAL_DIGITS = 38

# Order matters: bool is an int, datetime a date.
_KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("bool", (bool, np.bool_)),
    ("duration", (dt.timedelta,)),
    ("int", (int, np.integer)),
    ("float", (float, np.floating)),
    ("decimal", (Decimal,)),
    ("string", (str,)),
    ("binary", (bytes, bytearray)),
    ("timestamp", (dt.datetime,)),
    ("date", (dt.date,)),
    ("time", (dt.time,)),
    ("list", (list, tuple, np.ndarray)),
    ("struct", (dict,)),
)

_NUMPY_TEMPORAL: dict[type, Callable[[Any], object]] = {
    np.datetime64: pd.Timestamp,
    np.timedelta64: pd.Timedelta,
}


def without_nulls(values: Iterable[object]) -> list[object]:
    """The values with None for every null (None, NaN, NaT, NA), and numpy's times as pandas' own."""
    objects = _object_array(values)
    return [
        None if null else _NUMPY_TEMPORAL.get(type(value), _same)(value)
        for value, null in zip(objects, pd.isna(objects), strict=True)
    ]


def infer(values: Sequence[object]) -> pa.DataType:
    """The Arrow type of Python values in which None is null; the null type if there are no others.

    Integers are int64, decimals decimal128(38, the largest scale), times with a zone UTC. Units are
    microseconds, or nanoseconds if a value has some.

    Raises:
        MisfitError: the values are of several kinds, or of one that has no Arrow type.
    """
    kinds = _kinds(values)
    present = [value for value in values if value is not None]
    if not kinds:
        return pa.null()
    if kinds == {"int"}:
        return pa.int64()
    if kinds <= {"int", "float"}:
        return pa.float64()
    if kinds <= {"int", "decimal"}:
        return pa.decimal128(DECIMAL_DIGITS, max(_scale(value) for value in present))
    if len(kinds) > 1:
        raise MisfitError(f"it mixes {' and '.join(sorted(kinds))} values")
    kind = kinds.pop()
    if kind not in _INFERRED:
        raise MisfitError(f"it holds {kind} objects, which have no Arrow type")
    return _INFERRED[kind](present)


def build(values: Sequence[object], wanted: pa.DataType) -> pa.Array:
    """Python values, in which None is null, as an Arrow array of exactly this type.

    Raises:
        MisfitError: a value is of another kind, or would change.
    """
    try:
        return _build(values, wanted)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise MisfitError(f"it holds a value that does not fit {wanted}") from error


def _build(values: Sequence[object], wanted: pa.DataType) -> pa.Array:
    kinds = _kinds(values)
    unfit = kinds - _kinds_of_type(wanted)
    if unfit:
        raise MisfitError(f"it holds {' and '.join(sorted(unfit))} values, not {wanted}")
    if not kinds:
        return pa.nulls(len(values), wanted)
    for of_type, build_present in _BUILDERS:
        if of_type(wanted):
            return build_present(values, wanted)
    return pa.array(values, wanted)


def _build_floats(values: Sequence[object], wanted: pa.DataType) -> pa.Array:
    exact = pa.array(values, pa.float64())
    narrowed = exact.cast(wanted)
    if not narrowed.cast(exact.type).equals(exact):
        raise MisfitError(f"it holds a value that does not fit {wanted}")
    return narrowed


def _build_timestamps(values: Sequence[object], wanted: pa.DataType) -> pa.Array:
    if _zoned(values) != (wanted.tz is not None):
        raise MisfitError(f"it holds times {'without' if wanted.tz else 'with'} a zone, not {wanted}")
    unit = "ns" if wanted.unit == "ns" else _unit(values)
    return pa.array(values, pa.timestamp(unit, wanted.tz)).cast(wanted)


def _build_durations(values: Sequence[object], wanted: pa.DataType) -> pa.Array:
    unit = "ns" if wanted.unit == "ns" else _unit(values)
    return pa.array(values, pa.duration(unit)).cast(wanted)


def _build_times(values: Sequence[object], wanted: pa.DataType) -> pa.Array:
    if any(getattr(value, "tzinfo", None) is not None for value in values):
        raise MisfitError(f"it holds times of day with a zone, not {wanted}")
    return pa.array(values, pa.time64("us")).cast(wanted)


def _build_list(values: Sequence[object], wanted: pa.DataType) -> pa.Array:
    nulls = pa.array([value is None for value in values])
    if pat.is_fixed_size_list(wanted):
        size = wanted.list_size
        if any(value is not None and len(value) != size for value in values):  # type: ignore[arg-type] # lists
            raise MisfitError(f"it holds a list of another length, not {wanted}")
        padded = [[None] * size if value is None else value for value in values]
        child = build(without_nulls(_children(padded)), wanted.value_type)
        return pa.FixedSizeListArray.from_arrays(child, type=wanted, mask=nulls)
    lengths = [0 if value is None else len(value) for value in values]  # type: ignore[arg-type] # lists
    large = pat.is_large_list(wanted)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64() if large else pa.int32())
    child = build(without_nulls(_children(value for value in values if value is not None)), wanted.value_type)
    make = pa.LargeListArray if large else pa.ListArray
    return make.from_arrays(offsets, child, type=wanted, mask=nulls)


def _build_struct(values: Sequence[object], wanted: pa.DataType) -> pa.Array:
    names = [field.name for field in wanted]
    unknown = [key for key in _keys([value for value in values if value is not None]) if key not in names]
    if unknown:
        raise MisfitError(f"it holds a struct with the field {unknown[0]!r}, not {wanted}")
    children = [build(_child(values, field.name), field.type) for field in wanted]
    return pa.StructArray.from_arrays(
        children, fields=list(wanted), mask=pa.array([value is None for value in values])
    )


def _kinds_of_type(wanted: pa.DataType) -> frozenset[str]:
    for test, kinds in (
        (pat.is_boolean, {"bool"}),
        (pat.is_integer, {"int"}),
        (pat.is_floating, {"float", "int"}),
        (pat.is_decimal, {"decimal", "int"}),
        (lambda t: pat.is_string(t) or pat.is_large_string(t) or pat.is_string_view(t), {"string"}),
        (lambda t: pat.is_binary(t) or pat.is_large_binary(t) or pat.is_fixed_size_binary(t), {"binary"}),
        (pat.is_timestamp, {"timestamp"}),
        (pat.is_date32, {"date"}),
        (pat.is_time, {"time"}),
        (pat.is_duration, {"duration"}),
        (_is_list, {"list"}),
        (pat.is_struct, {"struct"}),
    ):
        if test(wanted):
            return frozenset(kinds)
    return frozenset()


def _is_list(wanted: pa.DataType) -> bool:
    return bool(pat.is_list(wanted) or pat.is_large_list(wanted) or pat.is_fixed_size_list(wanted))


@lru_cache(maxsize=1024)
def _kind(cls: type) -> str:
    return next((kind for kind, classes in _KINDS if issubclass(cls, classes)), cls.__name__)


def _kinds(values: Iterable[object]) -> set[str]:
    return {_kind(cls) for cls in set(map(type, values)) if cls is not type(None)}


def _same(value: object) -> object:
    return value


def _object_array(values: Iterable[object]) -> np.ndarray:
    listed = values if isinstance(values, (list, np.ndarray)) else list(values)
    # fromiter, because np.array would turn lists of equal length into a second dimension
    return np.fromiter(listed, dtype=object, count=len(listed))


def _children(lists: Iterable[object]) -> list[object]:
    return [child for one in lists for child in one]  # type: ignore[attr-defined] # all are lists


def _child(structs: Sequence[object], name: str) -> list[object]:
    return without_nulls(None if one is None else one.get(name) for one in structs)  # type: ignore[attr-defined] # dicts


def _keys(structs: Sequence[object]) -> list[str]:
    keys = dict.fromkeys(key for one in structs for key in one)  # type: ignore[attr-defined] # all are dicts
    if not all(isinstance(key, str) for key in keys):
        raise MisfitError("it holds dicts with keys that are not text")
    return list(keys)


def _scale(value: object) -> int:
    if not isinstance(value, Decimal):
        return 0
    exponent = value.as_tuple().exponent
    if isinstance(exponent, str):
        raise MisfitError("it holds an infinite decimal")
    return max(0, -exponent)


def _unit(values: Iterable[object]) -> str:
    """Microseconds, unless a value has nanoseconds; only pandas' and numpy's own classes can."""
    fine = any(getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0) for value in values)
    return "ns" if fine else "us"


def _zoned(values: Iterable[object]) -> bool:
    zoned = {getattr(value, "tzinfo", None) is not None for value in values if value is not None}
    if len(zoned) > 1:
        raise MisfitError("it mixes times with and without a zone")
    return zoned.pop()


_INFERRED: dict[str, Callable[[list[object]], pa.DataType]] = {
    "bool": lambda _: pa.bool_(),
    "string": lambda _: pa.string(),
    "binary": lambda _: pa.binary(),
    "date": lambda _: pa.date32(),
    "time": lambda _: pa.time64("us"),
    "timestamp": lambda present: pa.timestamp(_unit(present), "UTC" if _zoned(present) else None),
    "duration": lambda present: pa.duration(_unit(present)),
    "list": lambda present: pa.list_(infer(without_nulls(_children(present)))),
    "struct": lambda present: pa.struct([(key, infer(_child(present, key))) for key in _keys(present)]),
}

_BUILDERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[..., pa.Array]], ...] = (
    (pat.is_floating, _build_floats),
    (pat.is_timestamp, _build_timestamps),
    (pat.is_duration, _build_durations),
    (pat.is_time, _build_times),
    (_is_list, _build_list),
    (pat.is_struct, _build_struct),
)
