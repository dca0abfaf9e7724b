"""Arrow tables to pandas frames and back, so that types never depend on the rows at hand.

Into a frame, a column's dtype is a function of its Arrow type only: a lone null in an integer column stays `Int64`.
Out of a frame, a column's Arrow type is a function of its dtype (of its values only for object columns), or the
contract's where the values are exactly that; everything else is refused by name.

Dates come in as `datetime64[us]`, and a dtype can't tell that it was a date: such a column leaves as
`timestamp[us]`, unless the ETL declares it `date32` or hands out `datetime.date` objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from featurestore.etl.arrow_types import MisfitError, cast_exactly, has_null_type
from featurestore.etl.contract import Difference, name_differences
from featurestore.etl.objects import build, infer, without_nulls
from featurestore.etl.results import ContractBroken, UnsupportedColumn, check_delivered, check_names

_PandasColumn: TypeAlias = Any  # an extension array, a numpy array or a Series: whatever a frame is made from

_MASKED: dict[pa.DataType, Any] = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_MASKED_DTYPES = frozenset({*_MASKED.values(), pd.Float32Dtype(), pd.Float64Dtype()})
_OBJECT = np.dtype(object)
_TEXT = pd.StringDtype(na_value=np.nan)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """A frame of the same rows, with dtypes that are a function of the schema only.

    Integers keep width and sign (`Int64`, `UInt8` ...), booleans are `boolean`, text is `str`, floats keep their
    width (null and NaN are one), timestamps keep unit and zone, durations their unit, dates are `datetime64[us]`;
    times, decimals, binaries, lists and structs are Python objects, None for null.

    Raises:
        UnsupportedColumn: a column's type has no place in a frame, or a date is beyond the range of its dtype.
    """
    columns: list[_PandasColumn] = []
    for field, column in zip(table.schema, table.columns, strict=True):
        try:
            columns.append(_into_pandas(field.type)(column))
        except MisfitError as error:
            raise UnsupportedColumn(field.name, str(error)) from error
        except (pa.ArrowInvalid, OverflowError, ValueError) as error:
            why = f"a {field.type} value is beyond the range that a frame can hold; filter or cast it in the query"
            raise UnsupportedColumn(field.name, why) from error
    names = tuple(table.column_names)
    if len(set(names)) != len(names):
        raise UnsupportedColumn("", "two columns have the same name")
    frame = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(table.num_rows))
    frame.columns = _labels(
        names
    ).view()  # numbers first: making labels out of names costs more than the rest
    return frame


def from_pandas(
    frame: pd.DataFrame,
    *,
    input_schema: pa.Schema,
    contract: pa.Schema | None = None,
    output_types: Mapping[str, pa.DataType] | None = None,
) -> pa.Table:
    """A frame's columns as an Arrow table; its index is not part of it.

    Without a contract (training) a column's type comes from its dtype: text and categories of text are `string`,
    NaN is null. An object column that bears an input column's name takes the input's type if every value fits;
    otherwise its type is inferred: decimals are decimal128(38, the largest scale). With a contract (serving) each
    column is built to the contract's type: an all-null column of any dtype is that type, and a column is cast
    where this can't change a value (wider integer, integer to double, finer unit, date at midnight).

    Args:
        input_schema: of the table that the frame was made from.
        contract: what the result must be; decides alone where it is given.
        output_types: declared types by column, used without a contract.

    Raises:
        UnsupportedColumn: a name is not text or occurs twice, or a column has no Arrow type.
        ContractBroken: with every column that differs.
    """
    check_names(frame.columns.tolist())
    if contract is None:
        return _as_trained(frame, input_schema, output_types or {})
    found: list[tuple[str, str]] = []
    wrong: list[Difference] = []
    arrays: dict[str, pa.Array] = {}
    wanted = {field.name: field.type for field in contract}
    for name, series in frame.items():
        column = str(name)
        found.append((column, str(series.dtype)))
        if column not in wanted:
            continue
        try:
            arrays[column] = _to_type(series, wanted[column])
        except MisfitError as error:
            wrong.append(Difference(column, "type", str(wanted[column]), f"{series.dtype} ({error})"))
    differences = (*wrong, *name_differences(found, contract))
    if differences:
        raise ContractBroken(differences)
    return pa.table([arrays[name] for name in wanted], schema=pa.schema(list(wanted.items())))


def undecided_columns(
    frame: pd.DataFrame, table: pa.Table, *, input_schema: pa.Schema, output_types: Mapping[str, pa.DataType]
) -> tuple[str, ...]:
    """The columns whose types a training result does not decide, so that it can't become a contract.

    All that are not declared, if there are no rows; else the all-null object columns (and lists or structs of
    nulls only), unless the input's column of that name is carried as objects too: then that one decides.

    Args:
        table: what `from_pandas` made of `frame`.
    """
    carried = {field.name for field in input_schema if _into_pandas(field.type) is _objects}
    return tuple(
        field.name
        for field, (_, series) in zip(table.schema, frame.items(), strict=True)
        if field.name not in output_types
        and (
            len(frame) == 0
            or has_null_type(field.type)
            or (
                _is_object_like(series.dtype)
                and table[field.name].null_count == len(frame)
                and field.name not in carried
            )
        )
    )


def _as_trained(
    frame: pd.DataFrame, input_schema: pa.Schema, output_types: Mapping[str, pa.DataType]
) -> pa.Table:
    arrays: dict[str, pa.Array] = {}
    for name, series in frame.items():
        column = str(name)
        try:
            if column in output_types:
                arrays[column] = _to_type(series, output_types[column])
            elif series.dtype == _OBJECT:
                arrays[column] = _as_input_or_inferred(without_nulls(series), column, input_schema)
            else:
                arrays[column] = _from_dtype(series)
        except MisfitError as error:
            raise UnsupportedColumn(column, str(error)) from error
    check_delivered(list(arrays), output_types)
    return pa.table(arrays)


def _as_input_or_inferred(values: list[object], column: str, input_schema: pa.Schema) -> pa.Array:
    if column in input_schema.names:
        try:
            return build(values, input_schema.field(column).type)
        except MisfitError:
            pass  # not every value fits: it is a column of its own
    return build(values, infer(values))


def _to_type(series: pd.Series[Any], wanted: pa.DataType) -> pa.Array:
    if series.dtype == _OBJECT:
        return build(without_nulls(series), wanted)
    try:
        array = _from_dtype(series)
    except MisfitError:
        if series.isna().all():
            return pa.nulls(len(series), wanted)
        raise
    return cast_exactly(array, wanted)


def _from_dtype(series: pd.Series[Any]) -> pa.Array:
    """The array of a column that is not of object dtype, with the type that its dtype alone decides."""
    dtype: Any = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        kind = dtype.categories.inferred_type
        if len(dtype.categories) and kind != "string":
            raise MisfitError(
                f"it is a category of {kind} values; only text has categories here: astype() it"
            )
        array = pa.array(series.astype(_TEXT).array)
    elif isinstance(dtype, np.dtype) and dtype.kind in "iufbmM" and dtype not in (np.float16, np.longdouble):
        return pa.array(series.values, from_pandas=True)
    elif isinstance(dtype, pd.DatetimeTZDtype):
        utc = series.array.to_numpy(f"datetime64[{dtype.unit}]")
        return pa.array(utc, _zoned_type(dtype), from_pandas=True)
    elif isinstance(dtype, (pd.StringDtype, pd.ArrowDtype)) or dtype in _MASKED_DTYPES:
        array = pa.array(series.array)
    else:
        raise MisfitError(f"its dtype {dtype} has no Arrow type here: astype() it")
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return _canonical(array)


@lru_cache(maxsize=64)
def _zoned_type(dtype: pd.DatetimeTZDtype) -> pa.DataType:
    return pa.array(pd.Series([], dtype=dtype)).type


def _canonical(array: pa.Array) -> pa.Array:
    """NaN is null, text is `string`; what only Arrow-backed dtypes bring is judged like objects."""
    kind = array.type
    if pat.is_integer(kind) or pat.is_boolean(kind):
        return array
    if pat.is_floating(kind):
        return pc.if_else(pc.is_nan(array), None, array) if pc.any(pc.is_nan(array)).as_py() else array
    if pat.is_large_string(kind) or pat.is_string_view(kind):
        return array.cast(pa.string())
    if pat.is_primitive(kind) or pat.is_string(kind):
        _into_pandas(kind)
        return array
    values = without_nulls(array.to_pylist())
    return build(values, infer(values))


def _is_object_like(dtype: Any) -> bool:
    return dtype == _OBJECT or (isinstance(dtype, pd.CategoricalDtype) and len(dtype.categories) == 0)


@lru_cache(maxsize=256)
def _labels(names: tuple[str, ...]) -> pd.Index[str]:
    return pd.Index(list(names), dtype="str")


@lru_cache(maxsize=1024)
def _into_pandas(kind: pa.DataType) -> Callable[[pa.ChunkedArray], _PandasColumn]:
    """How columns of a type become a frame's column.

    Raises:
        MisfitError: there is no such way.
    """
    if pat.is_integer(kind):
        return partial(_integers, _MASKED[kind])
    extension = _extension_dtype(kind)
    if extension is not None:
        return extension.__from_arrow__  # type: ignore[no-any-return] # pandas' protocol for Arrow
    if pat.is_float32(kind) or pat.is_float64(kind) or pat.is_timestamp(kind) or pat.is_duration(kind):
        return _numpy
    if pat.is_date32(kind):
        return _dates
    _check_object_type(kind)
    return _objects


def _extension_dtype(kind: pa.DataType) -> Any:
    if pat.is_boolean(kind):
        return _MASKED[kind]
    if pat.is_string(kind) or pat.is_large_string(kind) or pat.is_string_view(kind):
        return _TEXT
    if pat.is_timestamp(kind) and kind.tz is not None:
        return pd.DatetimeTZDtype(kind.unit, kind.tz)
    return None


def _check_object_type(kind: pa.DataType) -> None:
    if pat.is_struct(kind):
        if len({field.name for field in kind}) != kind.num_fields:
            raise MisfitError(f"{kind} has two fields of one name")
        for field in kind:
            _into_pandas(field.type)
    elif pat.is_list(kind) or pat.is_large_list(kind) or pat.is_fixed_size_list(kind):
        _into_pandas(kind.value_type)
    elif not (
        pat.is_decimal(kind)
        or pat.is_binary(kind)
        or pat.is_large_binary(kind)
        or pat.is_fixed_size_binary(kind)
        or pat.is_null(kind)
        or (pat.is_time(kind) and kind.unit != "ns")  # Python's time ends at microseconds
    ):
        raise MisfitError(f"{kind} has no place in a frame; cast it in the query")


def _integers(dtype: Any, column: pa.ChunkedArray) -> _PandasColumn:
    if column.null_count or column.num_chunks != 1:
        return dtype.__from_arrow__(column)
    values = column.chunk(0).to_numpy()  # a column of one row is the common case, and this is far cheaper
    return pd.arrays.IntegerArray(values.copy(), np.zeros(len(values), dtype=bool))


def _numpy(column: pa.ChunkedArray) -> _PandasColumn:
    return column.to_numpy()


def _dates(column: pa.ChunkedArray) -> _PandasColumn:
    return column.cast(pa.timestamp("us")).to_numpy()


def _objects(column: pa.ChunkedArray) -> _PandasColumn:
    values = column.to_pylist()
    # A Series, because a frame would look into an object array for a better dtype, which depends on the rows.
    return pd.Series(np.fromiter(values, dtype=object, count=len(values)), dtype=object)
