"""Texts that were planned before serve the same rows as those planned for the call, and only the tables that they were planned for."""

import asyncio
import logging
import threading

import pyarrow as pa
import pytest

from featurestore.engine.planner.text import prepared_sql
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys
from services.realtime import rows as texts
from services.realtime import statements
from tests.support.realtime_rows import new_id, opened, rows_of

PAID = "SELECT quote_id, user_id, amount FROM feature_store.quotes WHERE amount >= 1000"
"""No row is so at first: by what the table holds then, the engine finds nothing without looking."""
JOINED = """
SELECT u.user_id, u.name, q.amount
FROM feature_store.users u JOIN feature_store.quotes q ON q.user_id = u.user_id
WHERE q.kind = 'rent'
"""


@pytest.fixture
async def realtime(tmp_path, monkeypatch):
    monkeypatch.setattr(statements, "_WORTH_WHILE", 1)
    async with opened(tmp_path, readers=1, cache_bytes=0) as service:
        await publish(service, range(400))
        await service.publish(
            new_id(),
            [
                rows_of(
                    "users",
                    {"user_id": list(range(100)), "name": [f"n{n}" for n in range(100)]},
                    ("user_id",),
                )
            ],
        )
        yield service


async def publish(service, ids, amount=0.5):
    quotes = {
        "quote_id": list(ids),
        "user_id": [n * 7 % 100 for n in ids],
        "kind": ["rent" if n % 3 else "own" for n in ids],
        "amount": [amount] * len(ids),
    }
    await service.publish(new_id(), [rows_of("quotes", quotes, ("quote_id",))])


def in_reader():
    return threading.current_thread().name.startswith("realtime-reader")


@pytest.fixture
def ran(monkeypatch):
    """The first word of each text that a reader ran for keys."""
    words = []
    run = texts.run

    def told(cursor, form, sql, key_count):
        if in_reader():
            words.append(sql.split()[0])
        return run(cursor, form, sql, key_count)

    monkeypatch.setattr(texts, "run", told)
    return words


async def form_of(realtime, sql):
    return QueryForm(sql, await realtime.describe(sql))


async def answered(realtime, form, *tuples, columns=("user_id",), query_id="qry_x"):
    asked = Keys(columns, tuple(each if isinstance(each, tuple) else (each,) for each in tuples))
    answer = await realtime.query(query_id, form, asked, AnswerFormat.ARROW)
    with pa.ipc.open_stream(answer.payload) as reader:
        return [sorted(map(tuple, map(dict.values, batch.to_pylist()))) for batch in reader]


async def test_a_text_is_planned_once_for_tables_that_stay_as_they_are(realtime, ran):
    form = await form_of(realtime, JOINED)
    first = [await answered(realtime, form, key) for key in (7, 20, 9)]
    assert ran == ["WITH", "EXECUTE", "EXECUTE"]
    assert await answered(realtime, form, 7, 9, 20) == [first[0][0], first[2][0], first[1][0]]
    assert ran[3:] == ["EXECUTE"]
    assert first == [await answered(realtime, form, key, query_id="") for key in (7, 20, 9)]


async def test_it_is_not_planned_for_fewer_calls_than_make_it_worth_while(realtime, ran, monkeypatch):
    monkeypatch.setattr(statements, "_WORTH_WHILE", 3)
    form = await form_of(realtime, JOINED)
    for _ in range(2):
        for _ in range(3):
            await answered(realtime, form, 7)
        await publish(realtime, range(3))
    assert set(ran) == {"WITH"}
    for _ in range(4):
        await answered(realtime, form, 7)
    assert ran[-1] == "EXECUTE"


async def test_a_write_to_a_table_that_it_reads_has_it_planned_anew(realtime, ran):
    form = await form_of(realtime, PAID)
    assert [await answered(realtime, form, 7) for _ in range(3)] == [[[]]] * 3
    assert ran == ["WITH", "EXECUTE", "EXECUTE"]
    await publish(realtime, range(400, 500), amount=2000.0)
    found = [await answered(realtime, form, 7) for _ in range(3)]
    assert found == [[[(401, 7, 2000.0)]]] * 3
    assert ran[3:] == ["WITH", "EXECUTE", "EXECUTE"]


