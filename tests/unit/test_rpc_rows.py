"""Typed rows hold what the Arrow table holds."""
# ruff: noqa: DTZ001 - a TIMESTAMP has no zone

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import isnan

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.api.common.v1 import common_pb2
from featurestore.model.errors import InvalidArgument
from featurestore.rpc.rows import decode_rows, encode_rows, encode_rows_alone
from services.realtime.answers import no_rows

TEXT = st.text(max_size=12)
BYTES = st.binary(max_size=20)


def as_typed_rows_have_it(value, kind):
    """What `to_pylist` gives, with the differences that the wire's kinds make."""
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if pa.types.is_uint64(kind):
        return Decimal(value)
    if pa.types.is_list(kind):
        return [as_typed_rows_have_it(element, kind.value_type) for element in value]
    if pa.types.is_struct(kind):
        return {field.name: as_typed_rows_have_it(value[field.name], field.type) for field in kind}
    return value


def values_of(kind: pa.DataType) -> st.SearchStrategy:  # noqa: PLR0911 # one line per kind of type
    types = pa.types
    far = datetime(1700, 1, 1), datetime(2200, 1, 1)  # what nanoseconds reach
    if types.is_list(kind):
        return st.lists(st.none() | values_of(kind.value_type), max_size=3)
    if types.is_struct(kind):
        return st.fixed_dictionaries({field.name: st.none() | values_of(field.type) for field in kind})
    if types.is_timestamp(kind):
        step = {"s": 1_000_000, "ms": 1_000}.get(kind.unit, 1)
        return st.datetimes(*far).map(
            lambda moment: moment.replace(microsecond=moment.microsecond // step * step)
        )
    if types.is_duration(kind):
        step = {"s": 1_000_000, "ms": 1_000}.get(kind.unit, 1)
        return st.integers(-(10**9), 10**9).map(lambda number: timedelta(microseconds=number * step))
    if types.is_time(kind):
        return st.integers(0, 86_399).map(
            lambda seconds: time(seconds // 3600, seconds // 60 % 60, seconds % 60)
        )
    if types.is_decimal(kind):
        return st.decimals(-(10**5), 10**5, places=kind.scale)
    if types.is_unsigned_integer(kind):
        return st.integers(0, 2**kind.bit_width - 1)
    if types.is_integer(kind):
        return st.integers(-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1)
    if types.is_floating(kind):
        return st.floats(width=kind.bit_width, allow_nan=False)
    if types.is_boolean(kind):
        return st.booleans()
    if types.is_date(kind):
        return st.dates(date(1, 1, 1), date(9999, 12, 31))
    return TEXT if types.is_string(kind) or types.is_large_string(kind) else BYTES


FLAT = [
    pa.bool_(),
    pa.int8(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint32(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(9, 3),
    pa.decimal256(40, 0),
    pa.string(),
    pa.large_string(),
    pa.binary(),
    pa.large_binary(),
    pa.timestamp("s"),
    pa.timestamp("ms", "UTC"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ns"),
    pa.date32(),
    pa.date64(),
    pa.time32("s"),
    pa.time64("us"),
    pa.time64("ns"),
    pa.duration("s"),
    pa.duration("us"),
    pa.duration("ns"),
]
NESTED = [
    *[pa.list_(kind) for kind in FLAT],
    *[pa.struct([("a", kind), ("b", pa.list_(kind))]) for kind in FLAT],
    pa.list_(pa.struct([("at", pa.timestamp("ns")), ("on", pa.date32())])),
]


@st.composite
def tables(draw):
    kinds = draw(st.lists(st.sampled_from(FLAT + NESTED), min_size=1, max_size=4))
    count = draw(st.integers(0, 4))
    columns = [
        pa.array(draw(st.lists(st.none() | values_of(kind), min_size=count, max_size=count)), kind)
        for kind in kinds
    ]
    table = pa.table(columns, names=[f"c{at}" for at in range(len(kinds))])
    cut = draw(st.integers(0, count))
    return pa.concat_tables([table.slice(0, cut), table.slice(cut)])  # several chunks


def rows_of(table):
    return common_pb2.RowSet.FromString(encode_rows(table.schema, [table]))


@settings(deadline=None, max_examples=50, derandomize=True)
@given(table=tables())
def test_rows_of_several_tables_stand_one_behind_the_other(table):
    apart = [table.slice(at, 1) for at in range(len(table))]
    assert common_pb2.RowSet.FromString(encode_rows(table.schema, apart)) == rows_of(table)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(table=tables())
def test_what_is_encoded_for_many_keys_is_for_each_what_it_is_alone(table):
    absent = no_rows(table.schema)
    of_keys = [absent, *table.to_batches(max_chunksize=2), absent]
    assert encode_rows_alone(of_keys) == [encode_rows_alone([each])[0] for each in of_keys]


@settings(deadline=None, max_examples=150, derandomize=True)
@given(table=tables())
def test_typed_rows_hold_what_the_arrow_table_holds(table):
    message = rows_of(table)
    assert [(column.name, column.type) for column in message.columns] == [
        (field.name, str(field.type)) for field in table.schema
    ]
    expected = [
        {field.name: as_typed_rows_have_it(row[field.name], field.type) for field in table.schema}
        for row in table.to_pylist()
    ]
    assert decode_rows(message) == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (pa.bool_(), False, "bool_value"),
        (pa.int8(), 0, "int64_value"),
        (pa.uint32(), 2**32 - 1, "int64_value"),
        (pa.uint64(), 0, "decimal_value"),
        (pa.float32(), 0.0, "double_value"),
        (pa.float64(), 1.0, "double_value"),
        (pa.decimal128(38, 0), Decimal(0), "decimal_value"),
        (pa.string(), "", "string_value"),
        (pa.dictionary(pa.int32(), pa.string()), "a", "string_value"),
        (pa.binary(), b"", "bytes_value"),
        (pa.timestamp("s"), datetime(1970, 1, 1), "timestamp_value"),
        (pa.timestamp("ns", "Europe/Paris"), datetime(1970, 1, 1, tzinfo=UTC), "timestamp_value"),
        (pa.date32(), date(1970, 1, 1), "date_value"),
        (pa.time64("us"), time(0), "time_value"),
        (pa.duration("us"), timedelta(0), "duration_value"),
        (pa.list_(pa.int64()), [], "list_value"),
        (pa.list_(pa.date32(), 1), [date(1970, 1, 1)], "list_value"),
        (pa.struct([("a", pa.int64())]), {"a": None}, "struct_value"),
    ],
    ids=str,
)
def test_the_kind_of_a_value_follows_from_its_columns_type(kind, value, expected):
    rows = rows_of(pa.table([pa.array([value, None], kind)], names=["x"])).rows
    assert [row.values[0].WhichOneof("kind") for row in rows] == [expected, "null_value"]


def test_a_column_of_type_null_is_all_nulls():
    assert decode_rows(rows_of(pa.table([pa.nulls(2)], names=["x"]))) == [{"x": None}, {"x": None}]


def test_nan_and_the_infinities_stay_what_they_are():
    values = [row["x"] for row in decode_rows(rows_of(pa.table({"x": [float("nan"), float("inf"), -0.0]})))]
    assert isnan(values[0])
    assert values[1:] == [float("inf"), 0.0]
    assert str(values[2]) == "-0.0"


def test_nanoseconds_reach_the_wire_whole_and_are_not_cut_for_python():
    table = pa.table([pa.array([-1], pa.timestamp("ns"))], names=["at"])
    stamp = rows_of(table).rows[0].values[0].timestamp_value
    assert (stamp.seconds, stamp.nanos) == (-1, 999_999_999)
    with pytest.raises(InvalidArgument) as refused:
        decode_rows(rows_of(table))
    assert refused.value.reason == "BAD_VALUE"
    assert refused.value.details["field"] == "at"


def test_decimals_have_digits_and_no_exponent():
    values = [Decimal("1E+30"), Decimal("-0.000001"), Decimal(0)]
    rows = rows_of(pa.table([pa.array(values, pa.decimal128(38, 6))], names=["x"])).rows
    digits = [row.values[0].decimal_value for row in rows]
    assert digits == ["1" + "0" * 30 + ".000000", "-0.000001", "0.000000"]


@pytest.mark.parametrize(
    "kind",
    [pa.month_day_nano_interval(), pa.map_(pa.string(), pa.int64()), pa.list_view(pa.int64())],
    ids=str,
)
def test_a_type_without_a_kind_is_refused_by_name_even_without_rows(kind):
    schema = pa.schema([("a", pa.int64()), ("odd", kind)])
    with pytest.raises(InvalidArgument) as refused:
        encode_rows(schema, [schema.empty_table()])
    assert refused.value.reason == "UNSUPPORTED_TYPE"
    assert refused.value.details == {"column": "odd", "type": str(kind)}


def test_a_date_beyond_the_calendar_is_refused_by_column():
    table = pa.table([pa.array([2**31 - 1], pa.int32()).cast(pa.date32())], names=["day"])
    with pytest.raises(InvalidArgument) as refused:
        encode_rows(table.schema, [table])
    assert refused.value.reason == "UNSUPPORTED_VALUE"
    assert refused.value.details["column"] == "day"
