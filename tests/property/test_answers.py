"""Keys and rows of a call, quickly: what is converted, found and cut apart at once is what is done one by one."""

from __future__ import annotations

from datetime import date, datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.engine.key_values import convert, converted_to
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import Column
from featurestore.model.serving import Keys
from services.realtime.answers import split

often = settings(deadline=None, max_examples=300)

COLUMNS = (
    Column("k", pa.int64(), "BIGINT"),
    Column("k", pa.int8(), "TINYINT"),
    Column("k", pa.string(), "VARCHAR"),
    Column("k", pa.bool_(), "BOOLEAN"),
    Column("k", pa.decimal128(5, 2), "DECIMAL(5,2)"),
    Column("k", pa.date32(), "DATE"),
    Column("k", pa.timestamp("us"), "TIMESTAMP"),
    Column("k", pa.string(), "UUID"),
    Column("k", pa.binary(), "BLOB"),
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-200, 200),
    st.integers(2**62, 2**65),
    st.floats(),
    st.decimals(-1000, 1000, places=2),
    st.sampled_from(["1", "true", "2024-02-30", "2024-02-29", "2024-02-29T12:30:00", "\ud800", "", "x"]),
    st.dates(),
    st.datetimes(),
    st.uuids(),
    st.binary(max_size=3),
)


def one_by_one(columns: tuple[Column, ...], keys: Keys) -> object:
    """The oracle: each value by `convert`, or the first refusal; of the width, which is looked at first, its reason alone."""
    tuples = []
    for place, one in enumerate(keys.tuples, start=1):
        if len(one) != len(columns):
            return "KEY_WIDTH"
        try:
            tuples.append(
                tuple(convert(value, column, place) for value, column in zip(one, columns, strict=True))
            )
        except InvalidArgument as refused:
            return refused.reason, refused.message
    return [(type(value), value) for one in tuples for value in one]


def at_once(columns: tuple[Column, ...], keys: Keys) -> object:
    try:
        tuples = converted_to(columns, keys).tuples
    except InvalidArgument as refused:
        return "KEY_WIDTH" if refused.reason == "KEY_WIDTH" else (refused.reason, refused.message)
    return [(type(value), value) for one in tuples for value in one]


@often
@given(
    columns=st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=2).map(tuple),
    tuples=st.lists(st.lists(VALUES, min_size=1, max_size=2).map(tuple), min_size=1, max_size=5).map(tuple),
)
def test_all_keys_of_a_call_are_converted_as_each_of_them_alone(columns, tuples):
    keys = Keys(tuple(column.name for column in columns), tuples)
    assert at_once(columns, keys) == one_by_one(columns, keys)


@often
@given(data=st.data(), column=st.sampled_from(COLUMNS))
def test_keys_of_a_column_that_are_all_right_are_converted_as_each_of_them_alone(data, column):
    right = {
        "BIGINT": st.integers(-(2**63), 2**63 - 1),
        "TINYINT": st.integers(-128, 127) | st.integers(-128, 127).map(str),
        "VARCHAR": st.text(max_size=3),
        "BOOLEAN": st.booleans(),
        "DECIMAL(5,2)": st.decimals(-999, 999, places=2) | st.integers(-999, 999),
        "DATE": st.dates() | st.dates().map(date.isoformat),
        "TIMESTAMP": st.datetimes() | st.datetimes().map(datetime.isoformat),
        "UUID": st.uuids(),
        "BLOB": st.binary(max_size=3),
    }[column.engine_type]
    values = data.draw(st.lists(right, min_size=1, max_size=5))
    keys = Keys(("k",), tuple((value,) for value in values))
    assert at_once((column,), keys) == one_by_one((column,), keys)


@often
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from("abc"), st.none() | st.text(max_size=3)), max_size=12
    ),
    asked=st.lists(st.tuples(st.integers(0, 8), st.sampled_from("abcd")), min_size=1, max_size=8),
    names=st.sampled_from([("n",), ("s",), ("n", "s")]),
    each_once=st.booleans(),
)
def test_rows_are_cut_apart_by_key_as_a_search_for_each_would_find_them(rows, asked, names, each_once):
    places = [("n", "s").index(name) for name in names]
    keys = [tuple(one[place] for place in places) for one in asked]
    found = [row for row in rows if tuple(row[place] for place in places) in keys]
    if each_once:
        found = list({tuple(row[place] for place in places): row for row in found}.values())
    batch = pa.record_batch(
        [
            pa.array([row[place] for row in found], kind)
            for place, kind in enumerate((pa.int64(), pa.string(), pa.string()))
        ],
        names=["n", "s", "what"],
    )
    table = pa.table(
        [pa.array([one[place] for one in asked], (pa.int64(), pa.string())[place]) for place in places],
        names=list(names),
    )
    parts = split(batch, table)
    assert [[tuple(row.values()) for row in part.to_pylist()] for part in parts] == [
        [row for row in found if tuple(row[place] for place in places) == key] for key in keys
    ]
    assert all(part.schema.equals(batch.schema) for part in parts)
