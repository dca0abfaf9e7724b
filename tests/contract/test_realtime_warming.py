"""Answers that are computed before anybody asks: how many, for whom, behind what, and never a stale one."""

import asyncio
import logging
import time

import pyarrow as pa
import pytest

from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument
from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys
from featurestore.model.table import TableDefinition
from featurestore.model.warming import KeptUp, Warmed
from services.realtime import keeper
from services.realtime.kept import ENTRY_BYTES
from tests.support.realtime_rows import keys_of, new_id, opened, rows_of

USERS = 500
BY_USER = "SELECT user_id, quote_id, amount FROM feature_store.quotes"
CHAINED = """SELECT u.user_id, q.quote_id, n.text FROM feature_store.users u
JOIN feature_store.quotes q ON q.user_id = u.user_id LEFT JOIN feature_store.notes n ON n.quote_id = q.quote_id"""
WHOLE = "SELECT user_id, name, (SELECT sum(amount) FROM feature_store.quotes) AS everything FROM feature_store.users"
CLOCK = "SELECT user_id, now() AS at FROM feature_store.users"


def quotes(ids, users, amount=1.0):
    ids = list(ids)
    columns = {"quote_id": ids, "user_id": list(users), "amount": [amount] * len(ids)}
    return rows_of("quotes", columns, ("quote_id",))


async def filled(service):
    users = {"user_id": list(range(USERS)), "name": [f"n{n}" for n in range(USERS)]}
    notes = {"note_id": list(range(50)), "quote_id": list(range(50)), "text": ["x"] * 50}
    await service.publish(
        new_id(),
        [
            rows_of("users", users, ("user_id",)),
            quotes(range(2 * USERS), [n % USERS for n in range(2 * USERS)]),
            rows_of("notes", notes, ("note_id",)),
        ],
    )
    return service


@pytest.fixture
async def realtime(tmp_path):
    async with opened(tmp_path, warm_share=0) as service:
        yield await filled(service)


async def form_of(realtime, sql=BY_USER):
    return QueryForm(sql, await realtime.describe(sql))


async def warm(realtime, form, keys=None, *, keep=None, answer_format=AnswerFormat.ARROW, query_id="qry_x"):
    asked = None if keys is None else Keys(("user_id",), tuple((key,) for key in keys))
    return await realtime.warm(query_id, form, ("user_id",), asked, keep=keep, answer_format=answer_format)


async def ask(realtime, form, *keys, answer_format=AnswerFormat.ARROW, query_id="qry_x"):
    asked = Keys(("user_id",), tuple((key,) for key in keys))
    return await realtime.query(query_id, form, asked, answer_format)


def rows_in(answer):
    with pa.ipc.open_stream(answer.payload) as reader:
        return sorted(reader.read_all().to_pylist(), key=lambda row: repr(sorted(row.items())))


async def use(realtime, form, query_id="qry_x"):
    return (await realtime.explain(query_id, form, ("user_id",))).cache


async def until(condition, seconds=10):
    """Wait for what is done behind a write."""
    ends = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < ends, "it never came"
        await asyncio.sleep(0.01)


async def entries(realtime, form, count):
    await until(lambda: _has(realtime, form, count))


async def _has(realtime, form, count):
    return (await use(realtime, form)).entries == count


@pytest.mark.parametrize("sql", [BY_USER, CHAINED, WHOLE], ids=["narrowed", "chained", "whole"])
@pytest.mark.parametrize("answer_format", AnswerFormat)
async def test_what_is_warmed_is_served_from_the_cache_as_it_would_be_without(realtime, sql, answer_format):
    form = await form_of(realtime, sql)
    plain = await ask(realtime, form, *range(30), answer_format=answer_format, query_id="")
    done = await warm(realtime, form, answer_format=answer_format)
    assert done == Warmed(computed=USERS, kept=USERS)
    served = await ask(realtime, form, *range(30), answer_format=answer_format)
    assert served.info.from_cache
    assert served.keys == plain.keys
    if answer_format is AnswerFormat.ARROW:
        assert rows_in(served) == rows_in(plain)
    else:
        assert len(served.payload) == len(plain.payload)
    assert not (await ask(realtime, form, USERS + 5, answer_format=answer_format)).info.from_cache


