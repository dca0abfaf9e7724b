"""What runs: the saver's own text, with narrowed tables spliced over the names of whole ones."""

import sys

import pytest

from featurestore.engine.planner import plan
from tests.support.planning import Planning

ROWS = "k BIGINT, j BIGINT, v DOUBLE; (1, 1, 0.5), (1, 2, 1.5), (2, 1, 2.5), (NULL, NULL, 3.5)"


@pytest.fixture(scope="module")
def planning():
    return Planning(t=ROWS, u=ROWS, Wide=ROWS)


def inner(text):
    """The saver's part of it."""
    return text.split("FROM (\n", 1)[1].rsplit("\n) AS __fs_query", 1)[0]


SPLICED = [
    ("SELECT k FROM feature_store.t", 'SELECT k FROM __fs1 AS "t"'),
    ("SELECT x.k FROM feature_store.t AS x", "SELECT x.k FROM __fs1 AS x"),
    ("SELECT x.k FROM feature_store.t x", "SELECT x.k FROM __fs1 x"),
    ("SELECT k FROM feature_store.t AS x(a, k)", "SELECT k FROM __fs1 AS x(a, k)"),
    ('SELECT k FROM "feature_store"."t"', 'SELECT k FROM __fs1 AS "t"'),
    ("SELECT wide.k FROM FEATURE_STORE.wide", 'SELECT wide.k FROM __fs1 AS "wide"'),
    ("SELECT k FROM feature_store . /* ü */ t", 'SELECT k FROM __fs1 AS "t"'),
    ("SELECT k FROM feature_store.\n-- ü\nt -- end", 'SELECT k FROM __fs1 AS "t" -- end'),
    (
        "/* ü🦆 feature_store.t */ SELECT k, '🦆ü' AS s FROM feature_store.t",
        "/* ü🦆 feature_store.t */ SELECT k, '🦆ü' AS s FROM __fs1 AS \"t\"",
    ),
    (
        "SELECT a.k, b.v FROM feature_store.t AS a JOIN feature_store.t AS b USING (k)",
        "SELECT a.k, b.v FROM __fs1 AS a JOIN __fs1 AS b USING (k)",
    ),
    (
        "SELECT k, t.v FROM feature_store.t JOIN feature_store.u USING (k)",
        'SELECT k, t.v FROM __fs1 AS "t" JOIN __fs2 AS "u" USING (k)',
    ),
    (
        "WITH t AS (SELECT k FROM feature_store.u) SELECT t.k FROM t",
        'WITH t AS (SELECT k FROM __fs1 AS "u") SELECT t.k FROM t',
    ),
    (
        "SELECT t.k, n FROM feature_store.t, (SELECT count(*) AS n FROM feature_store.u)",
        'SELECT t.k, n FROM __fs1 AS "t", (SELECT count(*) AS n FROM feature_store.u)',
    ),
]


@pytest.mark.parametrize(("sql", "spliced"), SPLICED, ids=[sql for sql, _ in SPLICED])
def test_narrowed_tables_take_the_place_of_names_and_nothing_else_changes(planning, sql, spliced):
    assert inner(planning.text(sql, 1)) == spliced
    planning.rows(sql, 1)
    planning.rows(sql, 1, 2, 7)


def test_the_narrowings_stand_before_the_wrapper(planning):
    text = planning.text("WITH c AS (SELECT * FROM feature_store.t) SELECT k FROM c", 1)
    assert text.startswith(
        'WITH __fs1 AS MATERIALIZED (SELECT * FROM feature_store."t" WHERE "k" = \'1\'::BIGINT)\nSELECT\n'
    )


def test_a_text_without_narrowing_is_the_plain_one(planning):
    text = planning.text("SELECT max(k) AS k FROM feature_store.t", 2)
    assert "__fs1" not in text
    assert "WITH" not in text


def test_neighbouring_numbers_are_listed_so_that_no_range_is_made_of_them(planning):
    text = planning.text("SELECT k FROM feature_store.t", 1, 2)
    listed = text.split('WHERE "k" IN (', 1)[1].split(")", 1)[0].split(", ")
    assert len(listed) == 3
    assert listed[-1] == listed[-2]


