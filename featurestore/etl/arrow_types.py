"""The Arrow types that a result may have, and the casts that can't change a value: one rule for all kinds of ETL."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

_UNITS = ("s", "ms", "us", "ns")


class MisfitError(ValueError):
    """The values have no Arrow type, or not the one asked for. The message says why, without showing values."""


def is_exact(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast that refuses values out of range can't change any other."""
    if pat.is_integer(found) and pat.is_integer(wanted):
        same_sign = pat.is_signed_integer(found) == pat.is_signed_integer(wanted)
        return wanted.bit_width > found.bit_width and (same_sign or bool(pat.is_signed_integer(wanted)))
    if pat.is_timestamp(found) and pat.is_timestamp(wanted) and found.tz != wanted.tz:
        return False
    for of_type in (pat.is_timestamp, pat.is_duration):
        if of_type(found) and of_type(wanted):
            return _UNITS.index(wanted.unit) >= _UNITS.index(found.unit)
    return bool(
        (pat.is_integer(found) and (pat.is_float64(wanted) or pat.is_decimal(wanted)))
        or (pat.is_float32(found) and pat.is_float64(wanted))
        or (pat.is_timestamp(found) and found.tz is None and pat.is_date32(wanted))
        or (pat.is_string(found) and (pat.is_large_string(wanted) or pat.is_string_view(wanted)))
    )


def cast_exactly(array: pa.Array | pa.ChunkedArray, wanted: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Values of a canonical type in another type, none of them changed.

    Raises:
        MisfitError: a value would change, or could.
    """
    if array.type == wanted:
        return array
    if array.null_count == len(array):
        return pa.nulls(len(array), wanted)
    if not (is_exact(array.type, wanted) or _widens(array.type, wanted)):
        raise MisfitError(f"{array.type} is not cast to {wanted}")
    try:
        cast = array.cast(wanted)
    except pa.ArrowInvalid as error:
        raise MisfitError(f"it holds a value that does not fit {wanted}") from error
    if pat.is_date32(wanted) and not cast.cast(array.type).equals(array):
        raise MisfitError("it holds a time that is not midnight")
    return cast


@lru_cache(maxsize=1024)
def canonical_type(kind: pa.DataType) -> pa.DataType:
    """The one type as which values of a type are kept: Arrow has several physical forms of the same.

    Raises:
        MisfitError: there is none.
    """
    for belongs, kept in (
        (pat.is_large_string, pa.string()),
        (pat.is_string_view, pa.string()),
        (pat.is_large_binary, pa.binary()),
        (pat.is_binary_view, pa.binary()),
        (pat.is_date64, pa.date32()),
    ):
        if belongs(kind):
            return kept
    if pat.is_list(kind) or pat.is_large_list(kind) or pat.is_list_view(kind) or pat.is_large_list_view(kind):
        return pa.list_(canonical_type(kind.value_type))
    if pat.is_fixed_size_list(kind):
        return pa.list_(canonical_type(kind.value_type), kind.list_size)
    if pat.is_struct(kind):
        return pa.struct([(field.name, canonical_type(field.type)) for field in kind])
    if pat.is_dictionary(kind):
        return _category(kind)
    if not (
        pat.is_integer(kind)
        or pat.is_boolean(kind)
        or pat.is_float32(kind)
        or pat.is_float64(kind)
        or pat.is_string(kind)
        or pat.is_binary(kind)
        or pat.is_fixed_size_binary(kind)
        or pat.is_date32(kind)
        or pat.is_time(kind)
        or pat.is_timestamp(kind)
        or pat.is_duration(kind)
        or pat.is_decimal(kind)
        or pat.is_null(kind)
    ):
        raise MisfitError(f"{kind} has no place in a result: cast it")
    return kind


def as_canonical(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values in their canonical type, NaN as null: pandas can't tell the two apart, so none of the kinds does.

    Raises:
        MisfitError: their type has none, or text is no UTF-8.
    """
    wanted = canonical_type(array.type)
    if not is_same(array.type, wanted):
        try:
            array = array.cast(wanted)
        except pa.ArrowInvalid as error:
            raise MisfitError(f"it holds a value that does not fit {wanted}") from error
    if pat.is_floating(wanted) and pc.any(pc.is_nan(array)).as_py():
        return pc.if_else(pc.is_nan(array), None, array)
    return array


def is_same(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether they are one type, also by the names inside, of which equality takes no notice."""
    return bool(found == wanted) and (not pat.is_nested(found) or str(found) == str(wanted))


def has_null_type(kind: pa.DataType) -> bool:
    """Whether values of a type could be of another as well, being all null."""
    return bool(pat.is_null(kind)) or any(
        has_null_type(kind.field(index).type) for index in range(kind.num_fields)
    )


def _category(kind: pa.DataType) -> pa.DataType:
    kept = canonical_type(kind.value_type)
    if not pat.is_string(kept):
        raise MisfitError(f"it is a category of {kept} values; only text has categories here: cast it")
    return kept


def _widens(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Of types that pandas has as objects, whose values are looked at there."""
    if pat.is_decimal(found) and pat.is_decimal(wanted):
        return bool(wanted.scale >= found.scale)  # digits before the point are counted by the cast
    return bool(
        (pat.is_binary(found) and (pat.is_large_binary(wanted) or pat.is_fixed_size_binary(wanted)))
        or (
            pat.is_time(found)
            and pat.is_time(wanted)
            and _UNITS.index(wanted.unit) >= _UNITS.index(found.unit)
        )
        or (pat.is_nested(found) and canonical_type(wanted) == found)
    )
