"""What an answer depends on and what a write touches, in the same words."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest

from featurestore.engine import apply as engine
from featurestore.engine import profile
from featurestore.engine.column_types import duckdb_type
from featurestore.engine.key_values import ConvertedKeys, convert_keys
from featurestore.engine.planner import plan
from featurestore.engine.planner.run import chain_values
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import Keys
from featurestore.model.table import Define, Drop, Put, Remove, TableDefinition
from services.realtime.touches import Dependence, Touched, comparable, dependences, touched

BERN = dt.timezone(dt.timedelta(hours=1))
VALUES = {
    pa.bool_(): [True, False],
    pa.int8(): [-128, 127],
    pa.int64(): [-(2**63), 0, 2**63 - 1],
    pa.uint64(): [0, 2**64 - 1],
    pa.decimal128(10, 2): [Decimal("1.50"), Decimal(0), Decimal("-99999999.99")],
    pa.decimal128(38, 0): [Decimal(10**37)],
    pa.string(): ["", "a", "A", "'", "b\0", "ü", "\U0001f600"],
    pa.binary(): [b"", b"\0\xff"],
    pa.date32(): [dt.date(1, 1, 2), dt.date(1969, 12, 31), dt.date(9999, 12, 30)],
    pa.timestamp("s"): [dt.datetime(1, 1, 2), dt.datetime(2024, 2, 29, 12, 30, 5)],  # noqa: DTZ001
    pa.timestamp("ms"): [dt.datetime(1969, 12, 31, 23, 59, 59, 999_000)],  # noqa: DTZ001
    pa.timestamp("us"): [dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30, 1, 2, 3, 4)],  # noqa: DTZ001
    pa.timestamp("ns"): [dt.datetime(1700, 1, 1, 0, 0, 0, 1), dt.datetime(2024, 2, 29)],  # noqa: DTZ001
    pa.timestamp("us", "UTC"): [
        dt.datetime(2024, 2, 29, 12, 30, 5, 6, tzinfo=dt.UTC),
        dt.datetime(1969, 1, 1, 0, 30, tzinfo=BERN),
    ],
}


@pytest.fixture
def cursor():
    with profile.connect(threads=1, memory_limit="200MB") as connection:
        yield connection.cursor()


def defined(cursor, **tables):
    """Tables of (schema, primary key), made and empty."""
    known = {}
    for name, (columns, key) in tables.items():
        define = Define(TableDefinition(name, pa.schema(columns), key))
        known = engine.apply(cursor, known, [define])
    return known


def planned(tables, sql, columns, index_key):
    types = {
        each.name: {field.name: duckdb_type(field.type) for field in each.schema} for each in tables.values()
    }
    form = QueryForm(sql, tuple(Column(name, type_, duckdb_type(type_)) for name, type_ in columns.items()))
    return form, plan(form, index_key, types)


INTS = [("id", pa.int64()), ("k", pa.int64()), ("other", pa.int64())]


@pytest.fixture
def tables(cursor):
    return defined(cursor, t=(INTS, ("id",)), u=(INTS, ("id",)), log=(INTS, ()))


def answer(cursor, tables, sql, *key, columns=("k",), index_key=("k",)):
    """What the answer for one key depends on."""
    form, made = planned(tables, sql, dict.fromkeys(columns, pa.int64()), index_key)
    keys = convert_keys(form, Keys(index_key, (key,)))
    [found] = dependences(made, keys, chain_values(cursor, made, keys))
    return found


def rows(*some):
    return pa.table(
        dict(zip(("id", "k", "other"), map(list, zip(*some, strict=True)), strict=True)), pa.schema(INTS)
    )


def store(cursor, tables, table, *some):
    engine.apply(cursor, tables, [Put(table, rows(*some))])


def keys(*ids):
    return pa.table({"id": pa.array(ids, pa.int64())})


def looked(cursor, tables, operations, **watched):
    return touched(cursor, tables, operations, {table: frozenset(some) for table, some in watched.items()})


@pytest.mark.parametrize("type_", VALUES, ids=str)
def test_a_value_as_a_key_and_the_same_value_of_a_tables_column_are_equal(cursor, type_):
    schema = [("id", pa.int64()), ("v", type_), ("w", type_)]
    tables = defined(cursor, t=(schema, ("id",)), u=([("w", type_)], ()))
    values = VALUES[type_]
    rows = pa.table([list(range(len(values))), values, values], pa.schema(schema))
    engine.apply(cursor, tables, [Put("t", rows)])

    form, made = planned(tables, "SELECT v FROM feature_store.t", {"v": type_}, ("v",))
    by_value = [
        each.touches
        for each in dependences(
            made, convert_keys(form, Keys(("v",), tuple((value,) for value in values))), {}
        )
    ]
    assert all(len(each) == 1 for each in by_value)
    asked = {value for each in by_value for _, value in each}
    assert len(asked) == len(values)
    assert asked == set(comparable(rows.column("v"))), "as they are published"
    stored = cursor.execute("SELECT v FROM feature_store.t").to_arrow_table()
    assert asked == set(comparable(stored.column("v"))), "as they are stored"

    sql = "SELECT t.id, u.w FROM feature_store.t t JOIN feature_store.u u ON u.w = t.v"
    form, made = planned(tables, sql, {"id": pa.int64(), "w": type_}, ("id",))
    everything = convert_keys(form, Keys(("id",), tuple((n,) for n in range(len(values)))))
    found = dependences(made, everything, chain_values(cursor, made, everything))[0]
    chained = {value for places, value in found.touches if places[0][0] == "u"}
    assert chained == asked or found.whole == {"u"}, "as a chain has them, if Python can hold them"
    assert found.whole <= ({"u"} if type_ == pa.timestamp("ns") else set())


def test_days_beyond_pythons_calendar_compare_too():
    days = pa.array([2**31 - 2, None, 0], pa.int32()).cast(pa.date32())
    assert comparable(days) == [2**31 - 2, None, 0]
    moments = pa.array([2**62, 1], pa.int64()).cast(pa.timestamp("us"))
    assert comparable(pa.chunked_array([moments])) == [2**62, 1]


@pytest.mark.parametrize("type_", VALUES, ids=str)
def test_no_rows_and_nulls_compare_as_nothing(type_):
    assert comparable(pa.array([], type_)) == []
    assert comparable(pa.chunked_array([], type_)) == []
    assert comparable(pa.nulls(2, type_)) == [None, None]


def test_an_answer_depends_on_the_value_that_narrowed_its_table(cursor, tables):
    found = answer(cursor, tables, "SELECT K FROM feature_store.T", 7)
    assert found == Dependence(frozenset({((("t", "k"),), 7)}), frozenset())


def test_of_two_places_in_the_text_each_counts(cursor, tables):
    sql = "SELECT a.k, b.id FROM feature_store.t a JOIN feature_store.t b ON b.other = a.k"
    assert answer(cursor, tables, sql, 7, columns=("k", "id")) == Dependence(
        frozenset({((("t", "k"), ("t", "other")), 7)}), frozenset()
    )


def test_a_table_that_is_narrowed_here_and_whole_there_is_whole_too(cursor, tables):
    sql = "SELECT k, (SELECT max(id) FROM feature_store.t) AS id FROM feature_store.t"
    found = answer(cursor, tables, sql, 7, columns=("k", "id"))
    assert found == Dependence(frozenset({((("t", "k"),), 7)}), frozenset({"t"}))


def test_of_a_composite_key_one_part_tells(cursor, tables):
    columns = ("id", "k", "other")
    found = answer(
        cursor,
        tables,
        "SELECT id, k, other FROM feature_store.t",
        7,
        8,
        columns=columns,
        index_key=("k", "other"),
    )
    assert found.whole == frozenset()
    assert found.touches <= {((("t", "k"),), 7), ((("t", "other"),), 8)}
    assert len(found.touches) == 1


CHAINED = "SELECT t.k, u.id FROM feature_store.t t JOIN feature_store.u u ON u.id = t.other"


def test_a_chain_counts_by_the_values_that_it_used(cursor, tables):
    store(cursor, tables, "t", (1, 7, 70), (2, 7, 71), (3, 8, 80))
    found = answer(cursor, tables, CHAINED, 7, columns=("k", "id"))
    assert found == Dependence(
        frozenset({((("t", "k"),), 7), ((("u", "id"),), 70), ((("u", "id"),), 71)}), frozenset()
    )


def test_a_chain_without_values_counts_by_what_it_starts_from(cursor, tables):
    found = answer(cursor, tables, CHAINED, 7, columns=("k", "id"))
    assert found == Dependence(frozenset({((("t", "k"),), 7)}), frozenset())


def test_a_chain_with_too_many_values_reads_its_table_whole(tables):
    form, made = planned(tables, CHAINED, {"k": pa.int64(), "id": pa.int64()}, ("k",))
    keys = convert_keys(form, Keys(("k",), ((7,),)))
    assert made.chains
    assert dependences(made, keys, {0: None}) == [
        Dependence(frozenset({((("t", "k"),), 7)}), frozenset({"u"}))
    ]


def test_of_several_keys_each_has_its_own_values_and_all_that_a_chain_used(cursor, tables):
    store(cursor, tables, "t", (1, 7, 70), (2, 8, 80))
    form, made = planned(tables, CHAINED, {"k": pa.int64(), "id": pa.int64()}, ("k",))
    keys = ConvertedKeys(form.columns[:1], ((8,), (7,)))
    chain = {((("u", "id"),), 70), ((("u", "id"),), 80)}
    assert [each.touches for each in dependences(made, keys, chain_values(cursor, made, keys))] == [
        {((("t", "k"),), 8), *chain},
        {((("t", "k"),), 7), *chain},
    ]


def test_of_several_keys_none_narrows_a_table_that_is_read_whole(tables):
    form, made = planned(
        tables,
        "SELECT k, sum(k) OVER () AS id FROM feature_store.t",
        {"k": pa.int64(), "id": pa.int64()},
        ("k",),
    )
    keys = ConvertedKeys(form.columns[:1], ((8,), (7,)))
    assert dependences(made, keys, {}) == [Dependence(frozenset(), frozenset({"t"}))] * 2


def test_a_publish_touches_the_values_before_and_after(cursor, tables):
    store(cursor, tables, "t", (1, 10, 100), (2, 20, 200))
    found = looked(cursor, tables, [Put("T", rows((1, 11, 101), (3, 30, None)))], t={"k", "other"})
    assert found == Touched(
        {"t": frozenset({"k", "other"})},
        {("t", "k"): {10, 11, 30}, ("t", "other"): {100, 101, None}},
    )


def test_only_watched_columns_are_looked_at(cursor, tables):
    found = looked(cursor, tables, [Put("t", rows((1, 11, 101)))], t={"k"}, u={"k"})
    assert found == Touched({"t": frozenset({"k"})}, {("t", "k"): {11}})
    found = looked(cursor, tables, [Put("t", rows((1, 11, 101)))])
    assert found == Touched({"t": frozenset()}, {})


def test_a_delete_touches_what_was_there(cursor, tables):
    store(cursor, tables, "t", (1, 10, 100), (2, 20, 200))
    found = looked(cursor, tables, [Remove("t", keys(2, 9))], t={"id", "k"})
    assert found.values == {("t", "id"): {2, 9}, ("t", "k"): {20}}


@pytest.mark.parametrize("count", [1, 64, 65, 300])
def test_few_and_many_rows_are_found_alike(cursor, tables, count):
    store(cursor, tables, "t", *((n, 1_000 + n, 0) for n in range(500)))
    ids = range(7, 7 + count)
    for operation in (Remove("t", keys(*ids)), Put("t", rows(*((n, 1_007, 5) for n in ids)))):
        found = looked(cursor, tables, [operation], t={"k"})
        assert found.values == {("t", "k"): {1_000 + n for n in ids}}


@pytest.mark.parametrize("count", [10_000, 10_001, 25_000])
def test_of_very_many_rows_each_one_counts(cursor, tables, count):
    put = rows(*((n, -n, 0) for n in range(count)))
    found = looked(cursor, tables, [Put("t", put)], t={"id", "k"})
    assert found.values == {("t", "id"): set(range(count)), ("t", "k"): {-n for n in range(count)}}


@pytest.mark.parametrize(
    ("type_", "values"), [(pa.string(), ["a'", "b\0", "ü"]), (pa.date32(), [dt.date(2024, 1, 1)])]
)
def test_rows_are_found_by_keys_of_other_types(cursor, type_, values):
    schema = [("id", type_), ("k", pa.int64())]
    tables = defined(cursor, t=(schema, ("id",)))
    stored = pa.table([values, list(range(len(values)))], pa.schema(schema))
    engine.apply(cursor, tables, [Put("t", stored)])
    found = looked(cursor, tables, [Remove("t", stored.select(["id"]))], t={"k"})
    assert found.values == {("t", "k"): set(range(len(values)))}


def test_rows_are_found_by_composite_keys(cursor):
    tables = defined(cursor, t=(INTS, ("id", "k")))
    store(cursor, tables, "t", (1, 1, 11), (1, 2, 12), (2, 1, 21))
    removed = pa.table({"id": pa.array([1], pa.int64()), "k": pa.array([2], pa.int64())})
    found = looked(cursor, tables, [Remove("t", removed)], t={"id", "other"})
    assert found.values == {("t", "id"): {1}, ("t", "other"): {12}}


def test_the_operations_of_a_group_count_together(cursor, tables):
    store(cursor, tables, "t", (1, 10, 100), (2, 20, 200), (3, 30, 300))
    operations = [
        Put("t", rows((1, 11, 0))),
        Put("u", rows((5, 50, 0))),
        Remove("t", keys(2)),
        Put("t", rows((1, 12, 0), (4, 40, 0))),
        Remove("t", keys(4)),
    ]
    found = looked(cursor, tables, operations, t={"k"}, u={"k"})
    assert found.values == {("t", "k"): {10, 11, 12, 20, 40}, ("u", "k"): {50}}
    assert found.value_count == 6


def test_a_table_without_a_primary_key_has_nothing_before(cursor, tables):
    store(cursor, tables, "log", (1, 10, 100))
    assert looked(cursor, tables, [Put("log", rows((1, 11, 0)))], log={"k"}).values == {("log", "k"): {11}}


def test_a_watched_column_that_is_not_there_any_more_is_looked_at_and_empty(cursor, tables):
    found = looked(cursor, tables, [Put("t", rows((1, 11, 0)))], t={"k", "gone"})
    assert found.values == {("t", "k"): {11}, ("t", "gone"): set()}


def test_a_change_of_definitions_touches_everything(cursor, tables):
    for operation in (Drop("t"), Define(tables["t"])):
        found = looked(cursor, tables, [operation], t={"k"})
        assert found.everything
        assert found.spoils(Dependence(frozenset(), frozenset()))


def test_what_a_write_spoils():
    write = Touched({"t": frozenset({"k", "other"})}, {("t", "k"): {7}, ("t", "other"): {8}})

    def spoils(*touches, whole=()):
        return write.spoils(Dependence(frozenset(touches), frozenset(whole)))

    assert spoils(((("t", "k"),), 7))
    assert spoils(((("t", "k"),), 6), ((("t", "other"),), 8))
    assert spoils(((("t", "late"),), 1)), "it did not look there"
    assert spoils(whole=["t", "u"])
    assert not spoils()
    assert not spoils(((("t", "k"),), 8), ((("t", "other"),), 7), ((("u", "k"),), 7), whole=["u"])
