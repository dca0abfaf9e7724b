"""The frozen queries: planned as expected, read as planned, and never another row than the plain query shows."""

import pytest

from tests.property.corpora import frozen_tables
from tests.property.corpora.frozen_queries import FROZEN
from tests.property.corpora.oracle import keys_of
from tests.property.corpora.reads import reads, said
from tests.property.corpora.stores import frozen_store, spread

JUDGED = 6

TWO_CONDITIONS = "DuckDB takes no index where two columns of a table are narrowed in one SELECT"
WORDS = "read whole as it must be, but Explain names another rule"

PLANNED_OTHERWISE = {
    "23-against-everyone": WORDS,
    "29-rank-among-all": WORDS,
}
READ_OTHERWISE = {
    "15-rating-and-purchases": TWO_CONDITIONS,
}


def frozen(misses):
    """The queries, those that are known to miss marked so: each must be taken off when it no longer does."""
    return [
        pytest.param(each, id=each.name, marks=pytest.mark.xfail(reason=misses[each.name], strict=True))
        if each.name in misses
        else pytest.param(each, id=each.name)
        for each in FROZEN
    ]


@pytest.fixture(scope="module")
def store():
    with frozen_store() as opened:
        yield opened


def is_skewed(key):
    """Whether it is one of those on which three rows of ten fall."""
    return isinstance(key[0], int) and key[0] < frozen_tables.FEW


def test_at_least_twenty_four_of_thirty_are_expected_to_be_indexed():
    verdicts = [each.verdict for each in FROZEN]
    assert len(verdicts) == 30
    assert verdicts.count("indexed") >= 24


@pytest.mark.parametrize("query", frozen(PLANNED_OTHERWISE))
def test_every_table_is_narrowed_as_it_was_written_down_before(store, query):
    made = store.plan(query.name, query.index_key)
    assert tuple((each.table, said(each)) for each in made.occurrences) == query.expected


@pytest.mark.parametrize("query", frozen({}))
def test_the_planned_query_shows_what_the_plain_one_shows(store, query):
    asked = store.asked(query.name, query.index_key, single=JUDGED, many=300)
    store.assert_planned_equals_plain(query.name, query.index_key, asked)


@pytest.mark.parametrize("query", frozen(READ_OTHERWISE))
def test_every_narrowed_table_is_read_by_an_index(store, query):
    """For keys with few rows, one and some at once; DuckDB reads a table whole for more than 2,048 rows."""
    trained, made = store.trained(query.name), store.plan(query.name, query.index_key)
    counted = trained.counted(query.index_key)
    rare = spread([key for key, _ in counted[len(counted) // 2 :] if not is_skewed(key)], JUDGED)
    found = []
    for tuples in [*([key] for key in rare), rare]:
        keys = keys_of(trained.form, query.index_key, tuples)
        main, fetches = reads(store.connection, trained.form, made, keys)
        found.append(main.indexed(made))
        assert not any(each.whole for each in fetches)
    narrowed = [place for place, each in enumerate(made.occurrences) if each.narrowed]
    for place in narrowed:
        assert {each[place] for each in found} <= {True, None}
        assert any(each[place] for each in found)
