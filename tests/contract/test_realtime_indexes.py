"""Indexes of declared keys: built by the lane beside readers and publishers, found again after a start."""

import asyncio
import random
from concurrent.futures import Future

import pyarrow as pa
import pytest

from featurestore.model import deadline
from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys, Verdict
from featurestore.model.table import TableDefinition
from services.realtime.indexes import Indexes, indexed_column
from services.realtime.log import Log
from services.realtime.transactions import OpenReads
from tests.support.realtime_rows import keys_of, new_id, opened, rows_of

SQL = "SELECT user_id, payment_id, amount FROM feature_store.payments"


@pytest.fixture
async def realtime(tmp_path):
    async with opened(tmp_path, readers=4) as service:
        yield service


def payments(ids, users, amounts=None, merchants=None):
    columns = {
        "payment_id": ids,
        "user_id": users,
        "amount": amounts or [n / 8 for n in ids],
        "merchant_id": merchants or [n % 17 for n in ids],
    }
    return rows_of("payments", columns, ("payment_id",))


async def form_of(realtime, sql=SQL):
    return QueryForm(sql, await realtime.describe(sql))


async def verdict(realtime, form, *index_key):
    return (await realtime.explain("qry_x", form, index_key)).verdict


async def counted(realtime, sql):
    return await realtime._readers.run(lambda cursor: cursor.execute(sql).fetchall())


async def indexes(realtime):
    return sorted(name for (name,) in await counted(realtime, "SELECT index_name FROM duckdb_indexes()"))


async def eventually(ask, expected):
    for _ in range(500):
        if await ask() == expected:
            return
        await asyncio.sleep(0.02)
    assert await ask() == expected


async def test_a_declared_key_is_indexed_and_an_asked_one_is_not(realtime):
    await realtime.publish(new_id(), [payments(list(range(5000)), [n % 500 for n in range(5000)])])
    form = await form_of(realtime)
    await realtime.query("qry_x", form, Keys(("user_id",), ((7,),)), AnswerFormat.ARROW)
    assert await verdict(realtime, form, "user_id") is Verdict.SCAN
    assert not await indexes(realtime)
    assert (await realtime.declare("qry_x", form, ("user_id",))).verdict is Verdict.INDEXED
    assert await indexes(realtime) == ["__fs_payments.user_id"]


async def test_what_was_declared_is_indexed_after_a_restart_and_after_a_drop(tmp_path):
    rows = [payments(list(range(5000)), [n % 500 for n in range(5000)])]
    async with opened(tmp_path) as realtime:
        await realtime.publish(new_id(), rows)
        await realtime.declare("qry_x", await form_of(realtime), ("user_id",))
    async with opened(tmp_path) as realtime:
        assert await verdict(realtime, await form_of(realtime), "user_id") is Verdict.INDEXED
        await realtime.drop_table("payments")
        assert not await indexes(realtime)
        await realtime.publish(new_id(), rows)
        await eventually(lambda: indexes(realtime), ["__fs_payments.user_id"])
        assert await verdict(realtime, await form_of(realtime), "user_id") is Verdict.INDEXED


async def test_a_build_waits_for_old_reads_and_neither_the_save_nor_publishes_wait_for_long(realtime):
    await realtime.publish(new_id(), [payments(list(range(5000)), [n % 500 for n in range(5000)])])
    form = await form_of(realtime)
    with realtime._readers._reads.reading():  # a read that began now and is not over
        with deadline.within(1):
            told = await realtime.declare("qry_x", form, ("user_id",))
        assert told.verdict is Verdict.SCAN
        assert [warned.reason for warned in told.warnings] == ["NO_INDEX"]
        for n in range(5):
            await realtime.publish(new_id(), [payments([n], [n])])
        assert not await indexes(realtime)
    await eventually(lambda: verdict(realtime, form, "user_id"), Verdict.INDEXED)


async def test_publishing_while_indexes_are_built_loses_nothing(realtime):
    """Index against scan, for every value, after upserts that move rows, deletes and reads beside the builds."""
    draw = random.Random(11)
    users, merchants, ids = 300, 17, 20_000
    await realtime.publish(
        new_id(), [payments(list(range(ids)), [draw.randrange(users) for _ in range(ids)])]
    )
    form = await form_of(
        realtime, "SELECT user_id, merchant_id, amount, payment_id FROM feature_store.payments"
    )
    over = asyncio.Event()
    done = {"published": 0, "read": 0}

    async def publish():
        while not over.is_set():
            some = draw.sample(range(ids + 2_000), draw.choice([1, 50, 400]))
            if draw.random() < 0.2:
                await realtime.delete(new_id(), "payments", keys_of(payment_id=some))
            else:
                await realtime.publish(new_id(), [payments(some, [draw.randrange(users) for _ in some])])
            done["published"] += 1

    async def read():
        while not over.is_set():
            keys = Keys(("user_id",), tuple((draw.randrange(users),) for _ in range(3)))
            await realtime.query("qry_x", form, keys, AnswerFormat.ARROW)
            done["read"] += 1

    writers = [asyncio.ensure_future(work()) for work in (publish, publish, publish, read, read)]
    await asyncio.sleep(0.3)
    for key in ("user_id", "merchant_id"):
        await realtime.declare("qry_x", form, (key,))
        await asyncio.sleep(0.3)
    over.set()
    await asyncio.gather(*writers)
    assert min(done.values()) > 10, done
    assert await indexes(realtime) == ["__fs_payments.merchant_id", "__fs_payments.user_id"]
    for column, count in (("user_id", users), ("merchant_id", merchants)):
        for value in range(count):
            by_index, by_scan = [
                await counted(
                    realtime,
                    f"SELECT count(*), sum(payment_id) FROM feature_store.payments WHERE {condition}",
                )
                for condition in (f"{column} = {value}", f"{column} + 0 = {value}")
            ]
            assert by_index == by_scan, (column, value)


def test_only_reads_that_began_before_hold_a_build_up():
    reads = OpenReads()
    assert reads.drained(0)
    with reads.reading():
        assert not reads.drained(0.01)
    assert reads.drained(0)


def test_a_column_that_can_not_be_a_key_is_never_indexed(tmp_path):
    log = Log(tmp_path)
    kept = Indexes(log, OpenReads())
    tables = {"t": TableDefinition("t", pa.schema([("k", pa.int64()), ("x", pa.float64())]), ("k",))}
    for column in ("x", "gone", "k"):
        done = Future()
        kept.want(indexed_column("T", column), done, tables)
        assert done.done(), column
    assert kept.due_in is None
    log.close()
