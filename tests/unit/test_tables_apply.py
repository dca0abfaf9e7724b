"""Applying operations to a real engine: upserts, removals, definitions, and what is remembered beside them."""

import datetime as dt
import decimal

import duckdb
import pyarrow as pa
import pytest

from featurestore.engine import ledger
from featurestore.engine.apply import apply, in_groups
from featurestore.engine.profile import connect
from featurestore.engine.tables import checked
from featurestore.model.table import Define, Drop, Frame, Put, Remove, TableDefinition, Version

USERS = checked(
    TableDefinition(
        "users", pa.schema([("a", pa.int64()), ("b", pa.string()), ("v", pa.int64())]), ("a", "b")
    )
)
EVENTS = checked(TableDefinition("events", pa.schema([("v", pa.int64())])))


@pytest.fixture
def cursor():
    with connect(threads=1, memory_limit="1GB") as connection:
        yield connection


@pytest.fixture
def tables(cursor):
    return apply(cursor, {}, [Define(USERS), Define(EVENTS)])


def put(*rows):
    return Put(
        "users", pa.Table.from_pylist([dict(zip("abv", row, strict=True)) for row in rows], USERS.schema)
    )


def remove(*keys):
    schema = pa.schema([USERS.schema.field("a"), USERS.schema.field("b")])
    return Remove("users", pa.Table.from_pylist([dict(zip("ab", key, strict=True)) for key in keys], schema))


def users(cursor):
    return cursor.execute("SELECT * FROM feature_store.users ORDER BY ALL").fetchall()


def test_the_last_of_equal_keys_wins_within_one_statement(cursor, tables):
    apply(cursor, tables, [put((1, "x", 1), (2, "x", 2), (1, "x", 3)), put((2, "x", 4), (2, "y", 5))])
    assert users(cursor) == [(1, "x", 3), (2, "x", 4), (2, "y", 5)]


@pytest.mark.usefixtures("tables")
def test_the_engine_keeps_the_first_of_equal_keys_which_is_why_groups_are_reduced(cursor):
    cursor.register("twice", put((1, "x", 1), (1, "x", 2)).rows)
    cursor.execute("INSERT OR REPLACE INTO feature_store.users SELECT * FROM twice")
    assert users(cursor) == [(1, "x", 1)]


def test_rows_and_removals_of_one_group_apply_in_order(cursor, tables):
    apply(cursor, tables, [put((1, "x", 1), (2, "x", 1), (3, "x", 1))])
    apply(
        cursor,
        tables,
        [
            remove((1, "x"), (2, "x")),
            put((2, "x", 2), (4, "x", 2)),
            remove((4, "x"), (9, "z")),
            put((5, "x", 2)),
        ],
    )
    assert users(cursor) == [(2, "x", 2), (3, "x", 1), (5, "x", 2)]


def test_a_table_without_a_key_appends_everything(cursor, tables):
    rows = pa.table({"v": [1, 1]})
    apply(cursor, tables, [Put("events", rows), put((1, "x", 1)), Put("events", rows)])
    assert cursor.execute("SELECT count(*) FROM feature_store.events").fetchone() == (4,)


def test_a_failed_transaction_leaves_nothing(cursor, tables):
    cursor.begin()
    with pytest.raises(duckdb.Error):
        apply(cursor, tables, [put((1, "x", 1)), Put("events", pa.table({"v": ["no number"]}))])
    cursor.rollback()
    assert users(cursor) == []
    apply(cursor, tables, [put((1, "x", 1))])
    assert users(cursor) == [(1, "x", 1)]


def test_a_table_is_altered_and_dropped_and_defined_again(cursor, tables):
    apply(cursor, tables, [put((1, "x", 1))])
    wider = TableDefinition("users", USERS.schema.append(pa.field("order", pa.float64())), ("a", "b"))

    after = apply(cursor, tables, [Define(wider)])
    assert users(cursor) == [(1, "x", 1, None)]
    assert tables["users"] == USERS, "the definitions before are the caller's"

    after = apply(cursor, after, [Drop("USERS"), Define(USERS), put((2, "y", 2))])
    assert users(cursor) == [(2, "y", 2)]
    assert after["users"] == USERS