async def test_only_the_given_keys_are_warmed_each_once_and_absent_ones_too(realtime):
    form = await form_of(realtime)
    assert await warm(realtime, form, [1, "2", 2, 1, 9_999]) == Warmed(computed=3, kept=3)
    assert (await ask(realtime, form, 1, 2, 9_999)).info.from_cache
    assert not (await ask(realtime, form, 3)).info.from_cache
    assert await warm(realtime, form, [1, 4]) == Warmed(computed=1, kept=1, already_there=1)


async def test_one_format_is_of_no_use_to_the_other(realtime):
    form = await form_of(realtime)
    await warm(realtime, form, [1], answer_format=AnswerFormat.ROWS)
    assert (await ask(realtime, form, 1, answer_format=AnswerFormat.ROWS)).info.from_cache
    assert not (await ask(realtime, form, 1)).info.from_cache


async def test_keys_of_a_composite_key_and_of_every_odd_type_are_those_that_are_asked_for(realtime):
    sql = """SELECT user_id, uuid_of, day, price, raw, count(*) AS n FROM (SELECT user_id,
        CAST('00000000-0000-0000-0000-00000000000' || (user_id % 3) AS UUID) AS uuid_of,
        CAST('2024-02-29 10:00:00.5' AS TIMESTAMPTZ) AS day, CAST(user_id / 8 AS DECIMAL(9,3)) AS price,
        CAST('ab' AS BLOB) AS raw FROM feature_store.users WHERE user_id < 5) GROUP BY ALL"""
    form = await form_of(realtime, sql)
    key = ("user_id", "uuid_of", "day", "price", "raw")
    done = await realtime.warm("qry_x", form, key, None, keep=None, answer_format=AnswerFormat.ARROW)
    assert done.kept == 5
    asked = (4, "00000000-0000-0000-0000-000000000001", "2024-02-29T11:00:00.5+01:00", "0.500", b"ab")
    answer = await realtime.query("qry_x", form, Keys(key, (asked,)), AnswerFormat.ARROW)
    assert answer.info.from_cache
    assert answer.keys[0].row_count == 1


async def test_a_query_that_calls_the_clock_is_refused_and_told_why(realtime):
    form = await form_of(realtime, CLOCK)
    for how in ({}, {"keys": [1]}, {"keep": True}):
        with pytest.raises(FailedPrecondition, match=r"now\(\)") as refused:
            await warm(realtime, form, **how)
        assert refused.value.reason == "NOT_CACHEABLE"
    assert await use(realtime, form) is None
    assert (await realtime.status()).cache.kept_up == ()


async def test_without_a_cache_nothing_can_be_warmed(tmp_path):
    async with opened(tmp_path, cache_bytes=0) as service:
        await filled(service)
        with pytest.raises(FailedPrecondition, match="cache_bytes"):
            await warm(service, await form_of(service))


async def test_a_wrong_key_is_refused_as_in_serving(realtime):
    form = await form_of(realtime)
    for index_key, reason in (("nobody", "UNKNOWN_KEY_COLUMN"), ("amount", "KEY_TYPE")):
        with pytest.raises(InvalidArgument) as refused:
            await realtime.warm(
                "qry_x", form, (index_key,), None, keep=None, answer_format=AnswerFormat.ARROW
            )
        assert refused.value.reason == reason
    with pytest.raises(InvalidArgument, match="KEY_VALUE"):
        await warm(realtime, form, ["one"])


async def test_a_key_that_the_query_fails_for_ends_it_and_the_others_stay(realtime):
    form = await form_of(realtime, "SELECT user_id, CAST(name AS INTEGER) AS n FROM feature_store.users")
    with pytest.raises(InvalidArgument, match="SQL_VALUE"):
        await warm(realtime, form, [1, 2])


