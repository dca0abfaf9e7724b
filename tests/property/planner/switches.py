"""For each rule, queries that get wrong rows without it: their tables are small and random."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import duckdb

from featurestore.engine import profile
from featurestore.engine.key_values import convert, convert_keys
from featurestore.engine.planner import Rule
from featurestore.model.serving import Keys
from tests.property.planner.databases import Database, Table, row
from tests.property.planner.oracle import check, saved, trained
from tests.property.planner.words import DOMAINS, Draw

COLUMNS = {"k": "BIGINT", "j": "BIGINT", "s": "VARCHAR", "v": "DOUBLE", "id": "BIGINT"}

_T, _U = "feature_store.t", "feature_store.u"

QUERIES: dict[Rule, list[tuple[str, str]]] = {
    Rule.EXPRESSION: [
        (f"SELECT k + 1 AS key, id FROM {_T}", "key"),
        (f"SELECT coalesce(k, j) AS key, id FROM {_T}", "key"),
        (f"SELECT greatest(a.k, b.k) AS key, a.id FROM {_T} AS a JOIN {_U} AS b USING (j)", "key"),
    ],
    Rule.LIMIT: [
        (f"SELECT k, id FROM {_T} ORDER BY v, id LIMIT 3", "k"),
        (f"SELECT q.k, t.id FROM {_U} AS q JOIN {_T} ON q.k = t.k ORDER BY ALL LIMIT 4 OFFSET 1", "k"),
        (f"(SELECT k FROM {_T} UNION SELECT k FROM {_U}) ORDER BY k LIMIT 2", "k"),
    ],
    Rule.GLOBAL_AGGREGATE: [(f"SELECT max(k) AS key, count(*) AS n FROM {_T}", "key")],
    Rule.GROUP_BY: [
        (f"SELECT j, max(k) AS key, count(*) AS n FROM {_T} GROUP BY j", "key"),
        (f"SELECT j, s, min(k) AS key, sum(v) AS n FROM {_T} GROUP BY ROLLUP (j, s)", "key"),
    ],
    Rule.DISTINCT_ON: [(f"SELECT DISTINCT ON (j) k, j, id FROM {_T} ORDER BY j, v, id", "k")],
    Rule.WINDOW: [
        (f"SELECT k, id, row_number() OVER (PARTITION BY j ORDER BY v, id) AS n FROM {_T}", "k"),
        (f"SELECT k, id, count(*) OVER (PARTITION BY 1) AS n FROM {_T}", "k"),
        (f"SELECT k, id FROM {_T} WINDOW w AS (PARTITION BY j ORDER BY v) QUALIFY rank() OVER w = 1", "k"),
        (f"SELECT k, id, sum(v) OVER (PARTITION BY k) AS a, sum(v) OVER () AS b FROM {_T}", "k"),
    ],
    Rule.SET_OPERATION: [
        (f"SELECT k, j FROM {_T} UNION ALL BY NAME SELECT j, k FROM {_U}", "k"),
        (f"SELECT k, j FROM {_T} UNION BY NAME SELECT id AS j, j AS k FROM {_U}", "k"),
    ],
    Rule.SAME_TYPE: [
        (
            f"SELECT a.s AS key, b.id FROM {_T} AS a JOIN {_U} AS i ON a.s = i.k JOIN {_T} AS b ON i.k = b.s",
            "key",
        )
    ],
    Rule.EQUALITY: [
        (
            f"SELECT x.k, z.id FROM {_T} AS x LEFT JOIN {_U} AS y ON x.k = y.j LEFT JOIN {_T} AS z ON z.j IS NOT DISTINCT FROM y.j",
            "k",
        )
    ],
    Rule.CONJUNCT: [
        (f"SELECT q.k, t.id FROM {_U} AS q JOIN {_T} ON (t.k = q.k OR t.v > 0.5)", "k"),
        (f"SELECT q.k, t.id FROM {_U} AS q, {_T} WHERE NOT (t.k = q.k AND t.s = q.s)", "k"),
    ],
    Rule.HAVING: [
        (f"SELECT k, j, id, count(*) OVER (PARTITION BY k) AS n FROM {_T} QUALIFY k = j", "k"),
        (f"SELECT k, j, max(id) OVER (PARTITION BY k) AS n FROM {_T} QUALIFY n > 2 AND j = k", "k"),
    ],
    Rule.OUTER_NULLABLE: [
        (f"SELECT a.k, a.id, b.id AS o FROM {_T} AS a LEFT JOIN {_U} AS b ON b.k = a.k AND b.k = a.j", "k")
    ],
    Rule.OUTER_PRESERVED: [
        (f"SELECT a.k, a.id, b.id AS o FROM {_T} AS a LEFT JOIN {_U} AS b ON b.j = a.k AND b.j = a.j", "k"),
        (f"SELECT a.k, a.id, b.id AS o FROM {_U} AS b RIGHT JOIN {_T} AS a ON b.j = a.k AND b.j = a.j", "k"),
    ],
    Rule.FULL_MERGED: [
        (
            f"SELECT k, b.id, count(*) OVER (PARTITION BY a.k) AS n FROM {_T} AS a FULL JOIN {_U} AS b USING (k)",
            "k",
        ),
        (
            f"SELECT DISTINCT ON (a.k) k, b.id FROM {_T} AS a NATURAL FULL JOIN (SELECT k, id FROM {_U}) AS b ORDER BY a.k, k, b.id",
            "k",
        ),
    ],
    Rule.ASOF: [
        (f"SELECT a.id, b.j AS key FROM {_T} AS a ASOF JOIN {_U} AS b ON a.k = b.k AND a.id >= b.id", "key"),
        (f"SELECT a.id, b.k AS key FROM {_T} AS a ASOF JOIN {_U} AS b ON a.id >= b.id", "key"),
    ],
    Rule.POSITIONAL: [(f"SELECT a.k, b.id FROM {_T} AS a POSITIONAL JOIN {_U} AS b", "k")],
    Rule.PIVOT: [(f"SELECT p.k, p.id FROM {_T} UNPIVOT (k FOR n IN (k, j)) AS p", "k")],
    Rule.RECURSION: [
        (
            f"WITH RECURSIVE r(k, n) AS (SELECT k, 0 FROM {_T} UNION SELECT x.j, r.n + 1 FROM r JOIN {_T} AS x ON x.k = r.k WHERE r.n < 2) SELECT k, n FROM r",
            "k",
        )
    ],
    Rule.IN_SUBQUERY: [(f"SELECT k, id FROM {_T} WHERE k NOT IN (SELECT j FROM {_U})", "k")],
    Rule.CTE_REFERENCES: [
        (f"WITH c AS (SELECT k, id, j FROM {_T}) SELECT a.k, b.id FROM c AS a JOIN c AS b ON a.j = b.j", "k"),
        (f"WITH c AS (FROM {_T}) SELECT k, (SELECT count(*) FROM c AS o WHERE o.v < c.v) AS n FROM c", "k"),
    ],
    Rule.CORRELATED: [
        (
            f"SELECT k, id FROM {_T} AS q WHERE (SELECT count(*) FROM {_U} AS u WHERE u.k = q.k) >= 1 ORDER BY v, id LIMIT 3",
            "k",
        )
    ],
    Rule.CHAIN: [
        (
            f"SELECT x.k, x.id, z.id AS o FROM {_T} AS x LEFT JOIN {_U} AS o ON o.k = x.k AND o.k = x.j LEFT JOIN {_U} AS z ON z.s = o.s",
            "k",
        )
    ],
}
"""For each rule: text and key column."""


def tables(draw: Draw) -> Database:
    """Two small ones."""
    return Database(
        tuple(
            Table(
                name,
                COLUMNS,
                tuple(row(draw, COLUMNS, number) for number in draw.sample(range(10), draw.randint(2, 7))),
            )
            for name in ("t", "u")
        )
    )


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    return profile.connect(threads=1, memory_limit="500MB")


def differs(base: Database, sql: str, key: str, *off: Rule) -> str:
    """What is wrong for some key, present or absent, with rules switched off; empty if nothing is."""
    connection = _engine()
    for table in base.tables:
        connection.execute(f"DROP TABLE IF EXISTS {table.path}")
        connection.execute(table.create)
        if text := table.insert(table.rows):
            connection.execute(text)
    form = saved(connection, sql)
    rows = trained(connection, form)
    present = {value for value in rows[key].to_pylist() if value is not None}
    column = form.column(key)
    assert column is not None
    domain = {convert(text, column) for text in DOMAINS[column.engine_type]}
    asked = [convert_keys(form, Keys((key,), ((value,),))) for value in sorted(present | domain)]
    return check(connection, base, form, (key,), asked, rows, off=frozenset(off))[1]


def differing(rule: Rule) -> Callable[[int], bool]:
    """Whether a seed gives tables and a query of the rule that get wrong rows without it."""

    def found(seed: int) -> bool:
        draw = Draw(seed)
        base = tables(draw)
        sql, key = draw.choice(QUERIES[rule])
        said = differs(base, sql, key, rule)
        return said.startswith("missing")

    return found
