"""Which tables a key reaches, by example: the two laws and what stops them."""

import pytest

from featurestore.engine.planner import ReadSet, plan
from featurestore.model.errors import InvalidArgument
from tests.support.planning import Planning

COLUMNS = "k BIGINT, j BIGINT, s VARCHAR, i INTEGER, v DOUBLE, ts TIMESTAMP, xs BIGINT[], p STRUCT(k BIGINT)"
T, Q, U = "feature_store.t", "feature_store.q", "feature_store.u"


@pytest.fixture(scope="module")
def planning():
    return Planning(t=COLUMNS, q=COLUMNS, u=COLUMNS)


CASES = [
    # The two laws
    (f"SELECT * FROM {T}", ["k"]),
    (f"SELECT k AS other, s AS k FROM {T}", ["s"]),
    (f"SELECT q.k, t.v FROM {Q} JOIN {T} ON q.k = t.k", ["k", "k"]),
    (f"SELECT q.k, t.v FROM {Q}, {T} WHERE q.k = t.k AND t.v > 0", ["k", "k"]),
    (f"SELECT q.k, t.v FROM {Q} JOIN {T} ON q.k = t.k LIMIT 10", ["LIMIT", "LIMIT"]),
    (
        f"SELECT q.k, l.v FROM {Q}, LATERAL (SELECT v FROM {T} WHERE t.k = q.k ORDER BY ts DESC LIMIT 1) AS l",
        ["k", "k"],
    ),
    (f"SELECT k, (SELECT max(v) FROM {T} WHERE t.k = q.k) AS top FROM {Q}", ["k", "k"]),
    (f"SELECT k, (SELECT max(v) FROM {T}) AS top FROM {Q}", ["CORRELATED", "k"]),
    (f"SELECT q.k, q.j FROM {Q} JOIN {T} ON q.k = t.k OFFSET 1", ["LIMIT", "LIMIT"]),
    # Operators
    (f"SELECT k, count(*) AS n FROM {T} GROUP BY k", ["k"]),
    (f"SELECT k, s, count(*) AS n FROM {T} GROUP BY 1, 2", ["k"]),
    (f"SELECT k, count(*) AS n FROM {T} GROUP BY ALL", ["k"]),
    (f"SELECT k, s, count(*) AS n FROM {T} GROUP BY GROUPING SETS ((k, s), (s), ())", ["k"]),
    (f"SELECT k, s, count(*) AS n FROM {T} GROUP BY CUBE (k, s)", ["k"]),
    (f"SELECT max(k) AS k FROM {T} GROUP BY j", ["GROUP_BY"]),
    (f"SELECT j, max(k) AS k FROM {T} GROUP BY ALL", ["GROUP_BY"]),
    (f"SELECT max(k) AS k FROM {T}", ["GLOBAL_AGGREGATE"]),
    (f"SELECT k + 1 AS k FROM {T}", ["EXPRESSION"]),
    (f"SELECT unnest(xs) AS k FROM {T}", ["untied"]),
    (f"SELECT DISTINCT s, k FROM {T}", ["k"]),
    (f"SELECT DISTINCT ON (k, s) k, v FROM {T} ORDER BY k, s, v", ["k"]),
    (f"SELECT DISTINCT ON (2) v, k FROM {T} ORDER BY 2, 1", ["k"]),
    (f"SELECT DISTINCT ON (s) k, v FROM {T} ORDER BY s, v", ["DISTINCT_ON"]),
    (f"SELECT k, sum(v) OVER (PARTITION BY s, k) AS n FROM {T}", ["k"]),
    (
        f"SELECT k, sum(v) OVER w AS n, rank() OVER (w ORDER BY v) AS r FROM {T} WINDOW w AS (PARTITION BY k)",
        ["k"],
    ),
    (f"SELECT k, sum(v) OVER w AS n FROM {T} WINDOW w AS (ORDER BY v)", ["WINDOW"]),
    (f"SELECT k, sum(v) OVER (PARTITION BY 1) AS n FROM {T}", ["WINDOW"]),
    (f"SELECT k FROM {T} QUALIFY row_number() OVER (PARTITION BY k ORDER BY ts) = 1", ["k"]),
    (f"SELECT k FROM {T} QUALIFY row_number() OVER (ORDER BY ts) = 1", ["WINDOW"]),
    (f"SELECT k, j FROM {T} QUALIFY k = j AND count(*) OVER (PARTITION BY k) > 1", ["k"]),
    # Joins
    (f"SELECT q.k FROM {Q} LEFT JOIN {T} ON q.k = t.k", ["k", "k"]),
    (f"SELECT t.k FROM {Q} LEFT JOIN {T} ON q.k = t.k", ["k", "k"]),
    (f"SELECT q.k FROM {Q} LEFT JOIN {T} ON q.k = t.k AND q.j = t.k", ["k", "k"]),
    (f"SELECT q.k FROM {Q} FULL JOIN {T} ON q.k = t.k", ["k", "k"]),
    (f"SELECT k FROM {Q} FULL JOIN {T} USING (k)", ["k", "k"]),
    (f"SELECT k FROM {Q} RIGHT JOIN {T} USING (k)", ["k", "k"]),
    (f"SELECT k FROM {Q} JOIN {T} USING (k, k)", ["k", "k"]),
    (f"SELECT k FROM (SELECT k, s FROM {Q}) NATURAL JOIN (SELECT k, v FROM {T})", ["k", "k"]),
    (f"SELECT q.k FROM {Q} SEMI JOIN {T} USING (k)", ["k", "k"]),
    (f"SELECT q.k FROM {Q} ANTI JOIN {T} ON t.k = q.k", ["k", "k"]),
    (f"SELECT q.k, t.v FROM {Q} ASOF JOIN {T} ON q.k = t.k AND q.ts >= t.ts", ["k", "k"]),
    (f"SELECT q.j, t.s AS k FROM {Q} ASOF JOIN {T} ON q.k = t.k AND q.ts >= t.ts", ["untied", "untied"]),
    (f"SELECT q.k, t.v FROM {Q} POSITIONAL JOIN {T}", ["POSITIONAL", "POSITIONAL"]),
    (f"SELECT q.k, t.v FROM {Q} JOIN {T} ON q.k IS NOT DISTINCT FROM t.k", ["k", "EQUALITY"]),
    (f"SELECT q.k, t.v FROM {Q} JOIN {T} ON q.k = t.k OR t.v > 0", ["k", "CONJUNCT"]),
    (f"SELECT q.k, t.v FROM {Q}, {T} WHERE q.k = t.k OR t.v > 0", ["k", "CONJUNCT"]),
    (f"SELECT q.k, t.v FROM {Q} JOIN {T} ON q.k = t.i", ["k", "SAME_TYPE"]),
    (f"SELECT q.s AS k, t.v FROM {Q} JOIN {T} ON q.s = t.k", ["s", "SAME_TYPE"]),
    (f"SELECT q.k, t.v FROM {Q}, {T}", ["k", "untied"]),
    (
        f"SELECT q.k, t.v FROM {Q}, {U} AS u JOIN {T} ON t.k = q.k AND t.j = u.j WHERE u.k = q.k",
        ["k", "k", "j<-chain"],
    ),
    # Set operations
    (f"SELECT k FROM {T} UNION SELECT j FROM {Q}", ["k", "j"]),
    (f"SELECT k FROM {T} UNION ALL SELECT i FROM {Q}", ["k", "SAME_TYPE"]),
    (f"SELECT k, j FROM {T} UNION ALL BY NAME SELECT j, k FROM {Q}", ["k", "k"]),
    (f"SELECT k, j FROM {T} UNION ALL BY NAME SELECT j FROM {Q}", ["k", "SET_OPERATION"]),
    (f"SELECT k FROM {T} EXCEPT SELECT k FROM {Q}", ["k", "k"]),
    (f"SELECT k FROM {T} INTERSECT ALL SELECT j FROM {Q}", ["k", "j"]),
    (f"(SELECT k FROM {T} UNION SELECT k FROM {Q}) LIMIT 3", ["LIMIT", "LIMIT"]),
    # Subqueries
    (f"SELECT k FROM {Q} WHERE k IN (SELECT j FROM {T})", ["k", "j"]),
    (f"SELECT k FROM {Q} WHERE k = ANY (SELECT j FROM {T})", ["k", "j"]),
    (f"SELECT k FROM {Q} WHERE k NOT IN (SELECT j FROM {T})", ["k", "IN_SUBQUERY"]),
    (f"SELECT k FROM {Q} WHERE k <> ALL (SELECT j FROM {T})", ["k", "IN_SUBQUERY"]),
    (f"SELECT k FROM {Q} WHERE v > 1 OR k IN (SELECT j FROM {T})", ["k", "IN_SUBQUERY"]),
    (f"SELECT k, k IN (SELECT j FROM {T}) AS b FROM {Q}", ["IN_SUBQUERY", "k"]),
    (f"SELECT k FROM {Q} WHERE EXISTS (SELECT 1 FROM {T} WHERE t.k = q.k)", ["k", "k"]),
    (f"SELECT k FROM {Q} WHERE NOT EXISTS (SELECT 1 FROM {T} WHERE t.j = q.k)", ["k", "j"]),
    (f"SELECT k FROM {Q} WHERE v > 1 OR EXISTS (SELECT 1 FROM {T} WHERE t.k = q.k)", ["k", "k"]),
    # WITH
    (f"WITH c AS (SELECT * FROM {T}) SELECT k FROM c", ["k"]),
    (f"WITH c AS (SELECT * FROM {T}) SELECT a.k FROM c AS a JOIN c AS b ON a.k = b.k", ["k"]),
    (f"WITH c AS (SELECT * FROM {T}) SELECT a.k FROM c AS a JOIN c AS b ON a.j = b.j", ["CTE_REFERENCES"]),
    (f"WITH t AS (SELECT j AS k FROM {Q}) SELECT t.k FROM t JOIN {T} AS x USING (k)", ["j", "k"]),
    (f"WITH c AS (SELECT 1 AS one FROM {U}) SELECT k FROM {T}", ["untied", "k"]),
    (
        f"WITH RECURSIVE r(k, n) AS (SELECT k, 0 FROM {T} UNION SELECT q.j, n + 1 FROM r JOIN {Q} ON q.k = r.k WHERE n < 3) SELECT k, n FROM r",
        ["RECURSION", "RECURSION"],
    ),
    (f"SELECT k, total FROM {Q}, (SELECT sum(v) AS total FROM {T})", ["k", "GLOBAL_AGGREGATE"]),
    # Stars and names
    (f"SELECT * EXCLUDE (j, xs, p), j AS other FROM {T}", ["k"]),
    (f"SELECT * REPLACE (k + 1 AS k) FROM {T}", ["EXPRESSION"]),
    (f"SELECT * RENAME (s AS k, k AS s) FROM {T}", ["s"]),
    (f"SELECT x.* FROM {T} AS x(a, k)", ["j"]),
    (f'SELECT "K" FROM {T} AS "Ü ä" WHERE "Ü ä".k > 0', ["k"]),
    (f"SELECT p.k FROM {T}", ["EXPRESSION"]),
    (f"SELECT COLUMNS('j|k') FROM {T}", ["untied"]),
    (f"SELECT t.k FROM {T} UNPIVOT (val FOR name IN (v)) AS t", ["PIVOT"]),
    (f"SELECT feature_store.t.k FROM {T}", ["untied"]),
]


