"""Small publishes judged together do what each of them does when it is judged alone; else they are left alone."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.engine.tables import checked
from featurestore.model import frames
from featurestore.model.errors import FeatureStoreError
from featurestore.model.table import Put, TableDefinition, TableRows
from services.realtime.proposals import Publish, judge
from services.realtime.together import together

T = checked(
    TableDefinition(
        "t",
        pa.schema([pa.field("id", pa.int64(), nullable=False), ("v", pa.float64()), ("s", pa.string())]),
        ("id",),
    )
)
U = checked(TableDefinition("u", pa.schema([("id", pa.uint32()), ("v", pa.binary())])))
TABLES = {"t": T, "u": U}
END = b"\xff\xff\xff\xff\0\0\0\0"

SCHEMAS = {
    "as stored": pa.schema([("id", pa.int64()), ("v", pa.float64()), ("s", pa.string())]),
    "not null": T.schema,
    "narrower": pa.schema([("id", pa.int32()), ("v", pa.float32())]),
    "in another order": pa.schema([("s", pa.string()), ("id", pa.int64())]),
    "with metadata": pa.schema(
        [("id", pa.int64()), ("v", pa.float64()), ("s", pa.string())], {"pandas": "{}"}
    ),
    "with a dictionary": pa.schema([("id", pa.int64()), ("s", pa.dictionary(pa.int32(), pa.string()))]),
    "of a wrong type": pa.schema([("id", pa.string())]),
    "with a strange column": pa.schema([("id", pa.int64()), ("w", pa.int64())]),
    "of the other table": pa.schema([("id", pa.uint32())]),
    "marks at its end": pa.schema([("id", pa.uint32()), ("v", pa.binary(8))]),
}
VALUES = {"id": st.integers(0, 2**31 - 1), "v": st.integers(-8, 8).map(float), "s": st.text(max_size=3)}


def value(field):
    if pa.types.is_fixed_size_binary(field.type):
        return st.just(END)
    if pa.types.is_string(field.type) or pa.types.is_dictionary(field.type):
        return st.none() | VALUES["s"]
    # A null key is refused, and a NOT NULL column of the schema can't be built with one.
    drawn = VALUES["v" if pa.types.is_floating(field.type) else "id"]
    return drawn | st.none() if field.nullable else drawn


@st.composite
def publishes(draw):
    schema = SCHEMAS[draw(st.sampled_from(list(SCHEMAS)))]
    table = draw(st.sampled_from(["t", "T", "u", "unknown"]))
    key = draw(st.sampled_from([None, None, None, ("id",), ("s",)]))
    sink = pa.BufferOutputStream()
    compressed = pa.ipc.IpcWriteOptions(compression=draw(st.sampled_from([None, None, "lz4"])))
    with pa.ipc.new_stream(sink, schema, options=compressed) as writer:
        for count in draw(st.lists(st.integers(0, 3), max_size=2) | st.just([1])):
            columns = [draw(st.lists(value(field), min_size=count, max_size=count)) for field in schema]
            writer.write_batch(
                pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema)
            )
    stream = sink.getvalue().to_pybytes()
    damage = draw(st.sampled_from(["none"] * 6 + ["no end", "cut", "more", "nothing"]))
    stream = {
        "none": stream,
        "no end": stream[:-8],
        "cut": stream[:-20],
        "more": stream + stream,
        "nothing": b"",
    }[damage]
    return Publish("p", (TableRows(table, stream, key),))


def alone(publish):
    try:
        operations, row_count = judge(publish, TABLES)
    except FeatureStoreError as refused:
        return refused
    return operations, row_count


def stored(rows, table):
    return pa.Table.from_arrays(rows.columns, schema=table.schema)


@settings(max_examples=300, deadline=None)
@given(group=st.lists(publishes(), max_size=3).map(lambda some: some * 2) | st.lists(publishes(), max_size=6))
def test_a_group_does_what_each_of_its_publishes_does_alone(group):
    for position, small in together(group, TABLES).items():
        expected = alone(group[position])
        assert not isinstance(expected, FeatureStoreError), expected
        (put,), row_count = expected
        assert small.put.table == put.table
        assert small.put.rows.num_rows == row_count
        assert small.put.rows.equals(put.rows)
        if small.body is not None:
            (logged,) = frames.decode(small.body)
            assert isinstance(logged, Put)
            assert logged.table == put.table
            assert stored(logged.rows, TABLES[put.table.lower()]).equals(put.rows)


def stream_of(schema, rows):
    return frames.table_to_stream(pa.Table.from_pylist(rows, schema))


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ("as stored", True),
        ("not null", True),
        ("narrower", False),
        ("with metadata", False),
        ("in another order", False),
    ],
)
def test_alike_publishes_are_judged_together_and_their_bytes_kept_where_they_are_stored_as_they_came(
    schema, kept
):
    group = [Publish(f"p{n}", (TableRows("t", stream_of(SCHEMAS[schema], [{"id": n}])),)) for n in range(3)]
    found = together(group, TABLES)
    assert sorted(found) == [0, 1, 2]
    assert [small.body is not None for small in found.values()] == [kept] * 3


def test_one_that_is_refused_leaves_all_that_are_alike_to_be_judged_alone():
    group = [
        Publish(f"p{n}", (TableRows("t", stream_of(SCHEMAS["as stored"], [{"id": n}])),))
        for n in (1, None, 2)
    ]
    assert together(group, TABLES) == {}
