"""What goes into a frame comes out of it: every type, full, empty, all null and mixed."""

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.etl.types import from_pandas, to_pandas


def integers_of(kind):
    bits = kind.bit_width
    signed = pa.types.is_signed_integer(kind)
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


INTEGERS = [
    make() for make in (pa.int8, pa.int16, pa.int32, pa.int64, pa.uint8, pa.uint16, pa.uint32, pa.uint64)
]
MOMENTS = st.integers(-(2**50), 2**50)  # in microseconds: some 35 years around 1970
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SCALARS = {
    **{kind: integers_of(kind) for kind in INTEGERS},
    pa.bool_(): st.booleans(),
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.date32(): st.dates(),
    pa.time32("s"): st.times().map(lambda time: time.replace(microsecond=0)),
    pa.time32("ms"): st.times().map(lambda time: time.replace(microsecond=5000)),
    pa.time64("us"): st.times(),
    pa.decimal128(10, 2): st.integers(-(10**10) + 1, 10**10 - 1).map(lambda n: Decimal(n).scaleb(-2)),
    pa.decimal128(38, 0): st.integers(-(10**37), 10**37).map(Decimal),
    pa.decimal256(50, 3): st.integers(-(10**27), 10**27).map(lambda n: Decimal(n).scaleb(-3)),
    pa.binary(): st.binary(max_size=5),
    pa.large_binary(): st.binary(max_size=5),
    pa.binary(4): st.binary(min_size=4, max_size=4),
    pa.null(): st.none(),
}
TEMPORAL = [
    make(unit, *zone)
    for unit in ("s", "ms", "us", "ns")
    for make, *zone in (
        (pa.duration,),
        (pa.timestamp,),
        (pa.timestamp, "UTC"),
        (pa.timestamp, "Europe/Berlin"),
        (pa.timestamp, "+02:00"),
    )
]
MICROSECONDS = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}


def arrays(kind, *, length):
    """Arrays of a type and length with nulls here and there."""
    if kind in TEMPORAL:
        ticks = st.none() | MOMENTS.map(lambda n: n // MICROSECONDS[kind.unit])
        listed = st.lists(ticks, min_size=length, max_size=length)
        return listed.map(lambda values: pa.array(values, pa.int64()).cast(kind))
    listed = st.lists(st.none() | values_of(kind), min_size=length, max_size=length)
    return listed.map(lambda values: pa.array(values, kind))


def values_of(kind):
    if kind in SCALARS:
        return SCALARS[kind]
    if kind in TEMPORAL:
        return arrays(kind, length=1).map(lambda array: array[0].as_py())
    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({field.name: st.none() | values_of(field.type) for field in kind})
    size = kind.list_size if pa.types.is_fixed_size_list(kind) else None
    return st.lists(st.none() | values_of(kind.value_type), min_size=size or 0, max_size=size or 3)


def struct_of(kinds):
    return pa.struct([(f"f{number}", kind) for number, kind in enumerate(kinds)])


SCALAR_KINDS = st.sampled_from([*SCALARS, *TEMPORAL])
KINDS = st.one_of(
    SCALAR_KINDS,
    SCALAR_KINDS.map(pa.list_),
    SCALAR_KINDS.map(pa.large_list),
    SCALAR_KINDS.map(lambda kind: pa.list_(kind, 2)),
    st.lists(SCALAR_KINDS, min_size=1, max_size=3).map(struct_of),
    SCALAR_KINDS.map(lambda kind: pa.list_(struct_of([pa.list_(kind)]))),
)


@st.composite
def tables(draw):
    kinds = draw(st.lists(KINDS, min_size=1, max_size=4))
    length = draw(st.integers(0, 5))
    names = [f"c{number}" for number in range(len(kinds))]
    return pa.table(
        {name: draw(arrays(kind, length=length)) for name, kind in zip(names, kinds, strict=True)}
    )


def variants(table):
    yield table
    yield table.slice(0, 0)
    yield table.schema.empty_table()
    yield table.slice(table.num_rows // 2)
    yield pa.concat_tables([table, table])
    yield pa.table([pa.nulls(3, field.type) for field in table.schema], schema=table.schema)


@settings(max_examples=150, deadline=None)
@given(tables())
def test_an_etl_that_changes_nothing_returns_the_table_it_got(table):
    for variant in variants(table):
        out = from_pandas(to_pandas(variant), input_schema=table.schema, contract=table.schema)
        out.validate(full=True)
        assert out.schema.equals(table.schema)
        assert out.to_pylist() == variant.to_pylist()


@settings(max_examples=150, deadline=None)
@given(tables())
def test_dtypes_depend_on_the_schema_only(table):
    expected = to_pandas(table).dtypes
    for variant in variants(table):
        assert to_pandas(variant).dtypes.equals(expected)


@settings(max_examples=100, deadline=None)
@given(tables())
def test_training_output_becomes_a_contract_that_every_slice_of_it_fulfils(table):
    trained = from_pandas(to_pandas(table), input_schema=table.schema)
    for row in range(table.num_rows):
        one = from_pandas(to_pandas(table.slice(row, 1)), input_schema=table.schema, contract=trained.schema)
        assert one.to_pylist() == trained.slice(row, 1).to_pylist()


@pytest.mark.parametrize("kind", [*SCALARS, *TEMPORAL], ids=str)
def test_training_keeps_the_type_of_a_column_that_passes_through(kind):
    table = pa.table({"c": pa.nulls(2, kind)})
    trained = from_pandas(to_pandas(table), input_schema=table.schema)
    same = {pa.large_string(): pa.string(), pa.date32(): pa.timestamp("us")}
    assert trained.schema.field("c").type == same.get(kind, kind)


def test_nan_and_null_are_one():
    table = pa.table({"x": [1.5, float("nan"), None], "y": pa.array([float("nan"), None, 1], pa.float32())})
    out = from_pandas(to_pandas(table), input_schema=table.schema, contract=table.schema)
    assert out.to_pydict() == {"x": [1.5, None, None], "y": [None, None, 1.0]}
    assert pc.sum(out["x"]).as_py() == 1.5


def test_moments_in_lists_keep_their_zone_and_nanoseconds():
    kind = pa.list_(pa.timestamp("ns", "Europe/Berlin"))
    ticks = pa.array([[1, None], None, [1_700_000_000_000_000_001]], pa.list_(pa.int64()))
    table = pa.table({"x": ticks.cast(kind)})
    out = from_pandas(to_pandas(table), input_schema=table.schema, contract=table.schema)
    assert out.equals(table)
    assert to_pandas(table)["x"][0][0].tzinfo == ZoneInfo("Europe/Berlin")


def test_dates_at_the_ends_of_pythons_calendar_survive():
    table = pa.table({"d": pa.array([dt.date.min, dt.date.max], pa.date32())})
    assert from_pandas(to_pandas(table), input_schema=table.schema, contract=table.schema).equals(table)
