"""The types of an ETL's result: a function of dtypes, or the contract's, or refused by name."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from featurestore.etl.types import (
    ContractBroken,
    UnsupportedColumn,
    from_pandas,
    to_pandas,
    undecided_columns,
)

NOTHING = pa.schema([])
NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
NAIVE = NOON.replace(tzinfo=None)
NANOSECOND = pd.Timestamp("2026-01-01 00:00:00.000000001")


def trained(values, dtype=None, *, inputs=NOTHING, declared=None):
    """The Arrow column that training makes of a column `x`."""
    frame = pd.DataFrame({"x": pd.Series(values, dtype=dtype)})
    return from_pandas(frame, input_schema=inputs, output_types=declared)["x"]


def served(values, kind, dtype=None):
    """The values that serving makes of a column `x` whose contract is `kind`."""
    frame = pd.DataFrame({"x": pd.Series(values, dtype=dtype)})
    out = from_pandas(frame, input_schema=NOTHING, contract=pa.schema([("x", kind)]))
    assert out.schema.field("x").type == kind
    return out["x"].to_pylist()


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (pa.int64(), "Int64"),
        (pa.int32(), "Int32"),
        (pa.uint8(), "UInt8"),
        (pa.bool_(), "boolean"),
        (pa.string(), "str"),
        (pa.large_string(), "str"),
        (pa.float64(), "float64"),
        (pa.float32(), "float32"),
        (pa.timestamp("ms"), "datetime64[ms]"),
        (pa.timestamp("us", "UTC"), "datetime64[us, UTC]"),
        (pa.duration("us"), "timedelta64[us]"),
        (pa.date32(), "datetime64[us]"),
        (pa.decimal128(10, 2), "object"),
        (pa.list_(pa.int64()), "object"),
        (pa.struct([("a", pa.int64())]), "object"),
        (pa.time64("us"), "object"),
    ],
    ids=str,
)
def test_the_dtype_of_a_column_is_a_function_of_its_arrow_type(kind, dtype):
    for length in (0, 1, 3):
        frame = to_pandas(pa.table({"x": pa.nulls(length, kind)}))
        assert str(frame["x"].dtype) == dtype
        assert str(frame.columns.dtype) == "str"


def test_a_list_with_a_null_in_it_stays_a_list_of_integers():
    frame = to_pandas(pa.table({"x": pa.array([[1, None], None, []])}))
    assert frame["x"].tolist() == [[1, None], None, []]
    assert type(frame["x"][0]) is list


@pytest.mark.parametrize("values", [[1, 2], [1, None], [None, None]], ids=str)
def test_a_frame_can_be_written_to_whatever_its_rows_were(values):
    numbers = pa.array(values, pa.int64())
    kinds = (pa.int64(), pa.float64(), pa.bool_(), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.string())
    frame = to_pandas(pa.table({str(kind): numbers.cast(kind) for kind in kinds}))
    for name in frame:
        frame.loc[0, name] = frame.loc[1, name]
        frame[name].array[0] = frame.loc[1, name]
    assert frame.iloc[[0]].reset_index(drop=True).equals(frame.iloc[[1]].reset_index(drop=True))


def test_changing_a_frames_labels_leaves_the_next_frame_alone():
    table = pa.table({"x": [1]})
    to_pandas(table).columns.name = "mine"
    assert to_pandas(table).columns.name is None


@pytest.mark.parametrize(
    "kind",
    [
        pa.float16(),
        pa.date64(),
        pa.time64("ns"),
        pa.month_day_nano_interval(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.map_(pa.string(), pa.int64()),
        pa.list_(pa.time64("ns")),
        pa.struct([("a", pa.int64()), ("a", pa.int64())]),
    ],
    ids=str,
)
def test_an_input_type_without_a_place_in_a_frame_is_refused_by_name(kind):
    with pytest.raises(UnsupportedColumn, match="column 'x'"):
        to_pandas(pa.schema([("x", kind)]).empty_table())


def test_a_date_beyond_the_frames_range_is_refused_by_name():
    infinity = pa.array([2**31 - 1], pa.int32()).cast(pa.date32())
    with pytest.raises(UnsupportedColumn, match="column 'x'"):
        to_pandas(pa.table({"x": infinity}))


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        ([1, 2], "int64", pa.int64()),
        ([1, None], "Int16", pa.int16()),
        ([1, 2], "uint8", pa.uint8()),
        ([1.5, np.nan], "float64", pa.float64()),
        ([1.5, None], "Float32", pa.float32()),
        ([True, None], "boolean", pa.bool_()),
        ([True, False], "bool", pa.bool_()),
        (["a", None], "str", pa.string()),
        (["a", None], "string", pa.string()),
        (["a", None], "category", pa.string()),
        (["a", None], object, pa.string()),
        ([1, None], "int64[pyarrow]", pa.int64()),
        (["a", None], pd.ArrowDtype(pa.large_string()), pa.string()),
        ([[1.5], None], pd.ArrowDtype(pa.large_list(pa.float64())), pa.list_(pa.float64())),
        (["2026-01-01", None], "datetime64[us]", pa.timestamp("us")),
        (["2026-01-01", None], "datetime64[ns, Europe/Berlin]", pa.timestamp("ns", "Europe/Berlin")),
        ([1, None], "timedelta64[s]", pa.duration("s")),
        ([Decimal("1.5"), Decimal("2.25"), None], object, pa.decimal128(38, 2)),
        ([0, Decimal("1.5")], object, pa.decimal128(38, 1)),
        ([b"a", None], object, pa.binary()),
        ([dt.date(2026, 1, 1), pd.NaT], object, pa.date32()),
        ([dt.time(1), None], object, pa.time64("us")),
        ([NOON, None], object, pa.timestamp("us", "UTC")),
        ([NANOSECOND], object, pa.timestamp("ns")),
        ([np.datetime64("2026-01-01"), None], object, pa.timestamp("us")),
        ([dt.timedelta(1), None], object, pa.duration("us")),
        ([1, pd.NA, None], object, pa.int64()),
        ([1, 2.5], object, pa.float64()),
        ([True, None], object, pa.bool_()),
        ([[1, None], None, (2,), np.array([3])], object, pa.list_(pa.int64())),
        ([{"a": 1}, {"b": "x"}, None], object, pa.struct([("a", pa.int64()), ("b", pa.string())])),
    ],
    ids=str,
)
def test_in_training_a_columns_type_comes_from_its_dtype(values, dtype, kind):
    column = trained(values, dtype)
    assert column.type == kind
    assert column.null_count == int(pd.Series(values, dtype=object).isna().sum())


def test_nan_in_a_nullable_float_column_is_null():
    numbers = pd.arrays.FloatingArray(np.array([np.nan, 1.0]), np.array([False, False]))
    assert from_pandas(pd.DataFrame({"x": numbers}), input_schema=NOTHING)["x"].to_pylist() == [None, 1.0]


def test_an_object_column_with_an_inputs_name_takes_its_type_if_every_value_fits():
    inputs = pa.schema([("x", pa.decimal128(10, 2))])
    assert trained([Decimal("1.5")], object, inputs=inputs).type == pa.decimal128(10, 2)
    assert trained([Decimal("1.555")], object, inputs=inputs).type == pa.decimal128(38, 3)
    assert trained(["text"], object, inputs=inputs).type == pa.string()
    assert trained([1, None], object, inputs=pa.schema([("x", pa.int32())])).type == pa.int32()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, "a"], object),
        ([object()], object),
        ([2**64], object),
        ([Decimal("Infinity")], object),
        ([Decimal("1e40")], object),
        ([NOON, NAIVE], object),
        ([{1: 2}], object),
        (["\udc80"], object),
        ([1, 2], "category"),
        ([1 + 2j], complex),
        ([1.5], "float16"),
        ([1, 0], pd.SparseDtype("int64")),
        (pd.period_range("2026", periods=2, freq="D"), None),
        ([1], pd.ArrowDtype(pa.time64("ns"))),
    ],
    ids=str,
)
def test_a_column_without_an_arrow_type_is_refused_by_name(values, dtype):
    with pytest.raises(UnsupportedColumn, match="column 'x'"):
        trained(values, dtype)


def test_the_frames_index_is_not_part_of_the_result():
    frame = pd.DataFrame({"x": [1, 2]}, index=pd.Index([7, 8], name="key"))
    assert from_pandas(frame, input_schema=NOTHING).column_names == ["x"]
    assert from_pandas(frame, input_schema=NOTHING).schema.metadata is None


@pytest.mark.parametrize(
    ("columns", "named"),
    [(["a", "a"], "'a'"), (["a", 1], "'1'"), (pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]), "'b'")],
    ids=["twice", "number", "levels"],
)
def test_column_names_that_are_twice_there_or_no_text_are_refused(columns, named):
    with pytest.raises(UnsupportedColumn, match=named):
        from_pandas(pd.DataFrame([[1, 2]], columns=columns), input_schema=NOTHING)


def test_a_frame_without_columns_is_refused():
    with pytest.raises(UnsupportedColumn, match="no columns"):
        from_pandas(pd.DataFrame(index=[1, 2]), input_schema=NOTHING)


@pytest.mark.parametrize(
    "kind",
    [
        pa.int64(),
        pa.string(),
        pa.timestamp("us"),
        pa.decimal128(38, 2),
        pa.list_(pa.int64()),
        pa.bool_(),
        pa.date32(),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "dtype",
    ["float64", "Int64", "str", object, "datetime64[us]", "boolean", "category", "period[D]"],
    ids=str,
)
def test_in_serving_an_all_null_column_of_any_dtype_takes_the_contracts_type(kind, dtype):
    assert served([None, None], kind, dtype) == [None, None]
    assert served([], kind, dtype) == []


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "expected"),
    [
        ([1], "int8", pa.int64(), [1]),
        ([1, None], "UInt8", pa.int16(), [1, None]),
        ([1], "int64", pa.float64(), [1.0]),
        ([1.5], "float32", pa.float64(), [1.5]),
        ([0], "int64", pa.decimal128(38, 2), [Decimal("0.00")]),
        ([Decimal("1.5")], object, pa.decimal128(38, 2), [Decimal("1.50")]),
        (["2026-01-01T12:00"], "datetime64[s]", pa.timestamp("us"), [NAIVE]),
        (["2026-01-01"], "datetime64[us]", pa.date32(), [dt.date(2026, 1, 1)]),
        (["a"], "category", pa.string(), ["a"]),
        (["a"], object, pa.large_string(), ["a"]),
        ([[1], []], object, pa.list_(pa.float64()), [[1.0], []]),
        ([{"a": 1}], object, pa.struct([("a", pa.int8()), ("b", pa.string())]), [{"a": 1, "b": None}]),
    ],
    ids=str,
)
def test_in_serving_a_column_is_cast_where_that_is_exact(values, dtype, kind, expected):
    assert served(values, kind, dtype) == expected


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        ([1.0], "float64", pa.int64()),
        ([1.0], object, pa.int64()),
        ([1], "int64", pa.int32()),
        ([1], "int64", pa.uint64()),
        ([300], object, pa.uint8()),
        ([2**53 + 1], "int64", pa.float64()),
        ([0.1], object, pa.float32()),
        ([1.5], "float64", pa.float32()),
        ([True], "bool", pa.int64()),
        ([True], object, pa.int64()),
        ([1], object, pa.bool_()),
        ([b"a"], object, pa.string()),
        (["a"], object, pa.binary()),
        ([1], object, pa.timestamp("us")),
        ([NOON], object, pa.timestamp("us")),
        ([NAIVE], object, pa.timestamp("us", "UTC")),
        ([NOON.replace(microsecond=1)], object, pa.timestamp("ms", "UTC")),
        ([NANOSECOND], object, pa.timestamp("us")),
        (["2026-01-01 12:00"], "datetime64[us]", pa.date32()),
        (["2026-01-01"], "datetime64[us]", pa.timestamp("us", "UTC")),
        (["2026-01-01"], "datetime64[us, Europe/Berlin]", pa.timestamp("us", "UTC")),
        (["2026-01-01"], "datetime64[us]", pa.timestamp("s")),
        ([NOON], object, pa.date32()),
        ([dt.timedelta(microseconds=1)], object, pa.duration("ms")),
        ([dt.time(1, tzinfo=dt.UTC)], object, pa.time64("us")),
        ([dt.time(1, microsecond=1)], object, pa.time32("s")),
        ([Decimal("1.555")], object, pa.decimal128(38, 2)),
        ([1.5], object, pa.decimal128(38, 2)),
        ([[1.5]], object, pa.list_(pa.int64())),
        ([[1, 2, 3]], object, pa.list_(pa.int64(), 2)),
        ([{"a": 1, "c": 2}], object, pa.struct([("a", pa.int64())])),
    ],
    ids=str,
)
def test_in_serving_a_value_that_would_change_breaks_the_contract(values, dtype, kind):
    with pytest.raises(ContractBroken) as caught:
        served(values, kind, dtype)
    (found,) = caught.value.differences
    assert (found.column, found.kind, found.expected) == ("x", "type", str(kind))


def test_a_text_length_that_is_float_for_a_lone_null_is_still_an_integer():
    contract = pa.schema([("x", pa.int64())])
    for value, expected in (("abc", 3), (None, None)):
        frame = to_pandas(pa.table({"s": pa.array([value], pa.string())}))
        lengths = pd.DataFrame({"x": frame["s"].str.len()})
        assert from_pandas(lengths, input_schema=NOTHING, contract=contract)["x"].to_pylist() == [expected]


def test_every_difference_is_listed():
    contract = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.int64())])
    frame = pd.DataFrame({"a": [1.5], "c": ["x"], "d": [1], "e": [2]})
    with pytest.raises(ContractBroken) as caught:
        from_pandas(frame, input_schema=NOTHING, contract=contract)
    found = {difference.column: difference.kind for difference in caught.value.differences}
    assert found == {"a": "type", "b": "missing", "c": "type", "d": "unexpected", "e": "unexpected"}


def undecided(frame, inputs=NOTHING, declared=None):
    declared = declared or {}
    table = from_pandas(frame, input_schema=inputs, output_types=declared)
    return undecided_columns(frame, table, input_schema=inputs, output_types=declared)


def test_all_null_object_columns_are_undecided_and_typed_ones_are_not():
    frame = pd.DataFrame(
        {
            "none": pd.Series([None, None], dtype=object),
            "float": pd.Series([np.nan, np.nan]),
            "text": pd.Series([None, None], dtype="str"),
            "category": pd.Series([None, None], dtype="category"),
            "lists": pd.Series([[], None], dtype=object),
            "some": pd.Series([None, "a"], dtype=object),
        }
    )
    assert undecided(frame) == ("none", "category", "lists")
    assert undecided(frame, declared={"none": pa.int64(), "lists": pa.list_(pa.int64())}) == ("category",)


def test_a_column_that_came_in_as_objects_is_decided_by_the_input():
    frame = pd.DataFrame({"x": pd.Series([None], dtype=object)})
    assert undecided(frame, pa.schema([("x", pa.decimal128(10, 2))])) == ()
    assert undecided(frame, pa.schema([("x", pa.int64())])) == ("x",)


def test_a_result_without_rows_decides_only_what_is_declared():
    frame = pd.DataFrame({"x": pd.Series([], dtype="int64"), "y": pd.Series([], dtype="str")})
    assert undecided(frame) == ("x", "y")
    assert undecided(frame, declared={"x": pa.int64()}) == ("y",)


def test_a_declared_type_is_taken_or_the_column_is_refused():
    assert trained(["2026-01-01"], "datetime64[us]", declared={"x": pa.date32()}).type == pa.date32()
    assert trained([1], "int64", declared={"x": pa.float64()}).type == pa.float64()
    with pytest.raises(UnsupportedColumn, match="double is not cast to int64"):
        trained([1.5], "float64", declared={"x": pa.int64()})
    with pytest.raises(UnsupportedColumn, match="column 'y': output_types declares it"):
        trained([1], "int64", declared={"y": pa.int64()})
