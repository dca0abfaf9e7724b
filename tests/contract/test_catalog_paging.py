"""Lists of what the catalogue holds, page by page: one suite over SQLite and MongoDB."""

import itertools

import pytest

from featurestore.model.errors import InvalidArgument
from featurestore.model.names import DEFAULT_ID_KEY
from services.catalog import catalog as catalog_module
from services.catalog import conversions
from services.catalog.catalog import CatalogService
from services.catalog.store import open_store
from tests.support.catalog_drafts import etl_draft, query_draft


class TestPaging:
    async def test_pages_are_newest_first_and_show_each_query_once(self, catalog):
        saved = [(await catalog.save_query(query_draft(f"SELECT {n} AS a"))).query_id for n in range(7)]
        pages = await _pages(catalog.list_queries, 3)
        assert [len(page) for page in pages] == [3, 3, 1]
        assert [query.query_id for page in pages for query in page] == saved[::-1]

    async def test_a_page_that_holds_the_last_one_has_no_next_token(self, catalog):
        for n in range(4):
            await catalog.save_query(query_draft(f"SELECT {n} AS a"))
        assert [len(page) for page in await _pages(catalog.list_queries, 2)] == [2, 2]

    async def test_saves_within_one_microsecond_are_listed_once_each(self, catalog, monkeypatch):
        monkeypatch.setattr(catalog_module, "_now_us", lambda: 1_700_000_000_000_000)
        query = await catalog.save_query(query_draft())
        for n in range(5):
            await catalog.save_etl(etl_draft(query.query_id, script=f"# {n}"))
        ids = [etl.etl_id for page in await _pages(catalog.list_etls, 2) for etl in page]
        assert ids == sorted(set(ids), reverse=True)
        assert len(ids) == 5

    async def test_a_save_between_two_pages_shifts_nothing(self, catalog):
        saved = [(await catalog.save_query(query_draft(f"SELECT {n} AS a"))).query_id for n in range(4)]
        first, token = await catalog.list_queries(2, "")
        await catalog.save_query(query_draft())
        second, end = await catalog.list_queries(2, token)
        assert [query.query_id for query in (*first, *second)] == saved[::-1]
        assert end == ""

    async def test_a_page_size_of_zero_means_a_hundred_and_a_huge_one_a_thousand(self, url, monkeypatch):
        async with open_store(url) as store:
            clock = itertools.count(1)
            for n in range(101):
                draft = query_draft(f"SELECT {n} AS a")
                await store.insert(conversions.query_document(draft, DEFAULT_ID_KEY, next(clock)))
            catalog = CatalogService(store)
            page, token = await catalog.list_queries(0, "")
            assert len(page) == 100
            assert token
            monkeypatch.setattr(catalog_module, "MAX_PAGE_SIZE", 10)
            assert len((await catalog.list_queries(1_000_000, ""))[0]) == 10

    async def test_an_empty_catalogue_has_one_empty_page(self, catalog):
        assert await catalog.list_queries(10, "") == ((), "")
        assert await catalog.list_etls(10, "") == ((), "")

    async def test_a_negative_size_or_a_strange_token_is_a_bad_page(self, catalog):
        for n in range(2):
            await catalog.save_query(query_draft(f"SELECT {n} AS a"))
        _, of_queries = await catalog.list_queries(1, "")
        for list_page, size, token, field in (
            (catalog.list_queries, -1, "", "page_size"),
            (catalog.list_etls, -1, "", "page_size"),
            (catalog.list_queries, 1, "no token!", "page_token"),
            (catalog.list_queries, 1, "ünïcode", "page_token"),
            (catalog.list_queries, 1, of_queries[:-4], "page_token"),
            (catalog.list_etls, 1, of_queries, "page_token"),
        ):
            with pytest.raises(InvalidArgument) as refused:
                await list_page(size, token)
            assert (refused.value.reason, refused.value.details["field"]) == ("BAD_PAGE", field)


async def _pages(list_page, size):
    pages, token = [], ""
    while token or not pages:
        page, token = await list_page(size, token)
        pages.append(page)
    return pages
