"""TPC-H's 22 and TPC-DS's 99 queries, by every column that they show: never another row than the plain query shows."""

import pytest

from tests.property.corpora.stores import corpus_store
from tests.property.corpora.tpc import TPC_DS, TPC_H

QUERIES = [
    pytest.param(corpus, str(number), id=f"{corpus.name} {number}")
    for corpus, count in ((TPC_H, 22), (TPC_DS, 99))
    for number in range(1, count + 1)
]


@pytest.fixture(scope="module")
def stores():
    with corpus_store(TPC_H) as tpc_h, corpus_store(TPC_DS) as tpc_ds:
        yield {TPC_H: tpc_h, TPC_DS: tpc_ds}


def narrowed(store, number, index_key):
    return sum(bool(each.narrowed) for each in store.plan(number, index_key).occurrences)


@pytest.mark.parametrize(("corpus", "number"), QUERIES)
def test_a_query_by_the_column_that_narrows_most(stores, corpus, number):
    store = stores[corpus]
    columns = store.key_columns(number)
    if columns:
        index_key = max(((name,) for name in columns), key=lambda key: narrowed(store, number, key))
        asked = store.asked(number, index_key, single=2, many=100)
        store.assert_planned_equals_plain(number, index_key, asked)


@pytest.mark.slow
@pytest.mark.parametrize(("corpus", "number"), QUERIES)
def test_a_query_by_every_column_and_by_pairs_of_them(stores, corpus, number):
    store = stores[corpus]
    for index_key in store.index_keys(number):
        asked = store.asked(number, index_key, single=5, many=1_000)
        store.assert_planned_equals_plain(number, index_key, asked)


def test_every_query_can_be_saved(stores):
    for store in stores.values():
        for number in store.texts:
            assert store.form(number).columns


@pytest.mark.parametrize(("number", "column"), [("39", "wsk1"), ("47", "s_store_name"), ("57", "cc_name")])
def test_a_with_query_that_is_joined_with_itself_is_narrowed_in_all_its_tables(stores, number, column):
    made = stores[TPC_DS].plan(number, (column,))
    assert all(each.narrowed for each in made.occurrences)