async def test_warming_stops_when_there_is_no_room_and_lets_nothing_hot_go(tmp_path):
    async with opened(tmp_path, cache_bytes=200 * ENTRY_BYTES, warm_share=0) as service:
        await filled(service)
        form, other = await form_of(service), await form_of(service, WHOLE)
        await ask(service, other, *range(60), query_id="hot")
        done = await warm(service, form)
        assert done.kept > 20
        assert done.no_room > 200
        assert done.kept + done.no_room == USERS
        assert done.computed < USERS, "it went on after there was no room"
        assert (await ask(service, other, *range(30), query_id="hot")).info.from_cache
        assert (await ask(service, other, *range(30, 60), query_id="hot")).info.from_cache
        again = await warm(service, form)
        assert (again.kept, again.already_there) == (0, done.kept)
        # What was only warmed is the first to go for what is asked for.
        await ask(service, other, *range(100, 130), query_id="hot")
        assert (await ask(service, other, *range(30), query_id="hot")).info.from_cache


async def test_what_a_write_spoiled_meanwhile_is_not_kept_but_counted(realtime, monkeypatch):
    form = await form_of(realtime)
    await warm(realtime, form, [2])  # from now on writes look at what an answer depends on
    loop = asyncio.get_running_loop()
    rows = realtime._serving._rows

    def overtaken(*given):
        found = rows(*given)
        writing = realtime.publish(new_id(), [quotes([0], [0], amount=7.0)])
        asyncio.run_coroutine_threadsafe(writing, loop).result(10)
        return found

    monkeypatch.setattr(realtime._serving, "_rows", overtaken)
    assert await warm(realtime, form, [0, 1]) == Warmed(computed=2, kept=1, overtaken=1)
    monkeypatch.undo()
    assert {row["amount"] for row in rows_in(await ask(realtime, form, 0))} == {7.0, 1.0}


async def test_of_a_kept_query_what_was_overtaken_is_computed_again(realtime, monkeypatch):
    form = await form_of(realtime)
    await warm(realtime, form, [2])
    loop = asyncio.get_running_loop()
    rows = realtime._serving._rows
    writes = iter([5.0, 6.0])

    def overtaken(*given):
        found = rows(*given)
        amount = next(writes, None)
        if amount is not None:
            writing = realtime.publish(new_id(), [quotes([0], [0], amount=amount)])
            asyncio.run_coroutine_threadsafe(writing, loop).result(10)
        return found

    monkeypatch.setattr(realtime._serving, "_rows", overtaken)
    assert (await warm(realtime, form, [0, 1], keep=True)).overtaken == 1
    await entries(realtime, form, 3)
    served = await ask(realtime, form, 0)
    assert served.info.from_cache
    assert {row["amount"] for row in rows_in(served)} == {6.0, 1.0}


@pytest.mark.parametrize("sql", [BY_USER, CHAINED, WHOLE], ids=["narrowed", "chained", "whole"])
async def test_a_query_that_is_kept_is_computed_again_behind_the_writes(realtime, sql):
    form = await form_of(realtime, sql)
    await warm(realtime, form, range(100), keep=True)
    assert (await use(realtime, form)).kept_up is KeptUp.ASKED
    for amount in (2.0, 3.0):
        await realtime.publish(new_id(), [quotes(range(40), range(40), amount=amount)])
        await entries(realtime, form, 100)
        served = await ask(realtime, form, *range(100))
        assert served.info.from_cache
        plain = await ask(realtime, form, *range(100), query_id="")
        assert rows_in(served) == rows_in(plain)
    await realtime.delete(new_id(), "quotes", keys_of(quote_id=[5]))
    await entries(realtime, form, 100)
    assert (await ask(realtime, form, 5)).info.from_cache


