"""The warehouse and its follower: every frame of the log exactly once, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import duckdb
import pytest

from featurestore.engine import ledger
from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded, FailedPrecondition, Unavailable
from featurestore.model.table import Drop, Version
from services.extraction import follower as follower_module
from services.extraction.behind import NICENESS
from services.extraction.follower import Follower
from services.extraction.warehouse import Warehouse, WarehouseSettings
from tests.support.fake_realtime import EVENTS, USERS, FakeLog, define, events, no_users, users

ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE (a.range * b.range) % 7 = 1"


@asynccontextmanager
async def following(folder, log, **settings) -> AsyncIterator[tuple[Warehouse, Follower]]:
    async with (
        Warehouse(folder, WarehouseSettings(**settings)) as warehouse,
        Follower(log, warehouse) as follower,
    ):
        yield warehouse, follower


async def rows(warehouse: Warehouse, sql: str) -> list[tuple]:
    reader = await warehouse.reader()
    try:
        return await reader.call(lambda cursor: cursor.execute(sql).fetchall())
    finally:
        await reader.close()


async def until(condition, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.01)


async def test_the_warehouse_holds_what_the_log_says(tmp_path):
    log = FakeLog()
    log.add(define(USERS), users((1, "a"), (2, "b")))
    log.add(users((2, "B"), (3, "c")), no_users(1))
    last = log.add(define(EVENTS), events((3, 1.5), (3, 1.5)))
    async with following(tmp_path, log) as (warehouse, follower):
        assert await follower.wait_until(last) == last
        assert await rows(warehouse, "FROM feature_store.users ORDER BY 1") == [(2, "B"), (3, "c")]
        assert await rows(warehouse, "FROM feature_store.events") == [(3, 1.5), (3, 1.5)]
        last = log.add(Drop("users"))
        await follower.wait_until(last)
        with pytest.raises(duckdb.CatalogException):
            await rows(warehouse, "FROM feature_store.users")
        await until(lambda: follower.following and not follower.last_error)


async def test_small_publishes_share_transactions(tmp_path, monkeypatch):
    log = FakeLog(piece=100)
    first = log.add(define(EVENTS))
    async with following(tmp_path, log) as (warehouse, follower):
        await follower.wait_until(first)
        applied, groups = warehouse.apply, []

        async def slowly(log_id, frames):
            groups.append(len(frames))
            await asyncio.sleep(0.05)
            await applied(log_id, frames)

        monkeypatch.setattr(warehouse, "apply", slowly)
        for number in range(20):
            last = log.add(events((number, 1.0)))
            await asyncio.sleep(0.01)
        await until(lambda: warehouse.position == last)
        assert len(groups) <= 4  # 0.05 s of work, then 0.2 s of rest; without it there were five or more


async def test_who_waits_for_a_version_does_not_wait_for_the_follower_to_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(follower_module, "_REST", 1e6)
    monkeypatch.setattr(follower_module, "_LONGEST_REST_SECONDS", 60.0)
    log = FakeLog()
    log.add(define(EVENTS))
    async with following(tmp_path, log) as (_, follower), asyncio.timeout(30):
        for number in range(4):
            version = log.add(events((number, 1.0)))
            assert await follower.wait_until(version) == version


async def test_a_restart_goes_on_where_the_file_ends(tmp_path):
    log = FakeLog()
    log.add(define(EVENTS), events((1, 1.0)))
    async with following(tmp_path, log) as (_, follower):
        await follower.wait_until(Version("log_a", 1))
    log.add(events((2, 2.0)))
    async with following(tmp_path, log) as (warehouse, follower):
        await follower.wait_until(Version("log_a", 2))
        assert await rows(warehouse, "FROM feature_store.events ORDER BY 1") == [(1, 1.0), (2, 2.0)]
    assert log.followed == [None, Version("log_a", 1)]


async def test_a_frame_that_comes_again_is_not_applied_again(tmp_path):
    log = FakeLog()
    log.add(define(EVENTS))
    log.add(events((1, 1.0)))
    async with Warehouse(tmp_path) as warehouse:
        await warehouse.apply("log_a", log.frames)
        log.add(events((2, 2.0)))
        await warehouse.apply("log_a", log.frames)
        await warehouse.apply("log_a", log.frames[:2])
        assert warehouse.position == Version("log_a", 3)
        assert await rows(warehouse, "FROM feature_store.events ORDER BY 1") == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("moment", ["before the position is stored", "before the commit", "after the commit"])
async def test_a_failure_at_any_moment_leaves_every_frame_applied_once(tmp_path, monkeypatch, moment):
    log = FakeLog()
    log.add(define(EVENTS))
    log.add(events((1, 1.0)))
    async with Warehouse(tmp_path) as warehouse:
        await warehouse.apply("log_a", log.frames)
        log.add(events((2, 2.0)))
        stored = ledger.store

        def broken(cursor, *arguments):
            if moment != "before the position is stored":
                stored(cursor, *arguments)
            if moment == "after the commit":
                cursor.commit()
            raise duckdb.IOException("broken on purpose")

        monkeypatch.setattr(ledger, "store", broken)
        with pytest.raises(duckdb.IOException):
            await warehouse.apply("log_a", log.frames)
        monkeypatch.undo()
        assert warehouse.position == Version("log_a", 3 if moment == "after the commit" else 2)
        await warehouse.apply("log_a", log.frames)
        assert await rows(warehouse, "FROM feature_store.events ORDER BY 1") == [(1, 1.0), (2, 2.0)]


async def test_a_definition_that_failed_is_not_remembered(tmp_path, monkeypatch):
    log = FakeLog()
    log.add(define(USERS), users((1, "a")))
    async with Warehouse(tmp_path) as warehouse:
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "store", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await warehouse.apply("log_a", log.frames)
        await warehouse.apply("log_a", log.frames)
        assert await rows(warehouse, "FROM feature_store.users") == [(1, "a")]


async def test_a_missing_frame_stops_the_warehouse(tmp_path):
    log = FakeLog()
    log.add(define(EVENTS))
    log.add(events((1, 1.0)))
    log.add(events((2, 2.0)))
    async with Warehouse(tmp_path) as warehouse:
        with pytest.raises(FailedPrecondition) as refused:
            await warehouse.apply("log_a", [log.frames[0], log.frames[2]])
        assert refused.value.reason == "LOG_GAP"
        assert warehouse.position is None


async def test_a_second_warehouse_on_the_same_folder_is_refused(tmp_path):
    async with Warehouse(tmp_path):
        with pytest.raises(FailedPrecondition) as refused:
            async with Warehouse(tmp_path):
                pass
        assert refused.value.reason == "STORE_LOCKED"
    async with Warehouse(tmp_path):
        pass


async def test_another_log_is_never_mixed_in(tmp_path):
    log = FakeLog("log_a")
    log.add(define(EVENTS), events((1, 1.0)))
    async with following(tmp_path, log) as (_, follower):
        await follower.wait_until(Version("log_a", 1))
    other = FakeLog("log_b")
    other.add(define(EVENTS), events((7, 7.0)))
    async with following(tmp_path, other) as (warehouse, follower):
        await until(lambda: follower.last_error)
        assert "OTHER_LOG" in follower.last_error
        assert not follower.following
        with pytest.raises(FailedPrecondition) as refused:
            await follower.wait_until(Version("log_b", 1))
        assert refused.value.reason == "OTHER_LOG"
        assert warehouse.position == Version("log_a", 1)
        assert await rows(warehouse, "FROM feature_store.events") == [(1, 1.0)]


async def test_an_older_copy_of_the_log_is_not_followed(tmp_path):
    log = FakeLog()
    log.add(define(EVENTS))
    log.add(events((1, 1.0)))
    async with following(tmp_path, log) as (_, follower):
        await follower.wait_until(Version("log_a", 2))
    log.frames.pop()
    async with following(tmp_path, log) as (_, follower):
        await until(lambda: follower.last_error)
        assert "OTHER_LOG" in follower.last_error


async def test_waiting_for_a_version_of_another_log_is_refused_at_once(tmp_path):
    log = FakeLog()
    log.add(define(EVENTS))
    async with following(tmp_path, log) as (_, follower):
        await follower.wait_until(Version("log_a", 1))
        with pytest.raises(FailedPrecondition) as refused:
            await follower.wait_until(Version("log_z", 1))
        assert refused.value.reason == "OTHER_LOG"


async def test_an_empty_log_is_followed_and_holds_version_zero(tmp_path):
    log = FakeLog()
    async with following(tmp_path, log) as (_, follower):
        await until(lambda: follower.following)
        assert await follower.wait_until(Version("log_a", 0)) == Version("log_a", 0)


async def test_realtime_may_go_away_and_come_back(tmp_path):
    log = FakeLog()
    log.add(define(EVENTS), events((1, 1.0)))
    async with following(tmp_path, log) as (warehouse, follower):
        await follower.wait_until(Version("log_a", 1))
        log.away = True
        log.wake()
        await until(lambda: not follower.following)
        assert "PEER_UNREACHABLE" in follower.last_error
        last = log.add(events((2, 2.0)))
        log.away = False
        await follower.wait_until(last)
        await until(lambda: follower.following and not follower.last_error)
        assert await rows(warehouse, "FROM feature_store.events ORDER BY 1") == [(1, 1.0), (2, 2.0)]


async def test_a_frame_that_cannot_be_applied_is_told_and_tried_again(tmp_path, monkeypatch):
    log = FakeLog()
    log.add(define(EVENTS))
    async with following(tmp_path, log) as (warehouse, follower):
        await follower.wait_until(Version("log_a", 1))
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "store", lambda *_: 1 / 0)
            last = log.add(events((1, 1.0)))
            await until(lambda: "ZeroDivisionError" in follower.last_error)
            with deadline.within(0.3), pytest.raises(Unavailable) as behind:
                await follower.wait_until(last)
            assert "ZeroDivisionError" in str(behind.value)
        await follower.wait_until(last)
        assert await rows(warehouse, "FROM feature_store.events") == [(1, 1.0)]


async def test_near_the_deadline_a_wait_names_both_versions(tmp_path):
    log = FakeLog()
    log.add(define(EVENTS))
    async with following(tmp_path, log) as (_, follower):
        await follower.wait_until(Version("log_a", 1))
        log.held_back = True
        log.add(events((1, 1.0)))
        with deadline.within(0.3), pytest.raises(Unavailable) as behind:
            await follower.wait_until(Version("log_a", 2))
        assert behind.value.reason == "WAREHOUSE_BEHIND"
        assert behind.value.details["warehouse_version"] == "1"
        assert behind.value.details["wanted_version"] == "2"


async def test_frames_that_came_meanwhile_share_a_transaction_but_definitions_do_not(tmp_path, monkeypatch):
    log = FakeLog(piece=2)
    log.add(define(USERS))
    for at in range(200):
        log.add(users((at % 10, str(at))))
    stored: list[int] = []
    real = ledger.store

    def counted(cursor, before, after, version):
        stored.append(version.sequence)
        real(cursor, before, after, version)

    monkeypatch.setattr(ledger, "store", counted)
    async with following(tmp_path, log) as (warehouse, follower):
        await follower.wait_until(Version("log_a", 201))
        names = await rows(warehouse, "SELECT name FROM feature_store.users ORDER BY user_id")
    assert names == [(str(190 + at),) for at in range(10)]
    assert stored[0] == 1
    assert len(stored) < 150


async def test_the_warehouse_follows_while_a_result_is_open_and_the_result_stays_as_it_was(tmp_path):
    log = FakeLog()
    log.add(define(USERS), users(*((n, "old") for n in range(50_000))))
    async with following(tmp_path, log) as (warehouse, follower):
        await follower.wait_until(Version("log_a", 1))
        reader = await warehouse.reader()
        records = await reader.call(
            lambda cursor: cursor.execute("SELECT name FROM feature_store.users").to_arrow_reader(2048)
        )
        seen = [(await reader.call(lambda _: records.read_next_batch())).num_rows]
        for name in ("new", "newer"):
            log.add(users(*((n, name) for n in range(0, 50_000, 2))))
        log.add(no_users(1, 3))
        last = log.add(define(EVENTS), events((1, 1.0)))
        await follower.wait_until(last)
        rest = await reader.call(lambda _: records.read_all())
        await reader.close()
        assert set(rest["name"].to_pylist()) == {"old"}
        assert seen[0] + rest.num_rows == 50_000
        assert await rows(
            warehouse, "SELECT name, count(*) FROM feature_store.users GROUP BY 1 ORDER BY 1"
        ) == [
            ("newer", 25_000),
            ("old", 24_998),
        ]


async def test_a_statement_ends_at_its_deadline_and_gives_its_place_back(tmp_path):
    async with Warehouse(tmp_path, WarehouseSettings(reader_threads=1, open_results=1)) as warehouse:
        began = time.monotonic()
        with deadline.within(0.3):
            reader = await warehouse.reader()
            with pytest.raises(DeadlineExceeded):
                await reader.call(lambda cursor: cursor.execute(ENDLESS).fetchall())
        assert time.monotonic() - began < 5
        assert await rows(warehouse, "SELECT 1") == [(1,)]


async def test_an_abandoned_reader_ends_at_its_deadline(tmp_path):
    async with Warehouse(tmp_path, WarehouseSettings(open_results=1)) as warehouse:
        with deadline.within(0.2):
            abandoned = await warehouse.reader()
        with deadline.within(5):
            assert await rows(warehouse, "SELECT 1") == [(1,)]
        with pytest.raises(DeadlineExceeded):
            await abandoned.call(lambda cursor: cursor.execute("SELECT 1"))


async def test_closing_a_reader_interrupts_its_statement(tmp_path):
    async with Warehouse(tmp_path) as warehouse:
        reader = await warehouse.reader()
        running = asyncio.create_task(reader.call(lambda cursor: cursor.execute(ENDLESS).fetchall()))
        await asyncio.sleep(0.1)
        await reader.close()
        with pytest.raises(duckdb.InterruptException):
            await running


async def test_closing_the_warehouse_ends_what_still_runs(tmp_path):
    async with Warehouse(tmp_path) as warehouse:
        reader = await warehouse.reader()
        running = asyncio.create_task(reader.call(lambda cursor: cursor.execute(ENDLESS).fetchall()))
        await asyncio.sleep(0.1)
    with pytest.raises(duckdb.InterruptException):
        await running


async def test_work_larger_than_memory_spills_to_the_folder(tmp_path):
    async with Warehouse(tmp_path, WarehouseSettings(memory_limit="60MB")) as warehouse:
        found = await rows(
            warehouse,
            "SELECT count(*) FROM (SELECT range, md5(range::VARCHAR) AS h FROM range(1000000) ORDER BY h) t",
        )
        assert found == [(1_000_000,)]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a niceness is the whole process's")
async def test_the_threads_of_the_warehouse_and_of_its_engine_let_others_go_first(tmp_path):
    def niceness() -> Counter[int]:
        found: Counter[int] = Counter()
        for task in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):  # it has just ended
                found[os.getpriority(os.PRIO_PROCESS, int(task.name))] += 1
        return found

    ours = os.getpriority(os.PRIO_PROCESS, 0)
    behind = max(ours, NICENESS)
    before = niceness()[behind]
    async with Warehouse(tmp_path, WarehouseSettings(threads=4)) as warehouse:
        await rows(warehouse, "SELECT 1")
        assert (
            niceness()[behind] - before == 1 + 1 + 3
        )  # the writer, a reader, and what DuckDB starts beside its caller
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == ours
