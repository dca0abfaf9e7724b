import pytest

from featurestore.engine.sql_check import MAX_BYTES, parse
from featurestore.model.errors import InvalidArgument

REFUSED = [
    ("", "SQL_EMPTY"),
    (" \n\t", "SQL_EMPTY"),
    (";", "SQL_EMPTY"),
    ("-- nothing", "SQL_EMPTY"),
    ("/* nothing */ ;", "SQL_EMPTY"),
    ("SELECT '" + "x" * MAX_BYTES + "'", "SQL_TOO_LARGE"),
    ("selec 1", "SQL_SYNTAX"),
    ("SELECT 1 +", "SQL_SYNTAX"),
    ("SELECT 'open", "SQL_SYNTAX"),
    ('SELECT "open', "SQL_SYNTAX"),
    ("SELECT 1 /* open", "SQL_SYNTAX"),
    ("SELECT 'a\0b'", "SQL_SYNTAX"),
    ("SELECT '\ud800'", "SQL_SYNTAX"),
    ("select 1) t; drop table x; select * from (select 1", "SQL_SYNTAX"),
    ("SELECT 1; SELECT 2", "SQL_NOT_ONE_STATEMENT"),
    ("SELECT 1; DROP TABLE feature_store.t", "SQL_NOT_ONE_STATEMENT"),
    ("INSERT INTO feature_store.t VALUES (1)", "SQL_NOT_SELECT"),
    ("UPDATE feature_store.t SET a = 1", "SQL_NOT_SELECT"),
    ("DELETE FROM feature_store.t", "SQL_NOT_SELECT"),
    ("CREATE TABLE feature_store.t AS SELECT 1", "SQL_NOT_SELECT"),
    ("DROP TABLE feature_store.t", "SQL_NOT_SELECT"),
    ("COPY feature_store.t TO 'x.csv'", "SQL_NOT_SELECT"),
    ("ATTACH ':memory:' AS m", "SQL_NOT_SELECT"),
    ("SET threads = 1", "SQL_NOT_SELECT"),
    ("PRAGMA table_info('t')", "SQL_NOT_SELECT"),
    ("EXPLAIN SELECT 1", "SQL_NOT_SELECT"),
    ("SHOW TABLES", "SQL_NOT_SELECT"),
    ("SELECT * FROM (DESCRIBE SELECT 1)", "SQL_NOT_SELECT"),
    ("SUMMARIZE feature_store.t", "SQL_NOT_SELECT"),
    ("WITH d AS (DELETE FROM feature_store.t RETURNING *) SELECT * FROM d", "SQL_MODIFIES_DATA"),
    ("WITH d AS (INSERT INTO feature_store.t VALUES (1) RETURNING *) SELECT * FROM d", "SQL_MODIFIES_DATA"),
    ("SELECT $1", "SQL_PARAMETER"),
    ("SELECT ?", "SQL_PARAMETER"),
    ("SELECT $name", "SQL_PARAMETER"),
    ("SELECT ?, $1", "SQL_PARAMETER"),
    ("SELECT ?, $name", "SQL_PARAMETER"),
    ("SELECT * FROM feature_store.t WHERE a = (SELECT $1)", "SQL_PARAMETER"),
    ("SELECT random()", "SQL_FUNCTION"),
    ("SELECT uuid()", "SQL_FUNCTION"),
    ("SELECT nextval('s')", "SQL_FUNCTION"),
    ("SELECT getvariable('x')", "SQL_FUNCTION"),
    ("SELECT current_setting('threads')", "SQL_FUNCTION"),
    ("SELECT current_database()", "SQL_FUNCTION"),
    ("SELECT current_schema", "SQL_FUNCTION"),
    ('SELECT "user" FROM feature_store.t', "SQL_FUNCTION"),
    ("SELECT rowid FROM feature_store.t", "SQL_FUNCTION"),
    ("SELECT t.RowId FROM feature_store.t", "SQL_FUNCTION"),
    ("SELECT repeat('a', 3)", "SQL_FUNCTION"),
    ("SELECT pg_catalog.pg_sleep(1)", "SQL_FUNCTION"),
    ("SELECT a.repeat(9) FROM feature_store.t", "SQL_FUNCTION"),
    ("SELECT list_aggregate([1], 'sum')", "SQL_FUNCTION"),
    ("SELECT lpad('a', 100000000, 'b')", "SQL_FUNCTION"),
    ("SELECT lpad('a', length(b), 'b') FROM feature_store.t", "SQL_FUNCTION"),
    ("SELECT format('{:>300000000}', 'a')", "SQL_FUNCTION"),
    ("SELECT format('{:>{}}', 'a', 5)", "SQL_FUNCTION"),
    ("SELECT printf('%*d', 5, 1)", "SQL_FUNCTION"),
    ("SELECT range(10000000000)", "SQL_FUNCTION"),
    ("SELECT sum(a) OVER (ORDER BY random()) FROM feature_store.t", "SQL_FUNCTION"),
    ("SELECT a FROM feature_store.t GROUP BY a HAVING random() < a", "SQL_FUNCTION"),
    ("SELECT a FROM feature_store.t ORDER BY random()", "SQL_FUNCTION"),
    ("SELECT list_transform([1], x -> x + random())", "SQL_FUNCTION"),
    ("SELECT * REPLACE (random() AS a) FROM feature_store.t", "SQL_FUNCTION"),
    ("SELECT * FROM range(random()::INTEGER)", "SQL_FUNCTION"),
    ("SELECT fooo(1)", "UNKNOWN_FUNCTION"),
    ("SELECT * FROM read_csv('x')", "SQL_TABLE_FUNCTION"),
    ("SELECT * FROM duckdb_settings()", "SQL_TABLE_FUNCTION"),
    ("SELECT * FROM query('SELECT 1')", "SQL_TABLE_FUNCTION"),
    ("SELECT * FROM query_table('t')", "SQL_TABLE_FUNCTION"),
    ("SELECT * FROM repeat('a', 9)", "SQL_TABLE_FUNCTION"),
    ("SELECT * FROM feature_store.t TABLESAMPLE 10%", "SQL_SAMPLE"),
    ("SELECT * FROM feature_store.t USING SAMPLE 3", "SQL_SAMPLE"),
    ("SELECT * FROM (SELECT 1) TABLESAMPLE 10%", "SQL_SAMPLE"),
    ("SELECT a COLLATE nocase FROM feature_store.t", "SQL_UNSUPPORTED"),
    ("PIVOT feature_store.t ON a USING sum(b)", "SQL_UNSUPPORTED"),
    ("SELECT * FROM quotes", "UNKNOWN_TABLE"),
    ("SELECT * FROM 'x.csv'", "UNKNOWN_TABLE"),
    ("SELECT * FROM sqlite_master", "UNKNOWN_TABLE"),
    ("SELECT * FROM duckdb_tables", "UNKNOWN_TABLE"),
    ("SELECT * FROM information_schema.tables", "UNKNOWN_TABLE"),
    ("SELECT * FROM pg_catalog.pg_class", "UNKNOWN_TABLE"),
    ("SELECT * FROM memory.feature_store.t", "UNKNOWN_TABLE"),
    ("WITH sqlite_master AS (SELECT * FROM sqlite_master) SELECT * FROM sqlite_master", "UNKNOWN_TABLE"),
    ("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a", "UNKNOWN_TABLE"),
    ("SELECT (WITH a AS (SELECT 1) SELECT * FROM a), * FROM a", "UNKNOWN_TABLE"),
    ("SELECT 1 AS __fs_a", "SQL_RESERVED_NAME"),
    ('SELECT "__FS_a" FROM feature_store.t', "SQL_RESERVED_NAME"),
    ("WITH __fs AS (SELECT 1) SELECT * FROM __fs", "SQL_RESERVED_NAME"),
    ("SELECT 1 FROM feature_store.t AS __fs_query", "SQL_RESERVED_NAME"),
    ("SELECT * FROM (VALUES (1)) AS v(__fs_a)", "SQL_RESERVED_NAME"),
]