async def test_without_the_marks_the_engine_would_find_nothing_for_good(realtime, monkeypatch):
    monkeypatch.setattr(statements.Marks, "of", lambda *_: (0,))
    form = await form_of(realtime, PAID)
    assert [await answered(realtime, form, 7) for _ in range(3)] == [[[]]] * 3
    await publish(realtime, range(400, 500), amount=2000.0)
    assert await answered(realtime, form, 7) == [[]], "this DuckDB needs no marks any more"


async def test_a_write_to_another_table_leaves_it(realtime, ran):
    form = await form_of(realtime, PAID)
    await answered(realtime, form, 7)
    await realtime.publish(new_id(), [rows_of("users", {"user_id": [7], "name": ["x"]}, ("user_id",))])
    await answered(realtime, form, 7)
    assert ran == ["WITH", "EXECUTE"]


async def test_an_index_that_is_built_has_it_planned_anew(realtime, ran):
    form = await form_of(realtime, JOINED)
    await answered(realtime, form, 7)
    await answered(realtime, form, 7)
    await realtime.declare("qry_x", form, ("user_id",))
    ran.clear()
    await answered(realtime, form, 7)
    await answered(realtime, form, 7)
    assert ran == ["WITH", "EXECUTE"]


async def test_rows_that_a_write_overtook_are_not_answered(realtime, monkeypatch, ran):
    form = await form_of(realtime, PAID)
    await answered(realtime, form, 7)
    run = texts.run

    def overtaken(cursor, form, sql, key_count):
        found = run(cursor, form, sql, key_count)
        if sql.startswith("EXECUTE") and in_reader():
            with realtime._lane._marks.writing(["quotes"]):
                pass
        return found

    monkeypatch.setattr(texts, "run", overtaken)
    await answered(realtime, form, 7)
    assert ran == ["WITH", "EXECUTE", "WITH"]


async def test_numbers_without_gaps_are_looked_up_by_a_text_of_their_own(realtime, ran):
    form = await form_of(realtime, JOINED)
    for keys in ((7, 8), (7, 8, 9), (8, 7)):
        await answered(realtime, form, *keys)
        assert await answered(realtime, form, *keys) == [
            (await answered(realtime, form, key, query_id=""))[0] for key in keys
        ]
    assert set(ran) == {"WITH"}


async def test_the_statement_looks_keys_up_in_the_index(realtime):
    form = await form_of(realtime, JOINED)
    await publish(realtime, range(1_000, 120_000))
    await realtime.declare("qry_x", form, ("user_id",))
    await answered(realtime, form, 7)
    prepared = realtime._serving.known("qry_x", form, ("user_id",))
    scans = await realtime._readers.run(lambda cursor: explained(cursor, prepared))
    assert scans.count("Index Scan") == 2
    assert "Sequential Scan" not in scans


def explained(cursor, prepared):
    cursor.execute(f"PREPARE looked AS {prepared_sql(prepared.form, prepared.plan, prepared.columns)}")
    [(_, found)] = cursor.execute("EXPLAIN ANALYZE EXECUTE looked([7000007, 9]::BIGINT[])").fetchall()
    return " ".join(found.replace("│", " ").split())


async def test_a_composite_key_is_looked_up_as_one(realtime, ran):
    form = await form_of(realtime, "SELECT user_id, kind, amount FROM feature_store.quotes")
    asked = [(7, "rent"), (7, "own"), (14, "own"), (99_999, "rent")]
    columns = ("user_id", "kind")
    found = [await answered(realtime, form, *asked, columns=columns) for _ in range(2)]
    assert ran == ["WITH", "EXECUTE"]
    assert found[0] == found[1]
    assert [len(each) for each in found[0]][3] == 0
    assert all(row[:2] == key for key, rows in zip(asked, found[0], strict=True) for row in rows)


async def test_a_cursor_holds_a_bounded_number_of_statements(realtime, monkeypatch):
    monkeypatch.setattr(statements, "_MOST", 5)
    form = await form_of(realtime, JOINED)
    for number in range(12):
        for _ in range(2):
            await answered(realtime, form, 7, query_id=f"qry_{number}")
    held = await realtime._readers.run(
        lambda cursor: cursor.execute("SELECT count(*) FROM duckdb_prepared_statements()").fetchall()
    )
    assert held == [(5,)]


