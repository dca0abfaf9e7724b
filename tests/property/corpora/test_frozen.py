"""The frozen queries: planned as expected, read as planned, and never another row than the plain query shows."""

from pathlib import Path

import pytest

from tests.property.corpora import frozen_tables, table
from tests.property.corpora.frozen_queries import FROZEN
from tests.property.corpora.oracle import keys_of
from tests.property.corpora.reads import reads, said
from tests.property.corpora.stores import frozen_store, spread
from tests.property.corpora.table import frozen_pairs, frozen_section

JUDGED = 6
QUERIES = [pytest.param(each, id=each.name) for each in FROZEN]


@pytest.fixture(scope="module")
def store():
    with frozen_store() as opened:
        yield opened


def is_skewed(key):
    """Whether a part of it is one of those on which three rows of ten fall."""
    return any(isinstance(part, int) and part < frozen_tables.FEW for part in key)


def test_at_least_twenty_four_of_thirty_are_expected_to_be_indexed():
    verdicts = [each.verdict for each in FROZEN]
    assert len(verdicts) == 30
    assert verdicts.count("indexed") >= 24


@pytest.mark.parametrize("query", QUERIES)
def test_every_table_is_narrowed_as_it_was_written_down_before(store, query):
    made = store.plan(query.name, query.index_key)
    assert tuple((each.table, said(each)) for each in made.occurrences) == query.expected


@pytest.mark.parametrize("query", QUERIES)
def test_the_planned_query_shows_what_the_plain_one_shows(store, query):
    asked = store.asked(query.name, query.index_key, single=JUDGED, many=300)
    store.assert_planned_equals_plain(query.name, query.index_key, asked)


@pytest.mark.slow
@pytest.mark.parametrize("query", QUERIES)
def test_so_it_does_by_every_other_column_and_by_pairs_of_them(store, query):
    for index_key in store.index_keys(query.name):
        asked = store.asked(query.name, index_key, single=4, many=500)
        store.assert_planned_equals_plain(query.name, index_key, asked)


@pytest.mark.parametrize("query", QUERIES)
def test_every_narrowed_table_is_read_by_an_index(store, query):
    """For keys with few rows, one and some at once; DuckDB reads a table whole for more than 2,048 rows."""
    assert_read_by_indexes(store, query, rare_keys(store, query))


@pytest.mark.parametrize("name", ["04-quotes-of-user", "08-rolling-average", "14-spend-by-category"])
def test_neighbouring_keys_are_read_by_an_index_too(store, name):
    """DuckDB makes a range of a list of neighbouring integers, and takes no index for a range."""
    query = next(each for each in FROZEN if each.name == name)
    trained = store.trained(name)
    keys = keys_of(trained.form, query.index_key, [(number,) for number in range(500, 520)])
    main, fetches = reads(store.connection, trained.form, store.plan(name, query.index_key), keys)
    assert not main.whole
    assert not any(each.whole for each in fetches)


def test_the_page_says_what_is_so_of_the_frozen_queries(store):
    page = Path(__file__).parents[3] / "docs" / "planner-corpora.md"
    assert "\n".join(frozen_section(frozen_pairs(store))) in page.read_text(), table.__doc__


def rare_keys(store, query):
    """Some with few rows, in the answer and in the tables."""
    counted = store.trained(query.name).counted(query.index_key)
    return spread([key for key, _ in counted[len(counted) // 2 :] if not is_skewed(key)], JUDGED)


def assert_read_by_indexes(store, query, rare):
    """Each key alone, and all together."""
    trained, made = store.trained(query.name), store.plan(query.name, query.index_key)
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
