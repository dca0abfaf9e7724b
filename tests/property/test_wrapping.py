"""Serving's answer is by definition the rows that training shows for the key: wrapped = filtered afterwards."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.engine import order, profile
from featurestore.engine.describe import describe
from featurestore.engine.key_values import convert_keys
from featurestore.engine.outputs import finish
from featurestore.engine.sql_check import parse
from featurestore.engine.wrapping import serving_sql, training_sql
from featurestore.model.query import QueryForm
from featurestore.model.serving import Keys

QUERIES = [
    "SELECT * FROM feature_store.t -- c",
    "SELECT k, s, count(*) AS n, sum(v) AS total FROM feature_store.t GROUP BY ALL",
    "SELECT t.k, t.s, u.v AS other FROM feature_store.t LEFT JOIN feature_store.u USING (k) ORDER BY k, 3",
    "SELECT k, s, rank() OVER (PARTITION BY k ORDER BY v) AS r FROM feature_store.t",
    "SELECT k, s, v, rank() OVER (ORDER BY v, k, s) AS r FROM feature_store.t QUALIFY r <= 20",
    "SELECT DISTINCT k, s FROM feature_store.t ORDER BY k, s LIMIT 7",
    "SELECT k, s FROM feature_store.t UNION ALL SELECT v, s FROM feature_store.u ORDER BY 2 DESC, 1",
    "SELECT k + 1 AS k, upper(s) AS s, v / 2 AS h FROM feature_store.t WHERE k IS NOT NULL",
    "SELECT v AS k, min(s) AS s, avg(k) AS m FROM feature_store.t GROUP BY v HAVING count(*) > 1",
    "WITH a AS (SELECT k, max(v) AS top FROM feature_store.t GROUP BY k) SELECT k, s, top FROM feature_store.t JOIN a USING (k)",
]

SMALL = st.integers(-3, 3)
TEXTS = st.sampled_from(["", "a", "A", "'", "b\0"])


@pytest.fixture(scope="module")
def engine():
    rows = "SELECT (i * 7) % 6 - 2 AS v, nullif((i * 5) % 7 - 3, 3) AS k, ['', 'a', 'A', '''', 'b' || chr(0)][i % 5 + 1] AS s"
    with profile.connect(threads=2, memory_limit="200MB") as connection:
        connection.execute(f"CREATE TABLE feature_store.t AS {rows} FROM range(60) AS r(i)")
        connection.execute(f"CREATE TABLE feature_store.u AS {rows} FROM range(60, 80) AS r(i)")
        yield connection


def form_of(engine, sql):
    checked = parse(sql)
    columns = describe(engine.cursor(), checked.sql)
    return QueryForm(checked.sql, columns, order.terms(checked.order, columns)[0])


def sorted_rows(rows: pa.Table):
    return sorted(map(repr, rows.to_pylist()))


@pytest.mark.parametrize("sql", QUERIES)
@settings(max_examples=15, deadline=None)
@given(
    pairs=st.lists(st.tuples(SMALL, TEXTS), min_size=1, max_size=5), width=st.sampled_from(["k", "s", "ks"])
)
def test_wrapped_equals_filtered_afterwards(engine, sql, pairs, width):
    form = form_of(engine, sql)
    names = tuple(width)
    tuples = tuple(tuple(dict(zip("ks", pair, strict=True))[name] for name in names) for pair in pairs)
    keys = convert_keys(form, Keys(names, tuples))
    trained = finish(engine.cursor().execute(training_sql(form)).to_arrow_table(), form)
    served = finish(engine.cursor().execute(serving_sql(form, keys)).to_arrow_table(), form)
    wanted = [
        row in set(keys.tuples) for row in zip(*(trained[name].to_pylist() for name in names), strict=True)
    ]
    filtered = trained.filter(pa.array(wanted, pa.bool_()))
    assert served.schema == trained.schema == form.schema
    assert sorted_rows(served) == sorted_rows(filtered)
    if form.order:
        ordered = [term.column for term in form.order]
        assert served.select(ordered).to_pylist() == filtered.select(ordered).to_pylist()
    assert pc.sum(pa.array(wanted, pa.bool_())).as_py() in (served.num_rows, None)