async def test_what_is_not_kept_is_not_computed_again_and_stopping_stops(realtime):
    form = await form_of(realtime)
    await warm(realtime, form, [1])
    await realtime.publish(new_id(), [quotes([1], [1], amount=2.0)])
    await asyncio.sleep(0.1)
    assert (await use(realtime, form)).entries == 0

    await warm(realtime, form, [1], keep=True)
    assert await warm(realtime, form, [1], keep=None) == Warmed(already_there=1)
    assert (await use(realtime, form)).kept_up is KeptUp.ASKED, "None leaves it as it is"
    assert await warm(realtime, form, keep=False) == Warmed(), "nothing is computed only to stop"
    assert (await use(realtime, form)).kept_up is KeptUp.NOT
    await realtime.publish(new_id(), [quotes([1], [1], amount=3.0)])
    await asyncio.sleep(0.1)
    assert (await use(realtime, form)).entries == 0


async def test_a_query_is_kept_through_changes_of_its_tables(realtime):
    form = await form_of(realtime)
    await warm(realtime, form, range(50), keep=True)
    known = await realtime.get_table("quotes")
    wider = known.definition.schema.append(pa.field("extra", pa.int64()))
    await realtime.create_table(TableDefinition("quotes", wider, ("quote_id",)))
    await entries(realtime, form, 50)
    await realtime.publish(new_id(), [quotes([3], [3], amount=9.0)])
    await entries(realtime, form, 50)
    assert (await ask(realtime, form, *range(50))).info.from_cache


async def test_while_its_table_is_gone_a_query_is_not_kept_and_nothing_breaks(realtime, caplog):
    form = await form_of(realtime)
    await warm(realtime, form, [1], keep=True)
    definition = (await realtime.get_table("quotes")).definition
    await realtime.drop_table("quotes")
    await asyncio.sleep(0.1)
    await realtime.create_table(definition)
    await realtime.publish(new_id(), [quotes([1], [1])])
    await ask(realtime, form, 1)
    await realtime.publish(new_id(), [quotes([2], [1], amount=4.0)])
    await asyncio.sleep(1.2)  # plans are looked at each second
    await realtime.publish(new_id(), [quotes([3], [1], amount=5.0)])
    assert len(rows_in(await ask(realtime, form, 1))) == 3
    await realtime.publish(new_id(), [quotes([4], [1], amount=5.0)])
    await entries(realtime, form, 1)
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_an_acknowledgement_does_not_wait_for_what_is_computed_again(realtime, monkeypatch):
    form = await form_of(realtime)
    await warm(realtime, form, [1], keep=True)
    compute = realtime._serving.compute
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(*given, **how):
        loop.call_soon_threadsafe(begun.set)
        time.sleep(1)
        return compute(*given, **how)

    monkeypatch.setattr(realtime._serving, "compute", slow)
    await realtime.publish(new_id(), [quotes([1], [1], amount=2.0)])
    async with asyncio.timeout(5):
        await begun.wait()
    began = time.monotonic()
    await realtime.publish(new_id(), [quotes([1], [1], amount=3.0)])
    assert {row["amount"] for row in rows_in(await ask(realtime, form, 1))} == {3.0, 1.0}
    assert time.monotonic() - began < 0.8, "it waited for the warming"


async def test_reads_do_not_queue_behind_warming_even_with_one_reader(tmp_path, monkeypatch):
    async with opened(tmp_path, readers=1, warm_share=0) as service:
        await filled(service)
        form = await form_of(service)
        compute = service._serving.compute

        def slow(*given, **how):
            time.sleep(0.5)
            return compute(*given, **how)

        monkeypatch.setattr(service._serving, "compute", slow)
        warming = asyncio.ensure_future(warm(service, form, [1]))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await ask(service, form, 2)
        assert time.monotonic() - began < 0.3
        assert (await warming).kept == 1