def test_two_narrowings_of_one_table_are_looked_up_one_after_the_other(planning):
    sql = "SELECT a.k, b.v FROM feature_store.t AS a JOIN feature_store.t AS b ON b.k = a.k AND b.j = a.k"
    text = planning.text(sql, 1)
    one, other = "\"k\" = '1'::BIGINT", "\"j\" = '1'::BIGINT"
    nested = (
        f'WITH __fs_first AS MATERIALIZED (SELECT * FROM feature_store."t" WHERE {first}) '
        f"SELECT * FROM __fs_first WHERE {second}"
        for first, second in ((one, other), (other, one))
    )
    assert any(f"AS MATERIALIZED ({each})" in text for each in nested)
    assert planning.rows(sql, 1) == [(1, 0.5), (1, 0.5)]


def test_names_with_the_schema_before_them_stay_what_they_are(planning):
    sql = "SELECT u.k, feature_store.t.v FROM feature_store.t JOIN feature_store.u ON u.k = t.k"
    assert inner(planning.text(sql, 1)).startswith(
        "SELECT u.k, feature_store.t.v FROM feature_store.t JOIN __fs1"
    )
    planning.rows(sql, 1)
    planning.rows("SELECT feature_store.t AS whole, k FROM feature_store.t", 1)


NAMES = [
    # What ON may name: the sources left of a comma too.
    "SELECT a.k, c.v FROM feature_store.t AS a, feature_store.u AS b JOIN feature_store.u AS c ON c.k = a.j AND b.k = a.k",
    # A name that the list gives, and one that FROM has.
    "SELECT j AS k, v FROM feature_store.t WHERE k = 1",
    "SELECT k, j AS v FROM feature_store.t WHERE k = v",
    "SELECT j AS k, k AS j, count(*) OVER (PARTITION BY k) AS n FROM feature_store.t",
    "SELECT DISTINCT ON (j) k AS j, j AS k FROM feature_store.t ORDER BY j, k",
    # What stands for several columns moves those behind it.
    "SELECT COLUMNS('j|v') + 1, k FROM feature_store.t",
    "SELECT k FROM (SELECT unnest({'k': j, 'x': k}), v FROM feature_store.t)",
    "(SELECT unnest({'k': j, 'x': k}) FROM feature_store.t) UNION ALL (SELECT k, j FROM feature_store.u)",
    # A subquery's source that is called as a column outside.
    "SELECT k, (SELECT max(k.v) FROM feature_store.u AS k WHERE k.j = q.k) AS n FROM feature_store.t AS q",
    # A merged column comes before others of its name, also where it is not known what was merged.
    "SELECT k, z.v FROM (UNPIVOT (SELECT k, j, v FROM feature_store.t) ON j, v INTO NAME n VALUE w) AS q LEFT JOIN (SELECT k, j FROM feature_store.u) AS x USING (k), feature_store.t AS z WHERE z.j = 1",
    "SELECT k, z.v FROM (VALUES (1::BIGINT), (2)) AS q(k) NATURAL JOIN (VALUES (1::BIGINT), (2)) AS x(k), feature_store.t AS z",
    "SELECT k, z.v FROM feature_store.t AS q JOIN feature_store.u AS x USING (k), feature_store.t AS z WHERE z.j = q.j",
    # Each SELECT has its own names.
    "SELECT t.k FROM feature_store.u AS t WHERE EXISTS (SELECT 1 FROM feature_store.t WHERE t.k = t.j)",
    "WITH t AS (SELECT j AS k, v FROM feature_store.u) SELECT t.k, x.v FROM t JOIN feature_store.t AS x ON x.k = t.k",
    "WITH c AS (SELECT k FROM feature_store.t), c2 AS (WITH c AS (SELECT j AS k FROM feature_store.u) SELECT * FROM c) SELECT c.k FROM c JOIN c2 USING (k)",
    "SELECT k, v FROM feature_store.t RIGHT JOIN (SELECT k, j FROM feature_store.u) AS u USING (k)",
    "SELECT k, a.v FROM feature_store.t AS a FULL JOIN feature_store.u AS b USING (k) LEFT JOIN feature_store.t AS c USING (k)",
]


@pytest.mark.parametrize("sql", NAMES)
def test_names_mean_what_the_engine_takes_them_for(planning, sql):
    for key in (1, 2, 3):
        planning.rows(sql, key)


def test_a_text_of_which_two_places_are_one_is_left_alone(planning, monkeypatch):
    monkeypatch.setattr(sys.modules[plan.__module__], "_span", lambda _sql, _location: (0, 1))
    form = planning.form("SELECT a.k FROM feature_store.t AS a JOIN feature_store.u AS b USING (k)")
    assert not plan(form, ("k",), planning.types).narrows
