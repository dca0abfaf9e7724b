"""Plans in service: kept up to a bound, made anew when tables change, taken back when they are wrong."""

import asyncio
import functools
import gc
import logging
import os

import pyarrow as pa
import pytest

from featurestore.engine.planner import Rule
from featurestore.engine.planner.text import planned_sql
from featurestore.model.errors import FailedPrecondition
from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys, Verdict
from featurestore.model.table import TableDefinition
from services.realtime import plans
from tests.support.figures import MIB, forget_peak
from tests.support.realtime_rows import new_id, opened, rows_of

JOINED = """
SELECT u.user_id, u.name, q.amount
FROM feature_store.users u JOIN feature_store.quotes q ON q.user_id = u.user_id
"""
SHARE = "SELECT user_id, amount, sum(amount) OVER () AS everybody FROM feature_store.quotes"


@pytest.fixture
async def realtime(tmp_path):
    async with opened(tmp_path) as service:
        await publish(service)
        yield service


async def publish(service):
    users = {"user_id": list(range(100)), "name": [f"n{n}" for n in range(100)]}
    quotes = {
        "quote_id": list(range(500)),
        "user_id": [n % 100 for n in range(500)],
        "amount": [n / 8 for n in range(500)],
    }
    await service.publish(
        new_id(), [rows_of("users", users, ("user_id",)), rows_of("quotes", quotes, ("quote_id",))]
    )


async def form_of(realtime, sql):
    return QueryForm(sql, await realtime.describe(sql))


async def rows(realtime, form, *values, query_id="qry_x"):
    asked = Keys(("user_id",), tuple((value,) for value in values))
    answer = await realtime.query(query_id, form, asked, AnswerFormat.ARROW)
    with pa.ipc.open_stream(answer.payload) as reader:
        return [sorted(map(tuple, map(dict.values, batch.to_pylist()))) for batch in reader]


def planned_wrongly(monkeypatch, *off):
    monkeypatch.setattr(plans, "plan", functools.partial(plans.plan, off=frozenset(off)))


async def looked_at(realtime, count=1):
    for _ in range(500):
        if realtime._watchman.compared >= count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"looked at {realtime._watchman.compared} answers, not {count}")


async def test_a_query_is_planned_anew_when_a_table_that_it_reads_changes(realtime):
    form = await form_of(realtime, JOINED)
    told = await realtime.declare("qry_x", form, ("user_id",))
    assert told.verdict is Verdict.INDEXED
    await realtime.drop_table("quotes")
    as_text = {"quote_id": [1, 2], "user_id": ["7", "8"], "amount": [0.5, 0.25]}
    await realtime.publish(new_id(), [rows_of("quotes", as_text, ("quote_id",))])
    assert await rows(realtime, form, 7) == [[(7, "n7", 0.5)]]
    told = await realtime.explain("qry_x", form, ("user_id",))
    assert [(each.table, each.rules) for each in told.occurrences if not each.narrowed_on] == [
        ("quotes", ("SAME_TYPE",))
    ]
    assert told.verdict is Verdict.PARTLY_INDEXED


async def test_a_table_that_gets_more_columns_leaves_a_stored_star_as_it_was(realtime):
    form = await form_of(realtime, "SELECT * FROM feature_store.users")
    assert await rows(realtime, form, 7) == [[(7, "n7")]]
    known = (await realtime.get_table("users")).definition
    wider = TableDefinition("users", known.schema.append(pa.field("city", pa.string())), ("user_id",))
    await realtime.create_table(wider)
    await realtime.publish(new_id(), [rows_of("users", {"user_id": [7], "name": ["new"], "city": ["Bern"]})])
    assert await rows(realtime, form, 7) == [[(7, "new")]]
    assert (await realtime.explain("qry_x", form, ("user_id",))).occurrences[0].narrowed_on == "user_id"


async def test_a_query_whose_stored_column_is_gone_is_refused_by_name(realtime):
    form = await form_of(realtime, JOINED)
    assert await rows(realtime, form, 7)
    await realtime.drop_table("users")
    await realtime.publish(new_id(), [rows_of("users", {"user_id": [7], "nickname": ["x"]}, ("user_id",))])
    with pytest.raises(FailedPrecondition) as caught:
        await rows(realtime, form, 7)
    assert caught.value.reason == "QUERY_SCHEMA_CHANGED"


async def test_answers_stay_right_while_tables_are_dropped_and_made_again(realtime):
    """A reader that meets a change of definitions halfway starts again; it never mixes two of them."""
    form = await form_of(realtime, "SELECT user_id, name FROM feature_store.users")
    over = False

    async def redefine():
        for n in range(30):
            await realtime.drop_table("users")
            user_id, name = (7, "n7") if n % 2 else ("7", "text")
            await realtime.publish(
                new_id(), [rows_of("users", {"user_id": [user_id], "name": [name]}, ("user_id",))]
            )

    async def read():
        found = set()
        while not over:
            try:
                found.update(*await rows(realtime, form, 7))
            except FailedPrecondition as refused:
                found.add(refused.reason)
            await asyncio.sleep(0.001)
        return found

    readers = [asyncio.ensure_future(read()) for _ in range(3)]
    await redefine()
    over = True
    assert set().union(*await asyncio.gather(*readers)) <= {(7, "n7"), "QUERY_SCHEMA_CHANGED"}


