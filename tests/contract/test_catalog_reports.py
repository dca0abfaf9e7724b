"""Reports of verifying, kept in the catalogue: one suite over SQLite and MongoDB."""

import asyncio
from datetime import UTC, datetime

import pytest

from featurestore.model.errors import NotFound
from featurestore.model.table import Version
from featurestore.model.verifying import Difference, KeptReport, VerifyReport
from tests.support.catalog_drafts import etl_draft, query_draft
from tests.support.catalogs import opened_catalog


class TestReports:
    async def test_the_last_report_by_each_index_key_stands_with_the_query_and_the_newest_comes_first(
        self, catalog
    ):
        query = await catalog.save_query(query_draft())
        assert query.reports == ()
        first, second, other = kept("user_id", 1), kept("user_id", 2), kept("total", 3)
        for report in (first, other, second):
            await catalog.save_report(query.query_id, report)
        assert (await catalog.get_query(query.query_id)).reports == (other, second)
        assert (await catalog.list_queries(10, ""))[0][0].reports == (other, second)
        assert (await catalog.save_query(query_draft())).reports == (other, second)

    async def test_a_report_of_an_etl_is_not_its_querys(self, catalog):
        query = await catalog.save_query(query_draft())
        etl = await catalog.save_etl(etl_draft(query.query_id))
        await catalog.save_report(etl.etl_id, kept("user_id", 1))
        assert (await catalog.get_etl(etl.etl_id)).reports == (kept("user_id", 1),)
        assert (await catalog.list_etls(10, ""))[0][0].reports == (kept("user_id", 1),)
        assert (await catalog.get_query(query.query_id)).reports == ()

    async def test_reports_kept_at_once_leave_one(self, url, catalog):
        query = await catalog.save_query(query_draft())
        async with opened_catalog(url) as other:
            await asyncio.gather(
                *(
                    each.save_report(query.query_id, kept("user_id", minute))
                    for minute in range(20)
                    for each in (catalog, other)
                )
            )
        assert len((await catalog.get_query(query.query_id)).reports) == 1

    @pytest.mark.parametrize(
        ("unknown", "reason"), [("qry_" + "a" * 26, "UNKNOWN_QUERY"), ("etl_" + "a" * 26, "UNKNOWN_ETL")]
    )
    async def test_a_report_of_nothing_is_refused(self, catalog, unknown, reason):
        with pytest.raises(NotFound) as refused:
            await catalog.save_report(unknown, kept("user_id", 1))
        assert refused.value.reason == reason


def kept(column, minute):
    """A report with something in every field, made at this minute."""
    difference = Difference("7", "total", "1", "2", "DATA_DIFFERS")
    report = VerifyReport(20, 19, 1, (difference,), Version("log_1", 9), ("a remark",), True, 5, 4, 1e-12)
    return KeptReport((column,), report, datetime(2026, 1, 1, 0, minute, 0, 7, tzinfo=UTC))