@pytest.mark.parametrize(("sql", "verdicts"), CASES, ids=[sql for sql, _ in CASES])
def test_each_table_is_narrowed_or_stopped_as_it_should(planning, sql, verdicts):
    key = next(column.name for column in planning.form(sql).columns if column.name.lower() == "k")
    assert planning.verdicts(sql, key) == verdicts


def test_a_composite_key_narrows_on_each_part(planning):
    assert planning.verdicts(f"SELECT k, s, v FROM {T}", "s", "k") == ["s k"]
    assert planning.verdicts(f"SELECT q.k, t.s FROM {Q} JOIN {T} USING (k)", "k", "s") == ["k", "k s"]


def test_a_read_set_is_the_first_narrowing_or_the_whole_table(planning):
    found = planning.plan(f"SELECT q.k, q.s, t.v, u.v AS w FROM {Q} JOIN {T} ON t.j = q.j, {U}", "k", "s")
    assert [each.read_set for each in found.occurrences] == [
        ReadSet("q", "k", 0),
        ReadSet("t", "j", chain=0),
        ReadSet("u"),
    ]


def test_a_case_of_names_other_than_ascii_tells_two_columns_apart():
    planning = Planning(t='"ä" BIGINT, "Ä" BIGINT, k BIGINT')
    assert planning.verdicts(f'SELECT "Ä" AS k FROM {T}') == ["Ä"]


def test_a_key_must_be_an_output_column(planning):
    with pytest.raises(InvalidArgument, match="UNKNOWN_KEY_COLUMN"):
        planning.plan(f"SELECT v FROM {T}", "k")


def test_no_collation_can_make_unequal_texts_equal(planning):
    # One could come from a table's definition, from the text or from a setting.
    with pytest.raises(InvalidArgument, match="SQL_UNSUPPORTED"):
        planning.plan(f"SELECT s COLLATE nocase AS k FROM {T}")
    [(setting,)] = planning.cursor.execute("SELECT current_setting('default_collation')").fetchall()
    assert setting == ""


def test_a_stored_star_is_planned_on_a_table_that_got_columns(planning):
    form = planning.form(f"SELECT * FROM {T}")
    wider = {**planning.types, "t": {"fresh": "BIGINT", **planning.types["t"], "later": "DATE"}}
    assert [each.narrowed[0].column for each in plan(form, ("k",), wider).occurrences] == ["k"]
