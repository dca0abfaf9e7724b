"""What a query has to be before it is saved: one text that both engines bind to the same columns."""

from __future__ import annotations

from typing import cast

import pyarrow as pa
import pytest

from featurestore.model.errors import Internal, InvalidArgument
from featurestore.model.peers import Extraction, Realtime
from featurestore.model.query import Column, OrderTerm
from featurestore.model.table import Version
from gateway.saving import check

SQL = "SELECT a, b FROM feature_store.t ORDER BY b DESC"
COLUMNS = (Column("a", pa.int32(), "INTEGER"), Column("b", pa.string(), "VARCHAR"))
VERSION = Version("log", 3)


class Binder:
    """Either side: answers what it binds a text to, and remembers the texts."""

    def __init__(self, columns: tuple[Column, ...] = COLUMNS) -> None:
        self.columns = columns
        self.asked: list[tuple[object, ...]] = []

    async def describe(self, *asked: object) -> tuple[Column, ...]:
        self.asked.append(asked)
        return self.columns


async def checked(sql: str, hot: Binder, cold: Binder):
    return await check(sql, cast("Realtime", hot), cast("Extraction", cold), VERSION)


async def test_a_query_is_bound_on_both_engines_and_its_columns_are_kept():
    hot, cold = Binder(), Binder()
    found = await checked(f"{SQL};", hot, cold)
    assert hot.asked == [(SQL,)]
    assert cold.asked == [(SQL, VERSION)], "as new as the table that it may read"
    assert (found.form.sql, found.form.columns) == (SQL, COLUMNS)
    assert found.form.order == (OrderTerm("b", descending=True, nulls_first=False),)


@pytest.mark.parametrize(
    "cold",
    [
        COLUMNS[:1],
        COLUMNS[::-1],
        (COLUMNS[0], Column("c", pa.string(), "VARCHAR")),
        (Column("a", pa.int32(), "BIGINT"), COLUMNS[1]),
    ],
    ids=["fewer", "another order", "another name", "another type"],
)
async def test_a_query_that_the_engines_bind_differently_is_not_run(cold):
    with pytest.raises(Internal) as refused:
        await checked(SQL, Binder(), Binder(cold))
    assert refused.value.reason == "SIDES_DIFFER"


async def test_a_text_that_is_refused_alone_reaches_no_engine():
    hot, cold = Binder(), Binder()
    with pytest.raises(InvalidArgument):
        await checked("SELECT 1) t; DROP TABLE x; SELECT * FROM (SELECT 1", hot, cold)
    assert hot.asked == cold.asked == []
