"""Calls that come while others of their query run share a statement, and none of them notices."""

import asyncio
import random
import time

import pyarrow as pa
import pytest

from featurestore.api.common.v1 import common_pb2
from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted
from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys, Outcome
from services.realtime.serving import Serving
from services.realtime.shared_reads import SharedReads
from tests.property.cache.acknowledged import StaleAnswerError
from tests.property.cache.race import raced
from tests.support.realtime_rows import new_id, opened, rows_of

ROWS = "SELECT user_id, n, name FROM feature_store.items ORDER BY n"
NUMBERS = "SELECT user_id, CAST(name AS INTEGER) AS number FROM feature_store.items"
PAIRS = (
    "SELECT a.user_id, count(*) AS pairs FROM feature_store.items a "
    "JOIN feature_store.items b ON b.user_id = a.user_id JOIN feature_store.items c ON c.user_id = a.user_id "
    "GROUP BY a.user_id"
)
MANY_ROWS = 3_000


@pytest.fixture
async def realtime(tmp_path):
    """Users 0 to 49 with a row or two each, user 99 with so many that PAIRS takes a minute; nothing is kept."""
    users = [n % 50 for n in range(75)] + [99] * MANY_ROWS
    async with opened(tmp_path, cache_bytes=0) as service:
        columns = {
            "n": list(range(len(users))),
            "user_id": users,
            "name": [str(user) if user != 7 else "seven" for user in users],
        }
        await service.publish(new_id(), [rows_of("items", columns, ("n",))])
        yield service


async def asking(realtime, sql):
    """Returns how to ask the query for keys; it is planned already."""
    form = QueryForm(sql, await realtime.describe(sql))

    async def ask(*keys, answer_format=AnswerFormat.ARROW):
        asked = Keys(("user_id",), tuple((key,) for key in keys))
        return await realtime.query("qry_x", form, asked, answer_format)

    await ask(0)
    return ask


@pytest.fixture
def statements(monkeypatch):
    """For how many calls each statement was."""
    seen = []
    original = Serving.answer_each

    def counted(self, cursor, query_id, form, calls, answer_format):
        seen.append(len(calls))
        return original(self, cursor, query_id, form, calls, answer_format)

    monkeypatch.setattr(Serving, "answer_each", counted)
    return seen


def decoded(answer):
    if answer.format is AnswerFormat.ROWS:
        return answer.keys, common_pb2.RowSet.FromString(answer.payload)
    with pa.ipc.open_stream(answer.payload) as reader:
        return answer.keys, reader.schema, [batch.to_pydict() for batch in reader]


async def test_calls_that_share_a_statement_get_what_each_gets_by_itself(realtime, statements):
    ask = await asking(realtime, ROWS)
    draw = random.Random(3)
    asked = [tuple(draw.choices(range(-5, 60), k=draw.choice([1, 1, 1, 2, 5, 20]))) for _ in range(200)]
    formats = [draw.choice(list(AnswerFormat)) for _ in asked]
    alone = [await ask(*keys, answer_format=each) for keys, each in zip(asked, formats, strict=True)]
    del statements[:]
    together = await asyncio.gather(
        *(ask(*keys, answer_format=each) for keys, each in zip(asked, formats, strict=True))
    )
    assert list(map(decoded, together)) == list(map(decoded, alone))
    assert sum(statements) == len(asked)
    assert max(statements) > 10, "they shared"
    assert len(statements) < 100


async def test_calls_for_many_keys_share_no_statement(realtime, statements):
    ask = await asking(realtime, ROWS)
    del statements[:]
    await asyncio.gather(*(ask(*range(17)) for _ in range(10)))
    assert statements == [1] * 10


async def test_a_key_that_fails_fails_no_other_call(realtime):
    ask = await asking(realtime, NUMBERS)
    found = await asyncio.gather(*(ask(n) for n in range(40)), return_exceptions=True)
    wrong = found.pop(7)
    assert isinstance(wrong, InvalidArgument)
    assert wrong.reason == "SQL_VALUE"
    assert [each.keys[0].outcome for each in found] == [Outcome.FOUND] * 39