@pytest.mark.parametrize(("sql", "reason"), REFUSED)
def test_what_is_not_one_pure_select_is_refused(sql, reason):
    with pytest.raises(InvalidArgument) as refused:
        parse(sql)
    assert refused.value.reason == reason
    assert "duckdb" not in refused.value.message.lower() or reason in (
        "SQL_SYNTAX",
        "SQL_TABLE_FUNCTION",
        "UNKNOWN_TABLE",
    )


ACCEPTED = [
    "SELECT 1",
    "select 1;",
    "SELECT 1 ;;  -- and a comment",
    "SELECT ';' AS a -- a trailing comment; with a semicolon",
    "(SELECT 1 AS a) UNION ALL (SELECT 2) ORDER BY a LIMIT 1",
    "FROM feature_store.t",
    "FROM FEATURE_STORE.t SELECT a",
    "VALUES (1), (2)",
    "TABLE feature_store.t",
    "WITH a AS (SELECT 1), b AS (SELECT * FROM A) SELECT * FROM b JOIN a ON true",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r",
    "SELECT * FROM range(3), generate_series(1, 2), unnest([1])",
    "SELECT * FROM feature_store.t AS q, LATERAL (SELECT q.a + 1) AS u",
    "SELECT q.user FROM feature_store.t AS q",
    "SELECT row_number() OVER w FROM feature_store.t WINDOW w AS (PARTITION BY a ORDER BY b)",
    "SELECT a FROM feature_store.t GROUP BY ALL HAVING count(*) > 1 QUALIFY rank() OVER (ORDER BY a) = 1",
    "SELECT a, grouping(a) FROM feature_store.t GROUP BY CUBE (a)",
    "SELECT * EXCLUDE (a) RENAME (b AS c) FROM feature_store.t",
    "SELECT COLUMNS('a.*'), COLUMNS(c -> c LIKE 'b%') FROM feature_store.t",
    "PIVOT feature_store.t ON a IN (1, 2) USING sum(b)",
    "UNPIVOT feature_store.t ON a, b INTO NAME n VALUE v",
    "SELECT * FROM feature_store.t ASOF JOIN feature_store.u USING (a, b)",
    "SELECT * FROM feature_store.t POSITIONAL JOIN feature_store.u",
    "SELECT EXISTS (SELECT 1), 1 IN (SELECT 2), 3 > ALL (SELECT 4), ARRAY(SELECT 5)",
    "SELECT x'ab', 5!, @ -1, 2 ** 3, 7 // 2, 'a' ^@ 'b', ~1, 1 << 2, 1 & 3 | 4",
    "SELECT 'a' LIKE 'b' ESCAPE '$', 'a' NOT ILIKE 'b', 'a' SIMILAR TO 'b', 'a' GLOB 'b', 'a' ~ 'b'",
    "SELECT extract(year FROM d), d AT TIME ZONE 'UTC', INTERVAL 1 DAY, INTERVAL (a) HOUR FROM feature_store.t",
    "SELECT a[1], a[1:2], b.c, (b).c, {'x': 1}, MAP {'x': 1}, [y + 1 FOR y IN a IF y > 1] FROM feature_store.t",
    "SELECT list_transform(a, lambda y: y + 1), list_reduce(a, lambda x, y: x + y) FROM feature_store.t",
    "SELECT TRY_CAST(a AS INTEGER), a::DECIMAL(10, 2), a::STRUCT(x INTEGER), a::ENUM('x'), TRY(a) FROM feature_store.t",
    "SELECT CASE a WHEN 1 THEN 2 ELSE 3 END, coalesce(a, b), ifnull(a, b), nullif(a, b), if(a, b, c) FROM feature_store.t",
    "SELECT count(*) FILTER (WHERE a), count(DISTINCT a), quantile_cont(a, 0.5) FROM feature_store.t",
    "SELECT lpad('7', 8, '0'), printf('%05.2f', 1.5), format('{:02d} {{}}', 7), range(3), range(0, 5, 2)",
    "SELECT unnest(generate_series(d, e, INTERVAL 1 DAY)) FROM feature_store.t",
    "SELECT trim(a), substring(a FROM 1 FOR 2), position('a' IN a), j->>'$.x', j->'$.y' FROM feature_store.t",
]