async def serve_distinct(realtime, numbers):
    for n in numbers:
        form = await form_of(realtime, f"SELECT user_id, amount + {n} AS a FROM feature_store.quotes")
        assert len((await rows(realtime, form, 7, query_id=f"qry_{n}"))[0]) == 5


async def test_of_many_distinct_queries_the_plans_of_the_last_are_kept(realtime, monkeypatch):
    monkeypatch.setattr(plans, "MOST_PLANS", 50)
    await serve_distinct(realtime, range(300))
    assert len(realtime._serving._plans) == 50


@pytest.mark.slow
async def test_ten_thousand_distinct_queries_keep_memory_bounded(realtime, tell):
    await serve_distinct(realtime, range(plans.MOST_PLANS))
    gc.collect()
    before = forget_peak(os.getpid())
    await serve_distinct(realtime, range(plans.MOST_PLANS, 10_000))
    gc.collect()
    grown = forget_peak(os.getpid()) - before
    tell(f"{plans.MOST_PLANS} plans kept; 8,000 more queries grew memory by {grown / MIB:.1f} MiB")
    assert grown < 50 * MIB


async def test_the_watchman_looks_at_the_first_answers_and_finds_nothing(realtime):
    form = await form_of(realtime, JOINED)
    for value in range(30):
        await rows(realtime, form, value)
    await looked_at(realtime, 5)
    assert realtime._watchman.differed == 0
    assert (await realtime.status()).plans_dropped == 0


async def test_a_wrong_plan_is_taken_back_and_told_without_the_key(realtime, monkeypatch, caplog):
    planned_wrongly(monkeypatch, Rule.WINDOW)
    form = await form_of(realtime, SHARE)
    with caplog.at_level(logging.ERROR):
        wrong = await rows(realtime, form, 7)
        await looked_at(realtime)
    assert (await realtime.status()).plans_dropped == 1
    assert "qry_x" in caplog.text
    assert "(7,)" not in caplog.text
    healed = await rows(realtime, form, 7)
    assert healed != wrong
    assert {each[2] for each in healed[0]} == {sum(n / 8 for n in range(500))}
    told = await realtime.explain("qry_x", form, ("user_id",))
    assert told.verdict is Verdict.SCAN
    assert "report" in told.occurrences[0].stopped_by


async def test_queries_that_may_differ_from_run_to_run_are_not_looked_at(realtime, monkeypatch):
    planned_wrongly(monkeypatch, Rule.WINDOW)
    form = await form_of(realtime, SHARE.replace("amount,", "amount, now() AS at,"))
    await rows(realtime, form, 7)
    await asyncio.sleep(0.5)
    assert realtime._watchman.compared == 0


async def test_a_plan_that_fails_where_the_query_does_not_is_taken_back_at_once(
    realtime, monkeypatch, caplog
):
    form = await form_of(realtime, JOINED)
    expected = await rows(realtime, form, 7, query_id="")
    monkeypatch.setattr(
        "services.realtime.rows.planned_sql", lambda *_: "SELECT CAST('x' AS BIGINT) AS user_id"
    )
    with caplog.at_level(logging.ERROR):
        assert await rows(realtime, form, 7) == expected
    assert "failed where the plain query does not" in caplog.text


async def plain_is_faster(realtime, form):
    """As if the watchman had found so for calls with one key."""
    await rows(realtime, form, 1)
    prepared = realtime._serving.known("qry_x", form, ("user_id",))
    for _ in range(7):
        prepared.trials.of(1).add(0.1, 1.0, 2.0)
    return prepared


async def test_the_query_as_it_is_serves_calls_for_which_it_was_found_faster(realtime, monkeypatch):
    monkeypatch.setattr(realtime._watchman, "consider", lambda *_: None)  # it runs such texts too
    form = await form_of(realtime, JOINED)
    expected = [await rows(realtime, form, 7), await rows(realtime, form, 8, 9)]
    prepared = await plain_is_faster(realtime, form)
    sizes = []
    monkeypatch.setattr(
        "services.realtime.rows.planned_sql",
        lambda form, plan, keys, values: (
            sizes.append(len(keys.tuples)) or planned_sql(form, plan, keys, values)
        ),
    )
    prepared.number = -1  # nothing is found in the cache
    assert [await rows(realtime, form, 7), await rows(realtime, form, 8, 9)] == expected
    assert sizes == [2]
    assert "__fs1" not in (await realtime.explain("qry_x", form, ("user_id",))).plan


async def test_a_query_that_fails_as_it_is_is_narrowed_again(realtime, monkeypatch):
    form = await form_of(realtime, JOINED)
    expected = await rows(realtime, form, 7)
    prepared = await plain_is_faster(realtime, form)
    prepared.number = -1  # nothing is found in the cache
    # As if another key's row were met by a cast.
    monkeypatch.setattr("services.realtime.rows.serving_sql", lambda *_: "SELECT CAST('x' AS BIGINT)")
    assert await rows(realtime, form, 7) == expected
    assert not prepared.trials.of(1).plain


async def test_an_error_of_the_planner_keeps_nobody_from_being_served(realtime, monkeypatch, caplog):
    def broken(*_args, **_more):
        raise KeyError("a tree that nobody thought of")

    monkeypatch.setattr(plans, "plan", broken)
    with caplog.at_level(logging.ERROR):
        assert len((await rows(realtime, await form_of(realtime, JOINED), 7))[0]) == 5
    assert "could not be planned" in caplog.text
