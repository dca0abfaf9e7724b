"""Dead rows are given back while the store is written to and read: it does not grow, and nothing else changes."""

import asyncio

import duckdb
import pytest

from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys, Verdict
from services.realtime import compaction
from tests.support.realtime_rows import keys_of, new_id, opened, rows_of, table_rows

SQL = "SELECT id, owner, v FROM feature_store.t"


@pytest.fixture
async def realtime(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "LEAST_DEAD", 500)
    async with opened(tmp_path) as service:
        await service.publish(new_id(), [rows(range(200), 0)])
        form = QueryForm(SQL, await service.describe(SQL))
        await service.declare("qry_x", form, ("owner",))
        yield service


def rows(ids, v):
    ids = list(ids)
    return rows_of("T", {"id": ids, "owner": [n % 10 for n in ids], "v": [v] * len(ids)}, ("id",))


async def asked(realtime, sql):
    return await realtime._readers.run(lambda cursor: cursor.execute(sql).fetchall())


async def held(realtime):
    [(rows,)] = await asked(realtime, "SELECT estimated_size FROM duckdb_tables() WHERE table_name = 'T'")
    return rows


async def indexes(realtime):
    return await asked(realtime, "SELECT index_name, table_name, sql FROM duckdb_indexes()")


async def test_a_table_that_is_written_again_and_again_does_not_grow(realtime):
    before = await indexes(realtime)
    most = 0
    for v in range(1, 31):
        await realtime.publish(new_id(), [rows(range(200), v)])
        most = max(most, await held(realtime))
    assert most <= 200 + 500 + 200 * 2
    assert await table_rows(realtime, "t") == [(n, n % 10, 30) for n in range(200)]
    assert await indexes(realtime) == before != []


async def test_deleted_rows_are_given_back_too(realtime):
    for v in range(6):
        await realtime.publish(new_id(), [rows(range(1_000, 1_400), v)])
        await realtime.delete(new_id(), "t", keys_of(id=list(range(1_000, 1_400))))
    assert await held(realtime) <= 200 + 500 + 400
    assert len(await table_rows(realtime, "t")) == 200


async def test_the_key_still_holds_and_the_index_is_still_used(realtime):
    for v in range(1, 10):
        await realtime.publish(new_id(), [rows(range(200), v)])
    await realtime.publish(new_id(), [rows([7, 200], 99)])
    assert (7, 7, 99) in await table_rows(realtime, "t")
    assert len(await table_rows(realtime, "t")) == 201
    form = QueryForm(SQL, await realtime.describe(SQL))
    assert (await realtime.explain("qry_x", form, ("owner",))).verdict is Verdict.INDEXED


async def test_readers_see_whole_versions_while_tables_are_written_anew(realtime):
    form = QueryForm(SQL, await realtime.describe(SQL))
    done = asyncio.Event()
    seen = []

    async def read():
        while not done.is_set():
            answer = await realtime.query("qry_x", form, Keys(("owner",), ((3,),)), AnswerFormat.ARROW)
            seen.append(answer.keys[0].row_count)
            # An answer that is kept waits for nothing, and would leave the writer no turn.
            await asyncio.sleep(0.001)

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for v in range(1, 41):
        await realtime.publish(new_id(), [rows(range(200), v)])
    done.set()
    await asyncio.gather(*readers)
    assert len(seen) > 10
    assert set(seen) == {20}


async def test_what_can_t_be_written_anew_stays_as_it_is(realtime, monkeypatch, caplog):
    def broken(*_):
        yield "CREATE TABLE feature_store.__fs_compacted AS SELECT 1 AS id"
        raise duckdb.OutOfMemoryException("no room")

    with monkeypatch.context() as patched:
        patched.setattr(compaction, "_statements", broken)
        for v in range(1, 10):
            await realtime.publish(new_id(), [rows(range(200), v)])
    assert await table_rows(realtime, "t") == [(n, n % 10, 9) for n in range(200)]
    assert "could not be written anew" in caplog.text
    for v in range(10, 20):
        await realtime.publish(new_id(), [rows(range(200), v)])
    assert await held(realtime) < 200 * 10


async def test_a_start_gives_back_what_its_replay_left(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "LEAST_DEAD", 500)
    async with opened(tmp_path) as service:
        for v in range(10):
            await service.publish(new_id(), [rows(range(200), v)])
        await service.publish(new_id(), [rows_of("u", {"a": [1]}, ("a",))])
    monkeypatch.setattr("services.realtime.replay._PIECE_BYTES", 1)
    async with opened(tmp_path) as service:
        assert await held(service) == 2_000
        for a in range(2, 5):  # a table a group
            await service.publish(new_id(), [rows_of("u", {"a": [a]}, ("a",))])
        assert await held(service) == 200
        assert await table_rows(service, "t") == [(n, n % 10, 9) for n in range(200)]
