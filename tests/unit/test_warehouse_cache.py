"""What stays in memory of the blocks that were read: little, whatever is streamed; the whole limit is for work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pyarrow as pa
import pytest

from featurestore.engine.tables import checked
from featurestore.model.table import Define, Frame, Put, TableDefinition
from services.extraction.warehouse import Reader, Warehouse, WarehouseSettings

MB = 10**6
ROWS = 4_000_000
NUMBERS = checked(TableDefinition("numbers", pa.schema([("a", pa.float64()), ("b", pa.float64())])))
SETTINGS = WarehouseSettings(memory_limit="400MB", cache_limit="16MB")
SCAN = "FROM feature_store.numbers"
CACHED = "SELECT sum(memory_usage_bytes)::BIGINT FROM duckdb_memory() WHERE tag = 'BASE_TABLE'"
ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE (a.range * b.range) % 7 = 1"
DUE_SECONDS = 0.06


@pytest.fixture
async def warehouse(tmp_path) -> AsyncIterator[Warehouse]:
    """With 64 MB that don't compress, just started."""
    draw = np.random.default_rng(7)
    rows = pa.table({name: draw.random(ROWS) for name in "ab"})
    async with Warehouse(tmp_path, SETTINGS) as filled:
        await filled.apply("log", [Frame(1, "p", (Define(NUMBERS), Put("numbers", rows)))])
    async with Warehouse(tmp_path, SETTINGS) as started:
        yield started


async def scan(reader: Reader) -> int:
    records = await reader.call(lambda cursor: cursor.execute(SCAN).to_arrow_reader(65_536))
    rows = 0
    while batch := await reader.call(lambda _: next(records, None)):
        rows += batch.num_rows
    return rows


async def told(warehouse: Warehouse, sql: str) -> object:
    reader = await warehouse.reader()
    try:
        return await reader.call(lambda cursor: cursor.execute(sql).fetchone()[0])
    finally:
        await reader.close()


async def test_a_table_that_was_read_leaves_little_in_memory_and_the_limit_as_it_was(warehouse):
    limit = await told(warehouse, "SELECT current_setting('memory_limit')")
    reader = await warehouse.reader()
    assert await scan(reader) == ROWS
    await reader.close()
    await asyncio.sleep(DUE_SECONDS)
    await told(warehouse, "SELECT 1")
    assert await told(warehouse, CACHED) <= 16 * MB
    assert await told(warehouse, "SELECT current_setting('memory_limit')") == limit


async def test_nothing_is_taken_from_a_call_that_still_runs(warehouse):
    working, reader = await warehouse.reader(), await warehouse.reader()
    running = asyncio.create_task(working.call(lambda cursor: cursor.execute(ENDLESS).fetchall()))
    await asyncio.sleep(DUE_SECONDS)
    assert await scan(reader) == ROWS
    assert await told(warehouse, CACHED) > 40 * MB
    await working.close()
    assert isinstance((await asyncio.gather(running, return_exceptions=True))[0], Exception)
