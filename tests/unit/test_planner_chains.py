"""Chained narrowing: the values that a narrowed table has in another column narrow what is joined on it."""

import pytest

from featurestore.engine.planner import Rule, run
from featurestore.engine.planner.run import chain_values
from tests.support.planning import Planning

JOINED = "SELECT o.k, i.v FROM feature_store.orders AS o JOIN feature_store.items AS i ON i.ref = o.ref"


def of_type(type_, *values):
    """Two orders and two items, joined on a column of a type."""
    one, other = values
    return Planning(
        orders=f"k BIGINT, ref {type_}; (1, {one}), (2, {other}), (3, NULL)",
        items=f"ref {type_}, v BIGINT; ({one}, 10), ({other}, 20), (NULL, 30)",
    )


def fetched(planning, sql, value):
    from featurestore.engine.key_values import convert_keys  # noqa: PLC0415
    from featurestore.model.serving import Keys  # noqa: PLC0415

    form = planning.form(sql)
    return chain_values(planning.cursor, planning.plan(sql), convert_keys(form, Keys(("k",), ((value,),))))


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("BIGINT", ("1", "2")),
        ("UTINYINT", ("1", "2")),
        ("HUGEINT", ("'170141183460469231731687303715884105727'", "2")),
        ("VARCHAR", ("''''", "'ü' || chr(0)")),
        ("DATE", ("'2024-02-29'", "'2024-03-01'")),
        ("TIMESTAMP", ("'2024-02-29 12:00:00.000001'", "'2024-03-01'")),
        ("TIMESTAMP_S", ("'2024-02-29 12:00:01'", "'2024-03-01'")),
        ("TIMESTAMP_NS", ("'2024-02-29 12:00:01.5'", "'2024-03-01'")),
        ("TIMESTAMP_MS", ("'2024-02-29 12:00:01.5'", "'2024-03-01'")),
        ("TIMESTAMP WITH TIME ZONE", ("'2024-02-29 12:00:00+02'", "'2024-03-01 00:00:00+00'")),
        ("DECIMAL(38,10)", ("1.5", "2.0000000001")),
        ("UUID", ("'00000001-0000-4000-8000-000000000001'", "'00000002-0000-4000-8000-000000000002'")),
        ("BLOB", ("'\\x00\\xFF'::BLOB", "''::BLOB")),
        ("BOOLEAN", ("true", "false")),
    ],
)
def test_values_of_any_key_type_narrow(type_, values):
    planning = of_type(type_, *values)
    assert planning.verdicts(JOINED) == ["k", "ref<-chain"]
    assert planning.rows(JOINED, 1) == [(1, 10)]
    assert planning.rows(JOINED, 2) == [(2, 20)]
    assert planning.rows(JOINED, 3) == []
    assert planning.rows(JOINED, 4) == []


@pytest.mark.parametrize("type_", ["DOUBLE", "BIGINT[]", "TIME"])
def test_values_that_can_not_be_printed_exactly_narrow_nothing(type_):
    values = {
        "DOUBLE": ("0.1", "0.2"),
        "BIGINT[]": ("[1]", "[2]"),
        "TIME": ("'12:00:00'", "'13:00:00'"),
    }
    planning = of_type(type_, *values[type_])
    assert planning.verdicts(JOINED) == ["k", Rule.CHAIN.value]
    assert planning.rows(JOINED, 1) == [(1, 10)]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("DATE", "'infinity'"),
        ("DATE", "'-infinity'"),
        ("DATE", "'0044-03-15 (BC)'"),
        ("TIMESTAMP", "'infinity'"),
        ("TIMESTAMP", "'12000-01-01'"),
        ("TIMESTAMP_NS", "'2024-01-01 00:00:00.000000001'"),
        ("TIMESTAMP WITH TIME ZONE", "'-infinity'"),
    ],
)
def test_moments_that_python_can_not_hold_leave_the_table_whole(type_, value):
    planning = of_type(type_, value, "'2024-01-01'")
    assert fetched(planning, JOINED, 1) == {0: None}
    assert planning.rows(JOINED, 1) == [(1, 10)]
    assert planning.rows(JOINED, 2) == [(2, 20)]


