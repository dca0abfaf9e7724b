"""Results that were made apart have together the types, and the values, of one frame that holds them all."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.etl.deciding import Deciding, ResultsDiffer, joined
from featurestore.etl.types import ContractBroken, UnsupportedColumn, from_pandas, undecided_columns

NOTHING = pa.schema([])
EARLIEST = dt.datetime(1990, 1, 1)  # noqa: DTZ001 - naive times are of another type
MOMENTS = st.timedeltas(dt.timedelta(0), dt.timedelta(40_000)).map(lambda after: EARLIEST + after)
INTEGERS = st.integers(-(2**40), 2**40)
FLOATS = st.integers(-(2**20), 2**20).map(lambda n: n / 8)
DECIMALS = st.decimals(-1000, 1000, places=1) | st.decimals(-1000, 1000, places=3)
OBJECTS = [
    INTEGERS,
    FLOATS,
    INTEGERS | FLOATS,
    DECIMALS,
    INTEGERS | DECIMALS,
    st.text("ab", max_size=3),
    st.booleans(),
    st.dates(),
    MOMENTS,
    MOMENTS.map(lambda at: pd.Timestamp(at) + pd.Timedelta(1, "ns")),
    st.lists(st.none() | INTEGERS, max_size=2),
    st.lists(st.none() | DECIMALS, max_size=2),
    st.fixed_dictionaries({"a": st.none() | INTEGERS}, optional={"b": st.none() | FLOATS}),
    st.fixed_dictionaries({"c": st.none() | DECIMALS}),
]
WIDE = {
    "int64": INTEGERS,
    "float64": st.none() | FLOATS,
    "Int64": st.none() | INTEGERS,
    "str": st.none() | st.text("ab", max_size=3),
    "datetime64[us]": st.none() | MOMENTS,
    "timedelta64[us]": st.none() | st.timedeltas(dt.timedelta(-9), dt.timedelta(9)),
}
"""Dtypes, and their values, of which objects have the same type. Not `bool`, of which pandas makes integers."""
BOOLEANS = {"bool": st.booleans(), "boolean": st.none() | st.booleans()}
NARROW = {
    "int8": st.integers(-100, 100),
    "uint8": st.integers(0, 200),
    "Int32": st.none() | st.integers(-100, 100),
    "UInt16": st.none() | st.integers(0, 200),
    "datetime64[ns]": st.none() | MOMENTS,
    "timedelta64[ms]": st.none() | st.just(dt.timedelta(3)),
}


def columns_of(dtypes: dict[str, st.SearchStrategy]) -> st.SearchStrategy[list[pd.Series]]:
    """Columns of these dtypes that have values."""
    kinds = st.sampled_from(list(dtypes))
    return st.lists(
        kinds.flatmap(
            lambda dtype: (
                st.lists(dtypes[dtype], max_size=4)
                .filter(has_values)
                .map(lambda values: pd.Series(values, dtype=dtype))
            )
        ),
        min_size=1,
        max_size=5,
    )


def has_values(values: list[object]) -> bool:
    return any(value is not None for value in values)


@st.composite
def mixed_columns(draw) -> list[pd.Series]:
    """Columns mostly of one kind of objects, some all null, some empty, some of a dtype."""
    usual = draw(st.sampled_from(OBJECTS))
    made = []
    for _ in range(draw(st.integers(1, 5))):
        how = draw(st.sampled_from(["usual", "usual", "usual", "null", "other", "dtype"]))
        if how == "dtype":
            dtype = draw(st.sampled_from(list(WIDE)))
            values = draw(st.lists(WIDE[dtype], max_size=4).filter(has_values))
        else:
            dtype = "object"
            kinds = {"usual": usual, "null": st.nothing(), "other": draw(st.sampled_from(OBJECTS))}
            values = draw(st.lists(st.none() | kinds[how], max_size=4))
        made.append(pd.Series(values, dtype=dtype))
    return made


def trained(frame: pd.DataFrame) -> tuple[pa.Table, tuple[str, ...]]:
    table = from_pandas(frame, input_schema=NOTHING)
    return table, undecided_columns(frame, table, input_schema=NOTHING, output_types={})


def together(frames: list[pd.DataFrame]) -> tuple[pa.Table, tuple[str, ...]]:
    """The results of the frames, each made to the types that they decide together."""
    deciding = Deciding()
    for frame in frames:
        deciding.add(*trained(frame))
    tables = [from_pandas(frame, input_schema=NOTHING, contract=deciding.schema) for frame in frames]
    return pa.concat_tables(tables), deciding.undecided


@given(mixed_columns() | columns_of(NARROW) | columns_of(WIDE) | columns_of(BOOLEANS))
def test_parts_decide_what_one_frame_of_them_would(columns):
    frames = [pd.DataFrame({"x": column}) for column in columns]
    whole = pd.concat(frames, ignore_index=True)
    if whole["x"].isna().all():
        return  # a dtype may then decide what objects would not
    try:
        wanted, undecided = trained(whole)
    except UnsupportedColumn:
        wanted, undecided = None, ()
    try:
        found, open_columns = together(frames)
    except (ResultsDiffer, UnsupportedColumn, ContractBroken):
        found, open_columns = None, ()
    if wanted is None or found is None:
        assert (found, wanted) == (None, None)
        return
    assert found.schema == wanted.schema
    assert found.combine_chunks().equals(wanted.combine_chunks())
    assert open_columns == undecided


@pytest.mark.parametrize("number", [pa.int8(), pa.uint16(), pa.int64(), pa.float64()], ids=str)
def test_numbers_that_are_floats_in_a_part_are_double(number):
    """A frame would make some of them `float`, which can't hold every integer of theirs."""
    assert joined(number, pa.float32()) == joined(pa.float32(), number) == pa.float64()
    assert joined(pa.float32(), pa.float32()) == pa.float32()


def test_other_columns_are_named():
    deciding = Deciding()
    deciding.add(pa.table({"a": [1], "b": ["x"]}), ())
    with pytest.raises(ResultsDiffer) as refused:
        deciding.add(pa.table({"a": [1], "c": ["x"]}), ())
    assert [(each.column, each.kind) for each in refused.value.differences] == [
        ("b", "missing"),
        ("c", "unexpected"),
    ]