@pytest.mark.parametrize("sql", ACCEPTED)
def test_one_pure_select_is_accepted(sql):
    assert parse(sql).sql in sql


def test_the_trailing_semicolon_goes_and_everything_before_it_stays():
    checked = parse("-- features\nSELECT 1 -- one\n; -- end")
    assert checked.sql == "-- features\nSELECT 1 -- one"


def test_an_error_tells_line_and_character_counted_in_characters_not_bytes():
    cases = {
        "SELECT 'äöü',\n  'ä' )": ("2", "7"),
        "SELECT 'äöü',\n  'ä', random()": ("2", "8"),
        "selec 1": ("1", "1"),
    }
    for sql, place in cases.items():
        with pytest.raises(InvalidArgument) as refused:
            parse(sql)
        assert (refused.value.details["line"], refused.value.details["character"]) == place
        assert f"line {place[0]}, character {place[1]}" in refused.value.message


def test_a_near_function_is_named():
    with pytest.raises(InvalidArgument, match="did you mean date_trunc"):
        parse("SELECT date_trun('day', a) FROM feature_store.t")


def test_an_unqualified_table_is_told_where_tables_live():
    with pytest.raises(InvalidArgument, match=r"write feature_store\.quotes"):
        parse("SELECT * FROM quotes")


