import threading
from datetime import date, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

from featurestore.engine import order, profile
from featurestore.engine.describe import describe
from featurestore.engine.failures import translate
from featurestore.engine.key_values import convert_keys
from featurestore.engine.outputs import finish
from featurestore.engine.sql_check import parse
from featurestore.engine.wrapping import serving_sql, training_sql
from featurestore.model.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted
from featurestore.model.query import QueryForm
from featurestore.model.serving import Keys


@pytest.fixture
def engine():
    with profile.connect(threads=2, memory_limit="300MB") as connection:
        connection.execute("CREATE TABLE feature_store.t (k INTEGER, v VARCHAR)")
        connection.execute("INSERT INTO feature_store.t VALUES (1, 'a'), (2, 'b'), (2, 'c'), (NULL, 'd')")
        yield connection


def form_of(engine, sql):
    checked = parse(sql)
    columns = describe(engine.cursor(), checked.sql)
    return QueryForm(checked.sql, columns, order.terms(checked.order, columns)[0])


def run(engine, sql, form):
    try:
        return finish(engine.cursor().execute(sql).to_arrow_table(), form)
    except (duckdb.Error, OSError) as error:  # as the services do
        raise translate(error) from error


def trained(engine, sql):
    form = form_of(engine, sql)
    return run(engine, training_sql(form), form)


def served(engine, sql, *tuples, by=("k",)):
    form = form_of(engine, sql)
    return run(engine, serving_sql(form, convert_keys(form, Keys(tuple(by), tuples))), form)


def test_training_and_serving_are_one_text_up_to_the_where_clause(engine):
    form = form_of(engine, "SELECT k, v FROM feature_store.t")
    keys = convert_keys(form, Keys(("k",), ((1,),)))
    assert serving_sql(form, keys).startswith(training_sql(form) + "\nWHERE ")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT k, v FROM feature_store.t -- a trailing comment",
        "SELECT k, v FROM feature_store.t; -- a trailing comment",
        "SELECT k, v FROM feature_store.t /* a block */",
        "(SELECT k, v FROM feature_store.t)",
        "FROM feature_store.t",
        "WITH x AS (SELECT * FROM feature_store.t) SELECT * FROM x ORDER BY k LIMIT 100",
        "SELECT k, v FROM feature_store.t WHERE v <> ')' AND v <> '--'",
    ],
)
def test_any_query_can_be_wrapped(engine, sql):
    assert trained(engine, sql).num_rows == 4
    assert sorted(served(engine, sql, (2,))["v"].to_pylist()) == ["b", "c"]


def test_one_key_many_keys_and_absent_keys(engine):
    sql = "SELECT k, v FROM feature_store.t ORDER BY v"
    assert served(engine, sql, (9,)).num_rows == 0
    assert served(engine, sql, (1,), (9,), (2,), (1,))["v"].to_pylist() == ["a", "b", "c"]


def test_a_composite_key_matches_whole_tuples_only(engine):
    rows = served(engine, "SELECT k, v FROM feature_store.t", (1, "b"), (2, "b"), (2, "a"), by=("k", "v"))
    assert rows.to_pylist() == [{"k": 2, "v": "b"}]


def test_a_key_that_looks_like_sql_is_a_value(engine):
    sql = "SELECT v AS k FROM feature_store.t"
    for value in ("' OR '1'='1", "a'); DROP TABLE feature_store.t; --", "a\0", "a\\"):
        assert served(engine, sql, (value,)).num_rows == 0
    assert trained(engine, sql).num_rows == 4


def test_odd_column_names_survive(engine):
    sql = 'SELECT k, v AS "a ""b"" -- c", v AS "select", v AS "t" FROM feature_store.t'
    assert served(engine, sql, (1,)).to_pylist() == [{"k": 1, 'a "b" -- c': "a", "select": "a", "t": "a"}]


