"""A few rows written as text are the rows that Arrow brings: every bit of them, in every type."""

import datetime as dt
import math
import struct
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.engine import profile
from featurestore.engine.column_types import duckdb_type
from featurestore.engine.row_text import values

NAIVE = st.datetimes()
TYPES = {
    pa.bool_(): st.booleans(),
    **{
        make(): st.integers(low, high) | st.sampled_from([low, high, 0])
        for make, low, high in [
            (pa.int8, -(2**7), 2**7 - 1),
            (pa.int32, -(2**31), 2**31 - 1),
            (pa.int64, -(2**63), 2**63 - 1),
            (pa.uint64, 0, 2**64 - 1),
        ]
    },
    pa.float64(): st.floats() | st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308, 1e22, 1e-5]),
    pa.float32(): st.floats(width=32),
    pa.decimal128(38, 5): st.integers(-(10**38) + 1, 10**38 - 1).map(lambda digits: Decimal(f"{digits}E-5")),
    pa.string(): st.text(st.characters(exclude_categories=["Cs"])) | st.text("'\0\\\"$;-/*?ä\n", max_size=8),
    pa.binary(): st.binary(max_size=16),
    pa.date32(): st.dates(),
    pa.timestamp("s"): NAIVE.map(lambda moment: moment.replace(microsecond=0)),
    pa.timestamp("ms"): NAIVE.map(
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    ),
    pa.timestamp("us"): NAIVE,
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(dt.UTC)),
}


@pytest.fixture(scope="module")
def engine():
    with profile.connect(threads=1, memory_limit="200MB") as connection:
        yield connection


def bits(value):
    """Itself, or what tells floats apart that compare as equal or as different."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    return value


@pytest.mark.parametrize("kind", TYPES, ids=str)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_rows_as_text_are_the_rows(engine, kind, data):
    one = st.none() | TYPES[kind]
    rows = pa.table(
        {
            "v": pa.array(data.draw(st.lists(one, min_size=1, max_size=6), label="rows"), kind),
        }
    )
    text = values(rows)
    assert text is not None
    engine.execute(f"CREATE OR REPLACE TABLE t (v {duckdb_type(kind)})")
    engine.execute(f"INSERT INTO t VALUES {text}")
    found = engine.execute("SELECT v FROM t ORDER BY rowid").to_arrow_table()
    assert list(map(bits, found["v"].to_pylist())) == list(map(bits, rows["v"].to_pylist()))


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 300), columns=st.integers(1, 5))
@example(rows=200, columns=1)
def test_many_values_are_left_to_arrow(rows, columns):
    text = values(pa.table({f"c{n}": list(range(rows)) for n in range(columns)}))
    assert (text is not None) == (rows * columns <= 200)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**40], pa.int64()).cast(pa.timestamp("s")),
        pa.array([2**30], pa.int32()).cast(pa.date32()),
        pa.array([1], pa.int64()).cast(pa.timestamp("ns")),
        pa.array([[1]]),
        pa.array([{"a": 1}]),
        pa.array(["x" * 2**17]),
    ],
    ids=["year 36812", "day 2**30", "nanoseconds", "list", "struct", "long text"],
)
def test_what_python_has_no_value_for_is_left_to_arrow(column):
    assert values(pa.table({"v": column})) is None