def test_tables_are_listed_once_ignoring_case():
    checked = parse("SELECT * FROM feature_store.users u, feature_store.Quotes, Feature_Store.USERS")
    assert [name.lower() for name in checked.tables] == ["quotes", "users"]


DEEP = [
    "(" * 30_000 + "SELECT 1" + ")" * 30_000,
    "SELECT " + "(" * 32_000 + "1",
    "SELECT * FROM (" * 4_000 + "SELECT 1" + ")" * 4_000,
    "SELECT 1" + "+1" * 30_000,
    "SELECT " + "NOT " * 16_000 + "true",
    "SELECT " + "[" * 30_000 + "]" * 30_000,
    "SELECT " + "abs(" * 900 + "1" + ")" * 900,
    "SELECT " + "CASE WHEN 1 THEN " * 900 + "1" + " END" * 900,
    "SELECT 1" + "::INTEGER" * 7_000,
    "SELECT a" + "[1]" * 900,
    "SELECT a" + ".abs()" * 900,
    "SELECT 1::INTEGER" + "[]" * 900,
    "SELECT 1::" + "STRUCT(a " * 900 + "INTEGER" + ")" * 900,
    "WITH a AS (" * 900 + "SELECT 1" + ") SELECT 1" * 900,
    "SELECT * FROM feature_store.t" + " NATURAL JOIN feature_store.t" * 2_000,
    "SELECT 1" + " EXCEPT SELECT 1" * 4_000,
]


@pytest.mark.parametrize("sql", DEEP, ids=range(len(DEEP)))
def test_depth_is_refused_politely(sql):
    with pytest.raises(InvalidArgument) as refused:
        parse(sql)
    assert refused.value.reason == "SQL_TOO_DEEP"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "+".join("1" * 200),
        "SELECT 1 IN (" + ", ".join(map(str, range(5_000))) + ")",
        "SELECT true" + " AND true" * 3_000,
        "SELECT 1" + " UNION ALL SELECT 1" * 1_000,
    ],
    ids=["sum", "in", "and", "union"],
)
def test_long_is_not_deep(sql):
    assert parse(sql).sql == sql


@pytest.mark.parametrize(
    "call",
    [
        "now()",
        "current_date",
        "current_timestamp",
        "current_time",
        "today()",
        "localtime",
        "localtimestamp",
        "get_current_timestamp()",
        "transaction_timestamp()",
        "current_localtime()",
        "current_localtimestamp()",
        "ago(INTERVAL 1 DAY)",
        "age(TIMESTAMP '2024-02-29')",
    ],
)
def test_the_clock_may_be_read_and_is_warned_of(call):
    checked = parse(f"SELECT {call}")
    assert checked.uses_clock
    assert [warning.reason for warning in checked.warnings] == ["CLOCK"]


def test_age_between_two_times_reads_no_clock():
    assert not parse("SELECT age(TIMESTAMP '2024-02-29', TIMESTAMP '2024-02-28')").uses_clock


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT row_number() OVER (ORDER BY a) FROM feature_store.t",
        "SELECT lag(a) OVER (ORDER BY a) FROM feature_store.t",
        "SELECT * FROM feature_store.t ORDER BY a LIMIT 3",
        "SELECT * FROM (SELECT * FROM feature_store.t LIMIT 10%)",
        "SELECT DISTINCT ON (a) a, b FROM feature_store.t",
        "SELECT first(a) FROM feature_store.t",
        "SELECT any_value(a) FROM feature_store.t",
        "SELECT arg_max(a, b) FROM feature_store.t",
        "SELECT list(a) FROM feature_store.t",
        "SELECT list(a ORDER BY b) FROM feature_store.t",
        "SELECT string_agg(a, ',') FROM feature_store.t",
        "SELECT mode(a) FROM feature_store.t",
    ],
)
def test_what_hangs_on_ties_or_input_order_is_warned_of(sql):
    assert [warning.reason for warning in parse(sql).warnings] == ["UNDETERMINED"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT DISTINCT a FROM feature_store.t ORDER BY a",
        "SELECT list_sort(list(a)), array_agg(b ORDER BY b DESC) FROM feature_store.t",
        "SELECT list(a ORDER BY a), string_agg(lower(b), ',' ORDER BY lower(b) DESC) FROM feature_store.t",
        "SELECT rank() OVER (ORDER BY a), sum(a), max(b) FROM feature_store.t GROUP BY b",
    ],
)
def test_what_is_determined_is_not_warned_of(sql):
    assert parse(sql).warnings == ()
