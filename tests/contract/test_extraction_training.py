"""Training queries: what was acknowledged is seen, rows stream in the stored schema, and nothing is left open."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from featurestore.model.query import OrderTerm, QueryForm
from featurestore.model.serving import TrainStream
from featurestore.model.table import Define, Drop, TableDefinition, Version
from services.extraction.extraction import ExtractionService
from services.extraction.warehouse import WarehouseSettings
from tests.support.fake_realtime import EVENTS, USERS, FakeLog, define, events, users

ENDLESS = "SELECT count(*) AS n FROM range(10000000) a, range(10000000) b WHERE (a.range * b.range) % 7 = 1"

MANY_ROWS = "SELECT range AS a, range::DOUBLE AS b FROM range(10000000)"


@asynccontextmanager
async def extracting(folder: Path, log: FakeLog, **settings) -> AsyncIterator[ExtractionService]:
    async with ExtractionService(folder, log, warehouse=WarehouseSettings(**settings)) as service:
        yield service


@pytest.fixture
async def log() -> FakeLog:
    log = FakeLog()
    log.add(define(USERS), users((1, "a"), (2, None)))
    log.add(define(EVENTS), events((1, 0.5), (2, 1.5), (2, math.nan)))
    return log


@pytest.fixture
async def extraction(tmp_path, log) -> AsyncIterator[ExtractionService]:
    async with extracting(tmp_path, log) as service:
        yield service


async def form_of(service: ExtractionService, log: FakeLog, sql: str, *order: OrderTerm) -> QueryForm:
    return QueryForm(sql, await service.describe(sql, await log.version()), order)


async def read(stream: TrainStream) -> pa.Table:
    async with aclosing(stream.batches) as messages:
        found = [
            pa.ipc.read_record_batch(pa.py_buffer(message), stream.head.schema) async for message in messages
        ]
    return pa.Table.from_batches(found, stream.head.schema)


async def train(service: ExtractionService, log: FakeLog, sql: str, *order: OrderTerm) -> pa.Table:
    form = await form_of(service, log, sql, *order)
    return await read(await service.query_train(form, await log.version()))


async def test_a_training_query_shows_the_rows_in_the_stored_schema(extraction, log):
    sql = "SELECT u.user_id, name, sum(amount) AS total FROM feature_store.users u JOIN feature_store.events USING (user_id) GROUP BY ALL"
    found = await train(extraction, log, sql, OrderTerm("user_id", descending=True, nulls_first=False))
    assert found.schema == pa.schema(
        [("user_id", pa.int64()), ("name", pa.string()), ("total", pa.float64())]
    )
    assert found["user_id"].to_pylist() == [2, 1]
    assert found["name"].to_pylist() == [None, "a"]
    assert found["total"].to_pylist()[1] == 0.5


async def test_types_that_arrow_and_duckdb_see_otherwise_leave_as_stored(extraction, log):
    sql = """SELECT sum(user_id) AS huge, TIMESTAMP '2024-01-02' - TIMESTAMP '2024-01-01' AS apart,
        'x'::ENUM('x', 'y') AS picked, uuid_v AS id
        FROM feature_store.users, (SELECT '00000000-0000-0000-0000-000000000001'::UUID AS uuid_v) GROUP BY ALL"""
    found = await train(extraction, log, sql)
    assert [str(field.type) for field in found.schema] == ["int64", "duration[us]", "string", "string"]
    assert found["huge"].to_pylist() == [3]


async def test_every_publish_acknowledged_before_the_call_is_seen(extraction, log):
    form = await form_of(extraction, log, "SELECT count(*) AS n FROM feature_store.events")
    early = await log.version()
    for n in range(50):
        last = log.add(events((n, 1.0)))
        stream = await extraction.query_train(form, early)
        assert stream.head.version.sequence >= last.sequence
        assert (await read(stream))["n"].to_pylist() == [4 + n]


async def test_a_warehouse_that_is_behind_says_so_before_the_deadline(extraction, log):
    form = await form_of(extraction, log, "SELECT count(*) AS n FROM feature_store.events")
    log.held_back = True
    log.add(events((9, 1.0)))
    with deadline.within(0.3), pytest.raises(Unavailable) as behind:
        await extraction.query_train(form, Version("log_a", 1))
    assert behind.value.reason == "WAREHOUSE_BEHIND"


async def test_a_version_of_another_log_is_refused(extraction, log):
    form = await form_of(extraction, log, "SELECT 1 AS one")
    with pytest.raises(FailedPrecondition) as refused:
        await extraction.query_train(form, Version("log_z", 1))
    assert refused.value.reason == "OTHER_LOG"


async def test_the_head_alone_has_the_schema_and_the_version(extraction, log):
    form = await form_of(extraction, log, "SELECT * FROM feature_store.events")
    stream = await extraction.query_train(form, await log.version(), head_only=True)
    assert stream.head.schema == form.schema
    assert stream.head.version == Version("log_a", 2)
    assert [message async for message in stream.batches] == []


async def test_an_empty_result_has_a_schema_and_no_batches(extraction, log):
    found = await train(extraction, log, "SELECT * FROM feature_store.events WHERE user_id > 100")
    assert found.num_rows == 0
    assert found.schema.names == ["user_id", "amount"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ([Drop("events")], "events"),
        ([Drop("events"), define(TableDefinition("events", pa.schema([("user_id", pa.int64())])))], "amount"),
        (
            [
                Drop("events"),
                define(
                    TableDefinition("events", pa.schema([("user_id", pa.int64()), ("amount", pa.string())]))
                ),
            ],
            "amount",
        ),
    ],
    ids=["the table is gone", "a column is gone", "a column has another type"],
)
async def test_a_query_whose_tables_changed_is_refused_by_name(extraction, log, change, named):
    form = await form_of(extraction, log, "SELECT user_id, amount FROM feature_store.events")
    log.add(*change)
    for head_only in (False, True):
        with pytest.raises(FailedPrecondition) as refused:
            await extraction.query_train(form, await log.version(), head_only=head_only)
        assert refused.value.reason == "QUERY_SCHEMA_CHANGED"
        assert named in str(refused.value)


async def test_a_star_keeps_its_stored_columns_when_a_table_gets_more(extraction, log):
    form = await form_of(extraction, log, "SELECT * FROM feature_store.events")
    wider = EVENTS.schema.append(pa.field("extra", pa.string()))
    log.add(Define(TableDefinition("events", wider)))
    stream = await extraction.query_train(form, await log.version())
    assert (await read(stream)).column_names == ["user_id", "amount"]


async def test_a_failure_in_the_middle_of_the_rows_is_the_querys_not_ours(extraction, log):
    sql = "SELECT CASE WHEN range = 199999 THEN CAST('x' || range AS INTEGER) ELSE 1 END AS n FROM range(200000)"
    with pytest.raises(InvalidArgument) as failed:
        await train(extraction, log, sql)
    assert failed.value.reason in {"SQL_VALUE", "SQL_RUNTIME"}


async def test_rows_come_in_messages_of_a_moderate_size(extraction, log):
    narrow = await form_of(extraction, log, "SELECT range AS a, range::DOUBLE AS b FROM range(300000)")
    stream = await extraction.query_train(narrow, await log.version())
    sizes = [len(message) async for message in stream.batches]
    assert len(sizes) > 4
    assert all(size < 1_200_000 for size in sizes)
    assert all(size > 200_000 for size in sizes[:-1])
    wide = await form_of(extraction, log, "SELECT rpad('x', 10000, 'x') AS wide FROM range(3000)")
    stream = await extraction.query_train(wide, await log.version())
    sizes = [len(message) async for message in stream.batches]
    assert all(500_000 < size < 1_200_000 for size in sizes)


async def test_the_deadline_ends_a_query_that_computes(extraction, log):
    form = await form_of(extraction, log, ENDLESS)
    with deadline.within(0.5), pytest.raises(DeadlineExceeded) as late:
        await read(await extraction.query_train(form, await log.version()))
    assert late.value.reason == "DEADLINE"


async def test_the_deadline_ends_a_stream_that_nobody_reads(tmp_path, log):
    async with extracting(tmp_path, log, open_results=1) as service:
        form = await form_of(service, log, MANY_ROWS)
        with deadline.within(0.5):
            stream = await service.query_train(form, await log.version())
            first = await anext(stream.batches)
        assert first
        with deadline.within(10):  # waits for the only place
            assert (await train(service, log, "SELECT 1 AS one")).num_rows == 1
        with pytest.raises(DeadlineExceeded):
            await read(stream)


@pytest.mark.parametrize("read_first", [0, 1])
async def test_a_closed_stream_gives_its_cursor_back_even_if_it_was_never_read(tmp_path, log, read_first):
    async with extracting(tmp_path, log, open_results=1) as service:
        form = await form_of(service, log, MANY_ROWS)
        for _ in range(3):
            stream = await service.query_train(form, await log.version())
            for _ in range(read_first):
                await anext(stream.batches)
            await stream.batches.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(stream.batches)


async def test_a_cancelled_read_interrupts_the_query(tmp_path, log):
    async with extracting(tmp_path, log, open_results=1, reader_threads=1) as service:
        form = await form_of(service, log, ENDLESS)
        reading = asyncio.create_task(train_form(service, log, form))
        await asyncio.sleep(0.2)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with deadline.within(10):
            assert (await train(service, log, "SELECT 1 AS one")).num_rows == 1


async def train_form(service: ExtractionService, log: FakeLog, form: QueryForm) -> pa.Table:
    return await read(await service.query_train(form, await log.version()))


async def test_a_slow_reader_does_not_make_the_process_grow(tmp_path, log):
    async with extracting(tmp_path, log, memory_limit="200MB") as service:
        form = await form_of(service, log, MANY_ROWS)
        stream = await service.query_train(form, await log.version())
        rows, most = 0, 0
        before = pa.total_allocated_bytes()
        async with aclosing(stream.batches) as messages:
            async for message in messages:
                rows += pa.ipc.read_record_batch(pa.py_buffer(message), stream.head.schema).num_rows
                most = max(most, pa.total_allocated_bytes() - before)
                await asyncio.sleep(0.001)
        assert rows == 10_000_000
        assert most < 20 * 2**20


async def test_reads_do_not_block_the_event_loop(extraction, log):
    form = await form_of(extraction, log, ENDLESS)
    loop_thread = threading.get_ident()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            assert threading.get_ident() == loop_thread
            ticks += 1

    ticking = asyncio.create_task(tick())
    with deadline.within(0.5), pytest.raises(DeadlineExceeded):
        await read(await extraction.query_train(form, await log.version()))
    ticking.cancel()
    assert ticks > 10


async def test_describing_waits_for_a_table_that_was_just_defined(extraction, log):
    version = log.add(define(TableDefinition("fresh", pa.schema([("a", pa.int32())]))))
    (column,) = await extraction.describe("SELECT a FROM feature_store.fresh", version)
    assert (column.name, column.type, column.engine_type) == ("a", pa.int32(), "INTEGER")
    with pytest.raises(InvalidArgument) as unknown:
        await extraction.describe("SELECT b FROM feature_store.fresh", version)
    assert unknown.value.reason == "UNKNOWN_COLUMN"


async def test_the_status_says_how_far_the_warehouse_is_and_what_is_wrong(extraction, log):
    await form_of(extraction, log, "SELECT 1 AS one")
    status = await extraction.status()
    assert status.warehouse_version == Version("log_a", 2)
    assert status.following
    assert status.last_error == ""
    log.away = True
    log.wake()
    async with asyncio.timeout(5):
        while (await extraction.status()).following:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    assert "PEER_UNREACHABLE" in (await extraction.status()).last_error


async def test_a_second_extraction_on_the_same_folder_refuses_to_start(tmp_path, log):
    async with extracting(tmp_path, log):
        with pytest.raises(FailedPrecondition) as refused:
            async with extracting(tmp_path, log):
                pass
        assert refused.value.reason == "STORE_LOCKED"
