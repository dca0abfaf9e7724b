"""What the engine does when nobody guards: why each guard in docs/facts.md is there.

A DuckDB in which one of these fails no longer needs that guard, or needs another.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

EMBRACED = "SELECT * FROM ({}) AS t WHERE k = $1"
"""How a query would be wrapped without a thought."""


@pytest.fixture
def bare():
    """DuckDB as it comes, without our profile."""
    with duckdb.connect(config={"threads": "2"}) as connection:
        connection.execute("CREATE TABLE t (k INTEGER, v INTEGER)")
        connection.execute("INSERT INTO t VALUES (1, 10), (2, 20)")
        yield connection


def names(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    return connection.execute(sql).to_arrow_table().column_names


def leaves_as(connection: duckdb.DuckDBPyConnection, expression: str) -> pa.DataType:
    return connection.execute(f"SELECT {expression} AS x").to_arrow_table().schema.field("x").type


def analyzed(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    [(_, found)] = connection.execute(f"EXPLAIN ANALYZE {sql}").fetchall()
    return " ".join(found.replace("│", " ").split())


def test_insert_or_replace_keeps_the_first_of_two_rows_with_one_key(bare):
    bare.execute("CREATE TABLE u (k INTEGER PRIMARY KEY, v INTEGER)")
    bare.execute("INSERT OR REPLACE INTO u VALUES (1, 1), (1, 2)")
    assert bare.execute("FROM u").fetchall() == [(1, 1)]


def test_a_sum_of_doubles_depends_on_the_order_of_its_terms(bare):
    terms = "(SELECT i, 1.0::DOUBLE / (i + 1) AS x FROM range(1000) AS r(i))"
    (sums,) = bare.execute(f"SELECT sum(x ORDER BY i), sum(x ORDER BY -i) FROM {terms}").fetchall()
    assert sums[0] != sums[1]
    assert sums[0] == pytest.approx(sums[1], rel=1e-9)


def test_a_sum_of_eighths_does_not_which_is_why_test_data_has_them(bare):
    terms = "(SELECT i, (i / 8)::DOUBLE AS x FROM range(1000) AS r(i))"
    (sums,) = bare.execute(f"SELECT sum(x ORDER BY i), sum(x ORDER BY hash(i)) FROM {terms}").fetchall()
    assert sums[0] == sums[1]


def test_a_pasted_text_can_leave_its_parentheses(bare):
    bare.execute("SELECT * FROM ({}) AS t".format("SELECT 1) t; DROP TABLE t; SELECT * FROM (SELECT 1"))
    with pytest.raises(duckdb.CatalogException):
        bare.execute("FROM t")


def test_a_trailing_comment_eats_what_follows_it_on_its_line(bare):
    with pytest.raises(duckdb.ParserException):
        bare.execute(EMBRACED.format("SELECT k FROM t -- all of them"), [1])


def test_a_parameter_in_the_text_captures_the_key(bare):
    rows = bare.execute(EMBRACED.format("SELECT k, $1 AS captured FROM t"), [2]).fetchall()
    assert rows == [(2, 2)]


def test_a_star_over_a_join_has_other_names_alone_than_wrapped(bare):
    join = "SELECT * FROM t JOIN t AS u USING (v)"
    assert names(bare, join) == ["k", "v", "k"]
    assert names(bare, f"SELECT * FROM ({join})") == ["k", "v", "k_1"]


def test_a_column_that_is_added_widens_a_star(bare):
    assert names(bare, "SELECT * FROM t") == ["k", "v"]
    bare.execute("ALTER TABLE t ADD COLUMN later INTEGER")
    assert names(bare, "SELECT * FROM t") == ["k", "v", "later"]


@pytest.mark.parametrize(
    ("text", "engine_type", "becomes"),
    [
        ("1.5", "INTEGER", "2"),
        (" 1", "INTEGER", "1"),
        ("0x1", "INTEGER", "1"),
        ("1_000", "INTEGER", "1000"),
        ("1e3", "INTEGER", "1000"),
        ("1.005", "DECIMAL(10,2)", "1.01"),
        ("2024-2-9", "DATE", "2024-02-09"),
        ("2024-02-29", "TIMESTAMP", "2024-02-29 00:00:00"),
    ],
)
def test_a_cast_makes_a_value_of_a_text_that_is_another(bare, text, engine_type, becomes):
    cast = f"CAST(CAST($1 AS {engine_type}) AS VARCHAR)"
    assert bare.execute(f"SELECT {cast}", [text]).fetchall() == [(becomes,)]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "UTC"])
def test_the_arrow_type_of_a_zoned_timestamp_follows_the_zone_of_the_session(bare, zone):
    bare.execute(f"SET TimeZone = '{zone}'")
    assert leaves_as(bare, "TIMESTAMPTZ '2024-02-29 00:00:00+00'") == pa.timestamp("us", zone)


@pytest.mark.parametrize(
    ("expression", "arrow"),
    [
        ("sum(1)", pa.decimal128(38, 0)),
        ("TIMESTAMP '2024-02-29' - TIMESTAMP '2024-02-28'", pa.month_day_nano_interval()),
        ("'a'::ENUM('a', 'b')", pa.dictionary(pa.uint8(), pa.string())),
    ],
)
def test_a_type_reaches_arrow_as_one_that_no_caller_expects(bare, expression, arrow):
    assert leaves_as(bare, expression) == arrow


@pytest.mark.parametrize("name", ["age", "current_localtime", "current_localtimestamp", "getvariable"])
def test_a_function_that_reads_clock_or_session_is_labelled_consistent(bare, name):
    labels = "SELECT DISTINCT stability FROM duckdb_functions() WHERE function_name = $1"
    assert bare.execute(labels, [name]).fetchall() == [("CONSISTENT",)]


def test_an_expression_in_order_by_means_the_table_inside_and_the_output_outside(bare):
    sql = "SELECT -k AS k FROM t ORDER BY k + 0"
    assert bare.execute(sql).fetchall() == [(-1,), (-2,)]
    assert bare.execute(f"SELECT * FROM ({sql}) ORDER BY k + 0").fetchall() == [(-2,), (-1,)]


def test_no_setting_ends_a_statement_that_takes_too_long(bare):
    with pytest.raises(duckdb.CatalogException, match="unrecognized configuration parameter"):
        bare.execute("SET max_execution_time = 1")


def test_a_prepared_statement_does_not_find_rows_beyond_those_that_were_there_when_it_was_planned(bare):
    bare.execute("PREPARE beyond AS SELECT count(*) FROM t WHERE v > 100")
    bare.execute("INSERT INTO t VALUES (3, 200)")
    assert bare.execute("EXECUTE beyond").fetchall() == [(0,)]
    assert bare.execute("SELECT count(*) FROM t WHERE v > 100").fetchall() == [(1,)]


@pytest.mark.parametrize(("threshold", "scan"), [(50, "Sequential Scan"), (100, "Index Scan")])
def test_a_join_with_few_rows_asks_an_index_if_there_are_no_more_than_a_setting_says(bare, threshold, scan):
    bare.execute("CREATE TABLE many AS SELECT i * 10 AS k FROM range(100_000) AS r(i)")
    bare.execute("CREATE INDEX many_k ON many (k)")
    bare.execute(f"SET dynamic_or_filter_threshold = {threshold}")
    keys = "SELECT unnest([i * 1000 FOR i IN range(60)]) AS k"
    assert scan in analyzed(bare, f"SELECT * FROM many WHERE k IN (SELECT k FROM ({keys}))")


def test_numbers_without_gaps_are_a_range_for_a_join_which_asks_no_index(bare):
    bare.execute("CREATE TABLE many AS SELECT i AS k FROM range(100_000) AS r(i)")
    bare.execute("CREATE INDEX many_k ON many (k)")
    for keys, scan in (("[7, 8, 9]", "Sequential Scan"), ("[7, 8, 10]", "Index Scan")):
        assert scan in analyzed(bare, f"SELECT * FROM many WHERE k IN (SELECT unnest({keys}))")