async def test_each_call_is_told_of_its_own_bad_key(realtime):
    ask = await asking(realtime, ROWS)
    found = await asyncio.gather(*(ask("x" if n % 10 == 7 else n) for n in range(40)), return_exceptions=True)
    told = [each.reason if isinstance(each, InvalidArgument) else each.keys[0].outcome for each in found]
    assert told == ["KEY_VALUE" if n % 10 == 7 else Outcome.FOUND for n in range(40)]


async def test_answers_that_are_too_large_together_are_given_one_by_one(realtime, statements):
    ask = await asking(
        realtime, "SELECT user_id, repeat('x', 9000000) AS t FROM feature_store.items WHERE n < 50"
    )
    del statements[:]
    found = await asyncio.gather(*(ask(n) for n in range(20)))
    assert [each.keys[0].row_count for each in found] == [1] * 20
    assert max(statements) > 7, "these were above the limit of an answer together"
    with pytest.raises(ResourceExhausted):
        await ask(*range(10))


async def test_a_key_that_takes_long_delays_those_that_share_its_statement_by_little(realtime, statements):
    ask = await asking(realtime, PAIRS)
    began = time.monotonic()
    with deadline.within(6):
        slow = asyncio.ensure_future(ask(0))
        more = [asyncio.ensure_future(ask(n if n != 20 else 99)) for n in range(1, 40)]
        quick = [call for n, call in enumerate(more, start=1) if n != 20]
        found = await asyncio.gather(slow, *quick)
        took = time.monotonic() - began
        with pytest.raises(DeadlineExceeded):
            await more[19]
    assert [each.keys[0].outcome for each in found] == [Outcome.FOUND] * 39
    assert took < 3, "half of their time, less than which a shared statement may take"
    assert max(statements) > 10


async def test_calls_do_not_wait_for_a_statement_that_takes_long(realtime, statements):
    ask = await asking(realtime, PAIRS)
    slow = [asyncio.ensure_future(ask(99)) for _ in range(2)]
    try:
        await asyncio.sleep(0.1)
        del statements[:]
        with deadline.within(4):
            found = await asyncio.gather(*(ask(n) for n in range(20)))
        assert [each.keys[0].outcome for each in found] == [Outcome.FOUND] * 20
        assert not any(call.done() for call in slow)
    finally:
        for call in slow:
            call.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_callers_that_go_away_while_they_wait_leave_the_others_theirs(realtime):
    ask = await asking(realtime, ROWS)
    calls = [asyncio.ensure_future(ask(n)) for n in range(40)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in found[::2])
    assert [each.keys[0].outcome for each in found[1::2]] == [Outcome.FOUND] * 20
    assert (await ask(3)).keys[0].outcome is Outcome.FOUND


async def test_a_call_sees_what_was_acknowledged_before_it_came(tmp_path, statements):
    race, _ = await raced(tmp_path, reads=1_500, seconds=60, cache_bytes=0)
    assert race.reads >= 1_500
    assert sum(each > 1 for each in statements) > 20, "some shared"


async def test_the_race_finds_calls_that_join_a_statement_which_began_before_them(tmp_path, monkeypatch):
    under_way = {}
    original = SharedReads.answer

    async def joining(self, query_id, form, keys, answer_format):
        name = query_id, keys.tuples
        if name not in under_way:
            under_way[name] = asyncio.ensure_future(original(self, query_id, form, keys, answer_format))
            under_way[name].add_done_callback(lambda _: under_way.pop(name))
        return await asyncio.shield(under_way[name])

    monkeypatch.setattr(SharedReads, "answer", joining)
    with pytest.raises(StaleAnswerError):
        await raced(tmp_path, reads=10**9, seconds=60, cache_bytes=0)
