"""Dead rows are given back while the store is written to and read: it does not grow, and nothing else changes."""

import asyncio

import duckdb
import pyarrow as pa
import pytest

from featurestore.model.errors import ResourceExhausted
from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys, Verdict
from services.realtime import anew, compaction
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


async def none_beside(realtime):
    """Whether, once the lane is through, no table is there that did not get its place."""
    for _ in range(200):
        if not await asked(realtime, "FROM duckdb_tables() WHERE table_name LIKE '%anew%'"):
            return True
        await asyncio.sleep(0.02)
    return False


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


def no_room(*_):
    raise duckdb.OutOfMemoryException("no room")


async def test_what_can_t_be_written_anew_stays_as_it_is(realtime, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        patched.setattr(anew, "put_in_place", no_room)
        for v in range(1, 10):
            await realtime.publish(new_id(), [rows(range(200), v)])
    assert await table_rows(realtime, "t") == [(n, n % 10, 9) for n in range(200)]
    assert "could not be written anew" in caplog.text
    assert await none_beside(realtime)
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


@pytest.fixture
async def rewriting(realtime, monkeypatch):
    """Writes a table anew where half of its rows change, and says how often."""
    written = []
    write = anew.write
    monkeypatch.setattr(anew, "LEAST_CHANGED", 100)
    monkeypatch.setattr(compaction, "LEAST_DEAD", 10_000)
    monkeypatch.setattr(anew, "write", lambda *given: written.append(given[1].name) or write(*given))
    realtime.written = written
    return realtime


async def test_a_publish_that_replaces_many_rows_leaves_no_dead_ones(rewriting):
    before = await indexes(rewriting)
    await rewriting.publish(new_id(), [rows(range(50, 250), 1)])
    assert rewriting.written == ["T"]
    assert await held(rewriting) == 250
    shown = [(n, n % 10, int(n >= 50)) for n in range(250)]
    assert sorted(await table_rows(rewriting, "t")) == shown
    assert await indexes(rewriting) == before != []
    assert await none_beside(rewriting)
    form = QueryForm(SQL, await rewriting.describe(SQL))
    assert (await rewriting.explain("qry_x", form, ("owner",))).verdict is Verdict.INDEXED
    await rewriting.publish(new_id(), [rows([7, 250], 2)])  # the key still holds
    assert sorted(await table_rows(rewriting, "t")) == sorted(
        [row for row in shown if row[0] != 7] + [(7, 7, 2), (250, 0, 2)]
    )


async def test_a_delete_of_many_rows_leaves_no_dead_ones(rewriting):
    await rewriting.delete(new_id(), "t", keys_of(id=list(range(150))))
    assert rewriting.written == ["T"]
    assert await held(rewriting) == 50
    assert await table_rows(rewriting, "t") == [(n, n % 10, 0) for n in range(150, 200)]


async def test_rows_that_are_new_or_few_are_written_where_the_others_are(rewriting):
    await rewriting.publish(new_id(), [rows(range(200, 400), 1)])
    await rewriting.publish(new_id(), [rows(range(99), 2)])
    assert rewriting.written == []
    assert len(await table_rows(rewriting, "t")) == 400


async def test_answers_that_were_kept_go_when_the_table_is_written_anew(rewriting):
    form = QueryForm(SQL, await rewriting.describe(SQL))
    key = Keys(("owner",), ((3,),))
    kept = [await rewriting.query("qry_x", form, key, AnswerFormat.ARROW) for _ in range(2)]
    assert kept[1].info.from_cache
    await rewriting.publish(new_id(), [rows(range(200), 5)])
    found = await rewriting.query("qry_x", form, key, AnswerFormat.ARROW)
    assert rewriting.written == ["T"]
    assert not found.info.from_cache
    assert found.payload != kept[1].payload


async def test_readers_see_the_whole_publish_or_nothing_of_it_while_the_table_is_written_anew(rewriting):
    sql = "SELECT owner, min(v) AS least, max(v) AS most FROM feature_store.t GROUP BY owner"
    form = QueryForm(sql, await rewriting.describe(sql))
    done = asyncio.Event()
    seen = []

    async def read(owner):
        while not done.is_set():
            answer = await rewriting.query("qry_y", form, Keys(("owner",), ((owner,),)), AnswerFormat.ARROW)
            with pa.ipc.open_stream(answer.payload) as reader:
                seen.extend(reader.read_all().to_pylist())
            await asyncio.sleep(0.001)

    readers = [asyncio.create_task(read(owner)) for owner in range(3)]
    for v in range(1, 31):
        await rewriting.publish(new_id(), [rows(range(200), v)])
    done.set()
    await asyncio.gather(*readers)
    assert len(rewriting.written) == 30
    assert len(seen) > 10
    assert [row for row in seen if row["least"] != row["most"]] == []


@pytest.mark.parametrize("step", ["_worth_it", "write"])
async def test_rows_are_changed_where_they_are_if_the_table_can_t_be_written_anew(
    rewriting, monkeypatch, caplog, step
):
    monkeypatch.setattr(anew, step, no_room)
    await rewriting.publish(new_id(), [rows(range(200), 1)])
    assert await table_rows(rewriting, "t") == [(n, n % 10, 1) for n in range(200)]
    assert "its rows are changed instead" in caplog.text
    assert await none_beside(rewriting)


async def test_a_publish_whose_table_does_not_get_its_place_is_refused_whole(rewriting, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(anew, "put_in_place", no_room)
        with pytest.raises(ResourceExhausted) as refused:
            await rewriting.publish(new_id(), [rows(range(200), 1)])
    assert refused.value.reason == "MEMORY"
    assert await table_rows(rewriting, "t") == [(n, n % 10, 0) for n in range(200)]
    assert await none_beside(rewriting)
    await rewriting.publish(new_id(), [rows(range(200), 2)])
    assert await table_rows(rewriting, "t") == [(n, n % 10, 2) for n in range(200)]
