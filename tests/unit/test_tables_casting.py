"""Casting rows to a table's columns: exact, or refused with every offending column."""

import datetime as dt

import pyarrow as pa
import pytest

from featurestore.engine.casting import cast_exact, cast_keys
from featurestore.engine.tables import checked
from featurestore.model.errors import InvalidArgument
from featurestore.model.table import TableDefinition

USERS = checked(
    TableDefinition(
        "users",
        pa.schema(
            [
                ("id", pa.int64()),
                ("name", pa.string()),
                pa.field("age", pa.int32(), nullable=False),
                ("at", pa.timestamp("us")),
            ]
        ),
        ("id",),
    )
)


def refusal(rows, cast=cast_exact):
    with pytest.raises(InvalidArgument) as caught:
        cast(rows, USERS)
    return caught.value


def test_columns_come_in_the_tables_order_and_missing_nullable_ones_are_null():
    rows = pa.table({"age": pa.array([3], pa.int8()), "id": pa.array([1], pa.int32())})

    cast = cast_exact(rows, USERS)

    assert cast.schema.equals(USERS.schema, check_metadata=True)
    assert cast.to_pylist() == [{"id": 1, "name": None, "age": 3, "at": None}]


def test_strings_of_all_forms_and_finer_units_are_cast():
    rows = pa.table(
        {
            "id": [1, 2],
            "name": pa.array(["a", "b"]).dictionary_encode(),
            "age": pa.array([1, 2], pa.int16()),
            "at": pa.array([0, None], pa.timestamp("s")),
        }
    )
    assert cast_exact(rows, USERS).to_pydict() == {
        "id": [1, 2],
        "name": ["a", "b"],
        "age": [1, 2],
        "at": [dt.datetime(1970, 1, 1), None],  # noqa: DTZ001 - the column has no zone
    }


def test_a_refusal_names_every_offending_column():
    error = refusal(pa.table({"id": ["1"], "nome": ["x"], "name": [5]}))
    assert error.reason == "UNKNOWN_COLUMN"
    assert error.details["columns"] == "nome, id, name, age"
    assert "column id is string and can't become int64 exactly" in error.message
    assert "column age is missing and not nullable" in error.message


@pytest.mark.parametrize(
    ("rows", "reason", "words"),
    [
        (
            pa.table({"id": [1, None], "age": pa.array([1, 2], pa.int32())}),
            "NULL_IN_KEY",
            "id is null in row 1",
        ),
        (
            pa.table({"id": [1, 2], "age": pa.array([1, None], pa.int32())}),
            "NULL_VALUE",
            "age is null in row 1",
        ),
        (pa.table({"ID": [1], "age": pa.array([1], pa.int32())}), "UNKNOWN_COLUMN", "spelled id"),
        (pa.table([[1], [1]], names=["id", "id"]), "COLUMN_TYPE", "twice"),
        (pa.table({"id": pa.nulls(1), "age": pa.array([1], pa.int32())}), "NULL_IN_KEY", "row 0"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_position(rows, reason, words):
    error = refusal(rows)
    assert error.reason == reason
    assert words in error.message


def test_a_value_that_a_zoned_column_can_not_hold_is_refused():
    zoned = checked(TableDefinition("t", pa.schema([("at", pa.timestamp("us", "UTC"))])))
    fine = pa.table({"at": pa.array([1_000], pa.timestamp("ns", "Asia/Tokyo"))})
    lossy = pa.table({"at": pa.array([1_001], pa.timestamp("ns", "Asia/Tokyo"))})
    assert cast_exact(fine, zoned).column("at").cast(pa.int64()).to_pylist() == [1]
    with pytest.raises(InvalidArgument, match="at can't become"):
        cast_exact(lossy, zoned)


def test_a_duration_that_the_engine_would_return_as_zero_is_refused():
    table = checked(TableDefinition("t", pa.schema([("d", pa.duration("s"))])))
    fits = 9_223_372_036
    assert cast_exact(pa.table({"d": pa.array([fits], pa.duration("s"))}), table).num_rows == 1
    with pytest.raises(InvalidArgument, match="292 years"):
        cast_exact(pa.table({"d": pa.array([-fits - 1], pa.duration("s"))}), table)


def test_forged_arrow_is_refused_before_the_engine_reads_it():
    offsets = pa.array([0, 1_000_000, 1], pa.int32()).buffers()[1]
    forged = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a")])
    rows = pa.table({"id": [1, 2], "name": forged, "age": pa.array([1, 2], pa.int32())})
    assert refusal(rows).reason == "BAD_ARROW"


def test_keys_are_the_key_columns_alone_and_never_null():
    assert cast_keys(pa.table({"x": ["a"], "id": pa.array([1], pa.int8())}), USERS).to_pydict() == {"id": [1]}
    assert refusal(pa.table({"x": [1]}), cast_keys).reason == "MISSING_COLUMN"
    assert refusal(pa.table({"id": ["1"]}), cast_keys).reason == "KEY_VALUE"
    assert refusal(pa.table({"id": [1, None]}), cast_keys).reason == "KEY_NULL"