@pytest.mark.parametrize(("long", "most", "held"), [(0.0, 2**20, False), (0.0, 2**30, True), (60.0, 0, True)])
async def test_a_statement_does_not_hold_the_rows_of_a_long_call(realtime, monkeypatch, long, most, held):
    monkeypatch.setattr(statements, "_LONG_SECONDS", long)
    monkeypatch.setattr(statements, "_MOST_HELD_BYTES", most)
    monkeypatch.setattr(realtime._watchman, "consider", lambda *_: None)  # it has statements of its own
    schema = pa.schema([("n", pa.int64()), ("k", pa.int64()), ("t", pa.string())])
    numbers = range(200_000)
    many = {"n": numbers, "k": [n % 2 for n in numbers], "t": [f"text-{n:030}" for n in numbers]}
    await realtime.publish(new_id(), [rows_of("many", many, ("n",), schema=schema)])
    form = await form_of(realtime, "SELECT k AS user_id, max(t) AS t FROM feature_store.many GROUP BY k")
    found = [await answered(realtime, form, 1) for _ in range(3)]
    assert found == [found[0]] * 3
    [(size,)] = await realtime._readers.run(lambda cursor: cursor.execute(statements._HELD).fetchall())
    assert (size > 4 * 2**20) is held


async def test_a_text_that_can_not_be_prepared_is_planned_for_each_call(realtime, monkeypatch, ran, caplog):
    monkeypatch.setattr(statements, "prepared_sql", lambda *_: "SELECT nothing")
    form = await form_of(realtime, JOINED)
    with caplog.at_level(logging.ERROR):
        found = [await answered(realtime, form, 7) for _ in range(4)]
    assert found[0][0]
    assert found == [found[0]] * 4
    assert ran == ["WITH"] * 4
    assert "can't be prepared" in caplog.text


async def test_a_statement_that_fails_where_the_text_does_not_is_given_up(realtime, monkeypatch, ran, caplog):
    monkeypatch.setattr(
        statements, "prepared_sql", lambda *_: "SELECT CAST('x' || len($1::BIGINT[]) AS BIGINT) AS user_id"
    )
    form = await form_of(realtime, JOINED)
    with caplog.at_level(logging.ERROR):
        found = [await answered(realtime, form, 7) for _ in range(4)]
    assert found == [found[0]] * 4
    assert ran == ["WITH", "EXECUTE", "WITH", "WITH", "WITH"]
    assert caplog.text.count("fails as a prepared statement alone") == 1


async def test_an_error_that_the_text_meets_too_is_told_and_changes_nothing(realtime, ran):
    sql = "SELECT user_id, CAST(kind AS BIGINT) AS kind FROM feature_store.quotes"
    form = await form_of(realtime, sql)
    assert [await answered(realtime, form, 100_000) for _ in range(2)] == [[[]]] * 2
    with pytest.raises(InvalidArgument, match="Could not convert"):
        await answered(realtime, form, 7)
    assert ran == ["WITH", "EXECUTE", "EXECUTE", "WITH", "SELECT"]
    ran.clear()
    assert [await answered(realtime, form, 100_000) for _ in range(2)] == [[[]]] * 2
    assert ran == ["WITH", "EXECUTE"], "the reader has another cursor since"


async def test_the_watchman_finds_that_a_statement_answers_otherwise(realtime, monkeypatch, caplog):
    def other(form, plan, columns):
        return prepared_sql(form, plan, columns).replace("'rent'", "'own'")

    monkeypatch.setattr(statements, "prepared_sql", other)
    form = await form_of(realtime, JOINED)
    with caplog.at_level(logging.ERROR):
        await answered(realtime, form, 7)
        for _ in range(500):
            if realtime._watchman.differed:
                break
            await realtime._readers.run(lambda cursor: cursor.execute("SELECT 1").fetchall())
            await asyncio.sleep(0.02)
    assert realtime._watchman.differed == 1
    assert "gave another answer" in caplog.text