def test_beyond_the_bound_the_table_is_read_whole(monkeypatch):
    planning = Planning(
        orders="k BIGINT, ref BIGINT; (1, 1), (1, 2), (1, 2), (1, NULL), (2, 1), (2, 2), (2, 3)",
        items="ref BIGINT, v BIGINT; (1, 10), (2, 20), (3, 30)",
    )
    monkeypatch.setattr(run, "CHAIN_VALUES", 2)
    assert {key: set(values) for key, values in fetched(planning, JOINED, 1).items()} == {0: {1, 2}}
    assert fetched(planning, JOINED, 2) == {0: None}
    assert len(planning.rows(JOINED, 1)) == 3
    assert len(planning.rows(JOINED, 2)) == 3
    assert 'WHERE "ref"' not in planning.text(JOINED, 2)


def test_a_chain_without_values_reads_nothing():
    planning = of_type("BIGINT", "1", "2")
    assert 'feature_store."items" WHERE false' in planning.text(JOINED, 3)


LONG = """
SELECT o.k, p.kind FROM feature_store.orders AS o
JOIN feature_store.items AS i ON i.ref = o.ref
JOIN feature_store.products AS p ON p.v = i.v
"""


def test_a_chain_starts_from_a_chained_table(monkeypatch):
    planning = Planning(
        orders="k BIGINT, ref BIGINT; (1, 1), (2, 2), (2, 3)",
        items="ref BIGINT, v BIGINT; (1, 10), (2, 20), (3, 30), (3, 10)",
        products="v BIGINT, kind VARCHAR; (10, 'a'), (20, 'b'), (30, 'c')",
    )
    assert planning.verdicts(LONG) == ["k", "ref<-chain", "v<-chain"]
    assert fetched(planning, LONG, 1) == {0: [1], 1: [10]}
    assert len(planning.rows(LONG, 2)) == 3
    monkeypatch.setattr(run, "CHAIN_VALUES", 1)
    # The first has too many values, so the second's table is read whole, and so is the third.
    assert fetched(planning, LONG, 2) == {0: None, 1: None}
    assert len(planning.rows(LONG, 2)) == 3


def test_a_chain_starts_from_what_a_subquery_shows_of_a_narrowed_table():
    planning = of_type("BIGINT", "1", "2")
    grouped = (
        "SELECT g.k, g.n, i.v FROM (SELECT k, ref, count(*) AS n FROM feature_store.orders GROUP BY k, ref) AS g "
        "LEFT JOIN feature_store.items AS i ON i.ref = g.ref"
    )
    assert planning.verdicts(grouped) == ["k", "ref<-chain"]
    assert planning.rows(grouped, 1) == [(1, 1, 10)]
    assert planning.rows(grouped, 3) == [(3, 1, None)]
    summed = grouped.replace("k, ref, count(*) AS n", "k, max(ref) AS ref, count(*) AS n").replace(
        "k, ref)", "k)"
    )
    assert planning.verdicts(summed.replace("GROUP BY k, ref", "GROUP BY k")) == ["k", "untied"]


RING = """
SELECT o.k, i.v / c.mean AS relative FROM feature_store.orders AS o
JOIN feature_store.items AS i ON i.ref = o.ref
JOIN feature_store.products AS p ON p.v = i.v
JOIN (SELECT kind, avg(v) AS mean FROM feature_store.products GROUP BY kind) AS c ON c.kind = p.kind
"""
TWICE = """
WITH spent AS (
  SELECT o.k, p.kind, sum(o.ref) AS paid
  FROM feature_store.orders AS o JOIN feature_store.products AS p ON p.v = o.ref GROUP BY o.k, p.kind
)
SELECT a.k, a.kind, a.paid - b.paid AS more FROM spent AS a JOIN spent AS b ON b.k = a.k AND b.kind = a.kind
"""


@pytest.mark.parametrize(
    ("sql", "verdicts"),
    [(RING, ["k", "ref<-chain", "v<-chain", "kind<-chain"]), (TWICE, ["k", "v<-chain"])],
)
def test_chains_that_lead_back_to_where_they_start_make_no_ring(sql, verdicts):
    planning = Planning(
        orders="k BIGINT, ref BIGINT; (1, 10), (2, 20), (2, 30)",
        items="ref BIGINT, v BIGINT; (10, 10), (20, 20), (30, 30), (30, 10)",
        products="v BIGINT, kind VARCHAR; (10, 'a'), (20, 'b'), (30, 'a')",
    )
    assert planning.verdicts(sql) == verdicts
    for key in (1, 2):
        assert planning.rows(sql, key)


def test_no_chain_starts_from_a_table_that_is_read_whole():
    planning = of_type("BIGINT", "1", "2")
    limited = f"SELECT * FROM ({JOINED}) ORDER BY ALL LIMIT 2"
    assert planning.verdicts(limited) == ["LIMIT", "LIMIT"]