def test_frames_that_define_stand_alone():
    frames = [
        Frame(n, str(n), operations)
        for n, operations in enumerate(
            [(put(),), (put(),), (Define(USERS), put()), (put(),), (Drop("users"),)], 1
        )
    ]
    assert [[frame.sequence for frame in group] for group in in_groups(frames)] == [[1, 2], [3], [4], [5]]


VALUES = {
    pa.bool_(): True,
    pa.int8(): -128,
    pa.uint64(): 2**64 - 1,
    pa.float32(): 1.5,
    pa.float64(): 0.1,
    pa.decimal128(38, 5): decimal.Decimal("-123456789.12345"),
    pa.string(): "a\0b'\"ä",
    pa.binary(): b"\0\xff",
    pa.date32(): dt.date(1, 1, 1),
    pa.time64("us"): dt.time(23, 59, 59, 999_999),
    pa.timestamp("s"): dt.datetime(2020, 1, 1),  # noqa: DTZ001 - without a zone
    pa.timestamp("ms"): dt.datetime(2020, 1, 1, microsecond=1000),  # noqa: DTZ001 - without a zone
    pa.timestamp("us"): dt.datetime(9999, 1, 1, microsecond=1),  # noqa: DTZ001 - without a zone
    pa.timestamp("us", "UTC"): dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    pa.list_(pa.int64()): [1, None],
    pa.struct([("a", pa.int32()), ("b c", pa.list_(pa.string()))]): {"a": 1, "b c": ["x", None]},
}


@pytest.mark.parametrize("type_", VALUES, ids=str)
def test_every_type_goes_in_and_comes_out_as_it_was(cursor, type_):
    table = checked(TableDefinition("t", pa.schema([("v", type_)])))
    rows = pa.table({"v": pa.array([VALUES[type_], None], type_)})
    apply(cursor, {}, [Define(table), Put("t", rows)])
    found = cursor.execute("SELECT * FROM feature_store.t").to_arrow_table()
    assert found.schema.field("v").type == type_
    assert found.to_pylist() == rows.to_pylist()


@pytest.mark.parametrize("nanos", [0, 1_600_000_000_123_456_789])
def test_nanoseconds_survive(cursor, nanos):
    table = checked(TableDefinition("t", pa.schema([("v", pa.timestamp("ns"))])))
    apply(cursor, {}, [Define(table), Put("t", pa.table({"v": pa.array([nanos], pa.timestamp("ns"))}))])
    found = cursor.execute("SELECT * FROM feature_store.t").to_arrow_table()
    assert found.column("v").cast(pa.int64()).to_pylist() == [nanos]


@pytest.mark.parametrize("micros", [0, -1, (2**63 - 1) // 1000, -((2**63 - 1) // 1000)])
def test_a_duration_of_up_to_292_years_survives(cursor, micros):
    table = checked(TableDefinition("t", pa.schema([("v", pa.duration("us"))])))
    apply(cursor, {}, [Define(table), Put("t", pa.table({"v": pa.array([micros], pa.duration("us"))}))])
    months, days, nanos = cursor.execute("SELECT v FROM feature_store.t").to_arrow_table()[0][0].as_py()
    assert (months, days, nanos) == (0, 0, micros * 1000)


def test_the_ledger_remembers_definitions_and_position_in_the_rows_transaction(cursor):
    ledger.prepare(cursor)
    assert ledger.load(cursor) == (None, {})
    after = apply(cursor, {}, [Define(USERS), Define(EVENTS)])
    ledger.store(cursor, {}, after, Version("log", 1))
    ledger.store(cursor, after, apply(cursor, after, [Drop("events")]), Version("log", 2))
    assert ledger.load(cursor) == (Version("log", 2), {"users": USERS})
    cursor.begin()
    ledger.store(cursor, {"users": USERS}, {}, Version("log", 3))
    cursor.rollback()
    assert ledger.load(cursor) == (Version("log", 2), {"users": USERS})