def test_a_column_added_later_does_not_widen_an_old_star(engine):
    form = form_of(engine, "SELECT * FROM feature_store.t")
    engine.execute("ALTER TABLE feature_store.t ADD COLUMN later INTEGER")
    assert run(engine, training_sql(form), form).column_names == ["k", "v"]


def test_the_result_has_exactly_the_stored_schema(engine):
    sql = """
        SELECT k, sum(k) AS total, list(k) AS ks, [k]::INTEGER[1] AS one, {'h': sum(k), 'e': 'x'::ENUM('x')} AS s,
          max(TIMESTAMP '2024-02-29' - TIMESTAMP '2024-02-28') AS gap, any_value('x'::ENUM('x')) AS e,
          max('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID) AS u, max(TIMESTAMPTZ '2024-02-29 00:00:00+00') AS at
        FROM feature_store.t GROUP BY k
    """
    form = form_of(engine, sql)
    for rows in (trained(engine, sql), served(engine, sql, (2,))):
        assert rows.schema.equals(form.schema, check_metadata=True)
        assert [str(field) for field in rows.schema] == [str(field) for field in form.schema]
        rows.validate(full=True)
    (row,) = served(engine, sql, (2,)).drop_columns(["at"]).to_pylist()
    assert row == {
        "k": 2,
        "total": 4,
        "ks": [2, 2],
        "one": [2],
        "s": {"h": 4, "e": "x"},
        "gap": timedelta(days=1),
        "e": "x",
        "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    }


def test_batches_are_finished_like_whole_tables(engine):
    form = form_of(engine, "SELECT i AS k, INTERVAL (i) SECOND AS gap FROM range(5000) AS r(i)")
    batches = [
        finish(each, form) for each in engine.cursor().execute(training_sql(form)).to_arrow_reader(2048)
    ]
    assert {batch.schema for batch in batches} == {form.schema}
    assert pa.Table.from_batches(batches).num_rows == 5000


def test_an_empty_result_has_the_schema_too(engine):
    sql = "SELECT k, sum(k) AS n, max(INTERVAL 1 DAY) AS gap FROM feature_store.t WHERE k > 9 GROUP BY k"
    assert trained(engine, sql).schema == form_of(engine, sql).schema


def test_a_sum_beyond_64_bits_is_an_error_not_another_number(engine):
    with pytest.raises(InvalidArgument) as refused:
        trained(engine, "SELECT sum(9223372036854775807) AS n FROM feature_store.t")
    assert refused.value.reason == "SQL_VALUE"


@pytest.mark.parametrize("interval", ["1 MONTH", "1 YEAR", "12 MONTH", "-1 MONTH", "-13 MONTH"])
def test_an_interval_with_months_is_an_error_that_names_date_diff(engine, interval):
    with pytest.raises(InvalidArgument, match=r"column gap .* date_diff") as refused:
        trained(engine, f"SELECT INTERVAL '{interval}' AS gap")
    assert refused.value.reason == "INTERVAL_MONTHS"


def test_an_interval_with_months_of_another_key_is_no_error(engine):
    sql = "SELECT k, CASE WHEN k = 2 THEN INTERVAL 1 MONTH ELSE INTERVAL 36 HOUR END AS gap FROM feature_store.t"
    assert served(engine, sql, (1,))["gap"].to_pylist() == [timedelta(hours=36)]


@pytest.mark.parametrize(
    ("interval", "wanted"),
    [
        ("-1 DAY 3 MICROSECONDS", timedelta(days=-1, microseconds=3)),
        ("100000 DAYS", timedelta(days=100_000)),
        ("0 DAYS", timedelta(0)),
    ],
)
def test_an_interval_leaves_as_microseconds_a_day_having_24_hours(engine, interval, wanted):
    assert trained(engine, f"SELECT INTERVAL '{interval}' AS gap")["gap"].to_pylist() == [wanted]


def test_an_order_by_columns_holds_outside(engine):
    sql = "SELECT k, v FROM feature_store.t ORDER BY k DESC NULLS FIRST, v"
    assert trained(engine, sql)["v"].to_pylist() == ["d", "b", "c", "a"]
    assert served(engine, sql, (1,), (2,))["v"].to_pylist() == ["b", "c", "a"]


def test_an_enum_is_ordered_as_inside_not_by_its_text(engine):
    sql = "SELECT v::ENUM('d', 'c', 'b', 'a') AS e FROM feature_store.t ORDER BY e"
    assert trained(engine, sql)["e"].to_pylist() == ["d", "c", "b", "a"]


def test_a_bare_name_in_order_by_means_the_output_column(engine):
    # On this hangs that a name may be repeated outside.
    sql = "SELECT -k AS k, k AS other FROM feature_store.t WHERE k IS NOT NULL ORDER BY k"
    assert engine.execute(sql).fetchall() == sorted(engine.execute(sql).fetchall())
    assert trained(engine, sql)["k"].to_pylist() == [-2, -2, -1]


def test_a_key_finds_the_index(engine):
    engine.execute("CREATE TABLE feature_store.big AS SELECT i AS k, i % 7 AS v FROM range(100000) AS r(i)")
    engine.execute("CREATE INDEX big_k ON feature_store.big (k)")
    form = form_of(engine, "SELECT k, v FROM feature_store.big")
    sql = serving_sql(form, convert_keys(form, Keys(("k",), ((5,),))))
    plan = engine.execute(f"EXPLAIN ANALYZE {sql}").fetchall()[0][1]
    assert "Index Scan" in plan


def test_typed_keys_of_every_kind_find_their_rows(engine):
    cases = {
        "true": True,
        "7::TINYINT": 7,
        "1.50::DECIMAL(10,2)": Decimal("1.5"),
        "'x'": "x",
        "DATE '2024-02-29'": date(2024, 2, 29),
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "'\\x00'::BLOB": b"\0",
        "TIMESTAMPTZ '2024-02-29 12:00:00+09:00'": "2024-02-29T03:00:00Z",
        "170141183460469231731687303715884105727::HUGEINT % 1000": 727,
    }
    for expression, value in cases.items():
        assert served(engine, f"SELECT {expression} AS k", (value,)).num_rows == 1, expression


def test_rows_of_another_query_are_refused(engine):
    form = form_of(engine, "SELECT k, v FROM feature_store.t")
    with pytest.raises(pa.ArrowInvalid, match="not those of the query"):
        finish(pa.table({"v": ["a"], "k": [1]}), form)


@pytest.mark.parametrize(
    "read", [lambda cursor: cursor.fetchall(), lambda cursor: cursor.to_arrow_reader(2048).read_all()]
)
def test_a_failure_on_the_data_is_the_querys_own(engine, read):
    sql = "SELECT CASE WHEN i = 190000 THEN 'x' ELSE '1' END::INTEGER FROM range(200000) r(i)"
    with pytest.raises((duckdb.Error, OSError)) as raised:
        read(engine.cursor().execute(sql))
    ours = translate(raised.value)
    assert (type(ours), ours.reason) == (InvalidArgument, "SQL_VALUE")
    assert "exception_type" not in ours.message


def test_an_interrupt_is_a_deadline(engine):
    cursor = engine.cursor()
    timer = threading.Timer(0.2, cursor.interrupt)
    timer.start()
    with pytest.raises(duckdb.InterruptException) as raised:
        cursor.execute(
            "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 3"
        ).fetchall()
    timer.join()
    assert isinstance(translate(raised.value), DeadlineExceeded)


def test_memory_used_up_is_resource_exhausted():
    with (
        profile.connect(threads=1, memory_limit="20MB") as small,
        pytest.raises(ResourceExhausted) as raised,
    ):
        trained(small, "SELECT list(i ORDER BY hash(i)) AS l FROM range(100000000) AS r(i)")
    assert raised.value.reason == "QUERY_MEMORY"