async def test_when_the_time_ends_what_was_kept_stays(realtime, monkeypatch):
    form = await form_of(realtime)
    compute = realtime._serving.compute

    def slow(*given, **how):
        time.sleep(0.05)
        return compute(*given, **how)

    monkeypatch.setattr(realtime._serving, "compute", slow)
    with deadline.within(0.3), pytest.raises(DeadlineExceeded):
        await warm(realtime, form)
    assert 0 < (await use(realtime, form)).entries < USERS


async def test_closing_amid_warming_is_no_error(tmp_path, caplog):
    async with opened(tmp_path, warm_share=0) as service:
        await filled(service)
        form = await form_of(service)
        await warm(service, form, range(200), keep=True)
        await service.publish(new_id(), [quotes(range(200), range(200), amount=2.0)])
        await asyncio.sleep(0.02)
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_a_query_whose_misses_cost_a_lot_is_warmed_by_itself_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "_COOL_DOWN_SECONDS", 0.0)
    async with opened(tmp_path, warm_share=1e-6) as service:
        await filled(service)
        form = await form_of(service)
        await ask(service, form, 1)
        await entries(service, form, USERS)
        assert (await use(service, form)).kept_up is KeptUp.BY_ITSELF
        [told] = (await service.status()).cache.kept_up
        assert (told.query_id, told.index_key, told.kept_up) == ("qry_x", ("user_id",), KeptUp.BY_ITSELF)
        assert (await ask(service, form, 77)).info.from_cache
        await service.publish(new_id(), [quotes([1], [1], amount=2.0)])
        await entries(service, form, USERS)

        await warm(service, form, keep=False)
        for key in range(3):
            await service.publish(new_id(), [quotes([key], [key], amount=2.0)])
            await ask(service, form, key)
        await asyncio.sleep(1.3)
        assert (await use(service, form)).kept_up is KeptUp.NOT, "who says stop is not overruled"


async def test_if_not_all_keys_would_fit_only_what_was_asked_for_is_kept_up(tmp_path):
    async with opened(tmp_path, warm_share=1e-6, cache_bytes=200 * ENTRY_BYTES) as service:
        await filled(service)
        form = await form_of(service)
        await ask(service, form, 1, 2)
        await until(lambda: _kept_up(service, form))
        await asyncio.sleep(0.2)
        assert (await use(service, form)).entries == 2
        await service.publish(new_id(), [quotes([1], [1], amount=2.0)])
        await entries(service, form, 2)


async def _kept_up(service, form):
    return (await use(service, form)).kept_up is KeptUp.BY_ITSELF


async def test_a_query_that_takes_more_than_it_gives_is_kept_up_by_itself_no_longer(tmp_path):
    async with opened(tmp_path, warm_share=1e-6) as service:
        await filled(service)
        form = await form_of(service)
        service._keeper._window = 1.0
        await ask(service, form, 1)
        await entries(service, form, USERS)
        for amount in range(1_000):  # nobody reads
            await service.publish(new_id(), [quotes([1], [1], amount=float(amount))])
            if (await use(service, form)).kept_up is KeptUp.NOT:
                break
            await asyncio.sleep(0.02)
        assert (await use(service, form)).kept_up is KeptUp.NOT


async def test_explain_and_status_tell_how_answers_fare(realtime):
    form = await form_of(realtime)
    await warm(realtime, form, [1, 2, 3], keep=True)
    await ask(realtime, form, 1, 2)
    await ask(realtime, form, 99)
    found = await use(realtime, form)
    assert (found.hits, found.misses, found.entries) == (2, 1, 4)
    assert found.hit_rate == pytest.approx(2 / 3)
    assert found.size_bytes > 4 * ENTRY_BYTES
    assert 0 < found.oldest_seconds < 60
    assert "kept warm (asked), 4 answers" in str(found)
    report = (await realtime.status()).cache
    assert (report.entries, report.limit_bytes) == (4, 256 * 2**20)
    assert [(each.query_id, each.entries) for each in report.kept_up] == [("qry_x", 4)]
