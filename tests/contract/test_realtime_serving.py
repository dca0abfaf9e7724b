"""Serving saved queries by key: answers per key, formats, limits, deadlines, changed tables, explain."""

import asyncio
import datetime as dt
import threading
import time

import pyarrow as pa
import pytest

from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, ResourceExhausted
from featurestore.model.query import OrderTerm, QueryForm
from featurestore.model.serving import AnswerFormat, KeyAnswer, Keys, Outcome, Verdict
from services.realtime.answers import split
from tests.support.realtime_rows import new_id, opened, rows_of

SQL = """
SELECT u.user_id, u.name, q.quote_id, q.amount -- a comment at the end
FROM feature_store.users u LEFT JOIN feature_store.quotes q ON q.user_id = u.user_id
ORDER BY quote_id -- and another"""


@pytest.fixture
async def realtime(tmp_path):
    async with opened(tmp_path) as service:
        users = {"user_id": list(range(100)), "name": [f"n{n}" for n in range(100)]}
        quotes = {
            "quote_id": list(range(50)),
            "user_id": [n % 10 for n in range(50)],
            "amount": [n / 8 for n in range(50)],
        }
        await service.publish(
            new_id(), [rows_of("users", users, ("user_id",)), rows_of("quotes", quotes, ("quote_id",))]
        )
        yield service


async def form_of(realtime, sql, *order):
    return QueryForm(
        sql, await realtime.describe(sql), tuple(OrderTerm(name, False, False) for name in order)
    )


async def ask(realtime, form, columns, *tuples, answer_format=AnswerFormat.ARROW):
    return await realtime.query("qry_x", form, Keys(columns, tuples), answer_format)


def batches_of(answer):
    with pa.ipc.open_stream(answer.payload) as reader:
        return reader.schema, list(reader)


async def test_one_key_gets_its_rows_in_the_stored_schema_and_order(realtime):
    form = await form_of(realtime, SQL, "quote_id")
    answer = await ask(realtime, form, ("user_id",), (3,))
    schema, (batch,) = batches_of(answer)
    assert schema.equals(form.schema, check_metadata=True)
    assert batch["quote_id"].to_pylist() == [3, 13, 23, 33, 43]
    assert answer.keys == (KeyAnswer(Outcome.FOUND, 5),)
    assert answer.info.query_id == "qry_x"
    assert answer.info.data_version == await realtime.version()


async def test_many_keys_are_answered_in_the_order_asked_with_duplicates_and_absences(realtime):
    form = await form_of(realtime, SQL, "quote_id")
    answer = await ask(realtime, form, ("user_id",), (7,), ("12",), (1000,), (7,), (0,))
    _, batches = batches_of(answer)
    assert [batch.num_rows for batch in batches] == [5, 1, 0, 5, 5]
    assert [each.outcome.value for each in answer.keys] == ["found", "found", "absent", "found", "found"]
    assert batches[0]["quote_id"].to_pylist() == batches[3]["quote_id"].to_pylist() == [7, 17, 27, 37, 47]
    assert batches[1].to_pylist() == [{"user_id": 12, "name": "n12", "quote_id": None, "amount": None}]


async def test_absent_keys_among_many_weigh_next_to_nothing(realtime):
    """Arrow writes a slice of no rows with all offsets of what it was cut from."""
    form = await form_of(realtime, "SELECT u.user_id, u.name FROM feature_store.users u")
    present = [(n,) for n in range(100)]
    with_rows = await ask(realtime, form, ("user_id",), *present)
    with_more = await ask(realtime, form, ("user_id",), *present, *((n,) for n in range(1000, 1100)))
    assert len(with_more.payload) < 2 * len(with_rows.payload)


async def test_many_keys_equal_so_many_single_ones(realtime):
    form = await form_of(realtime, SQL, "quote_id")
    asked = [(n,) for n in (5, 99, 100, 5, 0)]
    _, together = batches_of(await ask(realtime, form, ("user_id",), *asked))
    singles = [batches_of(await ask(realtime, form, ("user_id",), one))[1][0] for one in asked]
    assert [batch.to_pylist() for batch in together] == [batch.to_pylist() for batch in singles]


async def test_composite_keys_match_as_tuples(realtime):
    form = await form_of(realtime, SQL)
    _, batches = batches_of(await ask(realtime, form, ("name", "quote_id"), ("n3", 13), ("n3", 4), ("n4", 4)))
    assert [batch["quote_id"].to_pylist() for batch in batches] == [[13], [], [4]]


async def test_typed_rows_hold_the_same_rows_in_the_same_order(realtime):
    from featurestore.api.common.v1 import common_pb2  # noqa: PLC0415 - only here

    form = await form_of(realtime, SQL, "quote_id")
    asked = ((3,), (1000,), (12,), (3,))
    answer = await ask(realtime, form, ("user_id",), *asked, answer_format=AnswerFormat.ROWS)
    rows = common_pb2.RowSet.FromString(answer.payload).rows
    assert [row.values[2].int64_value for row in rows] == [3, 13, 23, 33, 43, 0, 3, 13, 23, 33, 43]
    assert [each.row_count for each in answer.keys] == [5, 0, 1, 5]


KEY_VALUES = {
    "BOOLEAN": True,
    "TINYINT": -5,
    "UBIGINT": 2**64 - 1,
    "HUGEINT": 2**62,
    "DECIMAL(20,3)": "1.5",
    "VARCHAR": "it's \0 ä",
    "DATE": dt.date(2020, 2, 29),
    "TIMESTAMP": dt.datetime(2020, 2, 29, 1, 2, 3, 4),  # noqa: DTZ001 - without a zone
    "TIMESTAMP WITH TIME ZONE": dt.datetime(2020, 2, 29, 1, 2, 3, 4, tzinfo=dt.UTC),
    "UUID": "00000000-0000-0000-0000-00000000abcd",
    "BLOB": b"\0\xff",
}


@pytest.mark.parametrize("type_", KEY_VALUES)
async def test_every_key_type_finds_its_rows_among_many(realtime, type_):
    value = str(KEY_VALUES[type_]) if type_ not in ("VARCHAR", "BLOB") else None
    text = {"VARCHAR": "'it''s ' || chr(0) || ' ä'", "BLOB": "'\\x00\\xFF'::BLOB"}.get(
        type_, f"'{value}'::{type_}"
    )
    form = await form_of(realtime, f"SELECT {text} AS k, range AS n FROM range(3)")
    other = {"BOOLEAN": False, "VARCHAR": "b", "BLOB": b"b", "DATE": "1999-01-01"}.get(type_, 1)
    if type_.startswith("TIMESTAMP"):
        other = dt.datetime(1999, 1, 1, tzinfo=dt.UTC if "ZONE" in type_ else None)
    if type_ == "UUID":
        other = "00000000-0000-0000-0000-000000000001"
    answer = await ask(realtime, form, ("k",), (other,), (KEY_VALUES[type_],))
    assert [each.row_count for each in answer.keys] == [0, 3]


async def test_a_key_beyond_what_may_leave_the_store_is_refused(realtime):
    form = await form_of(realtime, "SELECT sum(user_id) AS k FROM feature_store.users")
    assert form.columns[0].engine_type == "HUGEINT"
    with pytest.raises(InvalidArgument) as caught:
        await ask(realtime, form, ("k",), (2**100,), (4950,))
    assert caught.value.reason == "KEY_VALUE"


@pytest.mark.parametrize(
    ("columns", "tuples", "reason"),
    [
        (("nope",), ((1,),), "UNKNOWN_KEY_COLUMN"),
        (("amount",), ((1.5,),), "KEY_TYPE"),
        (("user_id",), (("1.5",),), "KEY_VALUE"),
        (("user_id",), ((None,),), "KEY_NULL"),
        (("user_id",), ((1, 2),), "KEY_WIDTH"),
        (("user_id",), (), "KEYS_EMPTY"),
        (("user_id",), ((1,),) * 10_001, "KEYS_TOO_MANY"),
    ],
)
async def test_bad_keys_are_refused(realtime, columns, tuples, reason):
    form = await form_of(realtime, SQL)
    with pytest.raises(InvalidArgument) as caught:
        await realtime.query("qry_x", form, Keys(columns, tuples), AnswerFormat.ARROW)
    assert caught.value.reason == reason


async def test_an_answer_for_many_keys_that_is_too_large_names_a_count_that_fits(realtime):
    wide = "SELECT user_id, repeat('x', CASE WHEN user_id < 4 THEN 600000 ELSE 10 END) AS t FROM feature_store.users"
    form = await form_of(realtime, wide)
    asked = [(n,) for n in range(20)]
    for answer_format in AnswerFormat:
        with pytest.raises(ResourceExhausted) as caught:
            await ask(realtime, form, ("user_id",), *asked * 3, answer_format=answer_format)
        assert caught.value.reason == "ANSWER_TOO_LARGE"
        fits = int(caught.value.details["fits"])
        assert 1 <= fits < 60
        if answer_format is AnswerFormat.ARROW:
            for at in range(0, 60, fits):
                await ask(realtime, form, ("user_id",), *(asked * 3)[at : at + fits])


async def test_one_keys_answer_may_be_large_but_not_without_end(realtime):
    form = await form_of(realtime, "SELECT 1 AS k, repeat('x', 1000000) AS t FROM range(10)")
    assert (await ask(realtime, form, ("k",), (1,))).keys[0].row_count == 10
    form = await form_of(realtime, "SELECT 1 AS k, repeat('x', 1000) || range AS t FROM range(100000)")
    with pytest.raises(ResourceExhausted) as caught:
        await ask(realtime, form, ("k",), (1,))
    assert caught.value.reason == "ANSWER_TOO_LARGE"


async def test_an_error_on_the_data_is_the_queries(realtime):
    form = await form_of(realtime, "SELECT user_id, CAST(name AS INTEGER) AS n FROM feature_store.users")
    with pytest.raises(InvalidArgument) as caught:
        await ask(realtime, form, ("user_id",), (1,))
    assert caught.value.reason == "SQL_VALUE"


async def redefined(realtime, **columns):
    await realtime.drop_table("quotes")
    await realtime.publish(new_id(), [rows_of("quotes", columns)])


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"quote_id": [1], "user_id": [3]}, "amount"),
        ({"quote_id": ["1"], "user_id": [3], "amount": [1.5]}, "quote_id"),
        ({"quote_id": [1], "user_id": [3], "amount": [1]}, "amount"),
    ],
)
async def test_a_query_whose_column_changed_or_went_is_refused_by_name(realtime, columns, column):
    form = await form_of(realtime, SQL)
    await ask(realtime, form, ("user_id",), (3,))
    await redefined(realtime, **columns)
    with pytest.raises(FailedPrecondition) as caught:
        await ask(realtime, form, ("user_id",), (3,))
    assert caught.value.reason == "QUERY_SCHEMA_CHANGED"
    assert caught.value.details["column"] == column


async def test_a_query_serves_on_when_its_tables_only_grow_columns(realtime):
    form = await form_of(realtime, "SELECT * FROM feature_store.quotes ORDER BY ALL")
    info = await realtime.get_table("quotes")
    wider = info.definition.schema.append(pa.field("note", pa.string()))
    await realtime.create_table(type(info.definition)("quotes", wider, info.definition.primary_key))
    schema, (batch,) = batches_of(await ask(realtime, form, ("quote_id",), (3,)))
    assert schema.names == ["quote_id", "user_id", "amount"]
    assert batch.to_pylist() == [{"quote_id": 3, "user_id": 3, "amount": 3 / 8}]


async def test_a_query_on_a_dropped_table_says_which(realtime):
    form = await form_of(realtime, SQL)
    await realtime.drop_table("quotes")
    with pytest.raises(FailedPrecondition, match="quotes") as caught:
        await ask(realtime, form, ("user_id",), (3,))
    assert caught.value.reason == "QUERY_SCHEMA_CHANGED"


ENDLESS = "SELECT count(*) AS k FROM range(10000000) a, range(10000000) b"


async def test_a_read_ends_with_its_deadline_and_its_thread_is_free_again(realtime):
    form = await form_of(realtime, ENDLESS)
    began = time.monotonic()
    with deadline.within(0.2):
        calls = [ask(realtime, form, ("k",), (1,)) for _ in range(6)]
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in found] == [DeadlineExceeded] * 6, "also those whose turn never came"
    assert {each.reason for each in found} == {"DEADLINE"}
    assert time.monotonic() - began < 5
    quick = await form_of(realtime, SQL)
    answers = await asyncio.gather(*(ask(realtime, quick, ("user_id",), (n,)) for n in range(6)))
    assert [each.keys[0].outcome for each in answers] == [Outcome.FOUND] * 6


async def test_a_caller_that_goes_away_interrupts_its_read(tmp_path):
    async with opened(tmp_path, readers=1) as realtime:
        call = asyncio.ensure_future(ask(realtime, await form_of(realtime, ENDLESS), ("k",), (1,)))
        await asyncio.sleep(0.1)
        call.cancel()
        assert (await asyncio.wait_for(realtime.list_tables(), 10)) == ()


async def test_the_version_of_an_answer_is_not_newer_than_its_rows(realtime):
    form = await form_of(realtime, "SELECT user_id, name FROM feature_store.users")
    start = (await realtime.version()).sequence

    async def write():
        for n in range(30):
            await realtime.publish(new_id(), [rows_of("users", {"user_id": [1], "name": [str(n)]})])

    async def read():
        for _ in range(60):
            answer = await ask(realtime, form, ("user_id",), (1,))
            _, (batch,) = batches_of(answer)
            name = batch["name"][0].as_py()
            shown = 0 if name == "n1" else int(name) + 1
            assert shown >= answer.info.data_version.sequence - start

    await asyncio.gather(write(), read(), read())


async def test_sampled_keys_are_distinct_without_nulls_and_typed_as_answers(realtime):
    form = await form_of(realtime, SQL, "quote_id")
    keys = await realtime.sample_keys(form, ("user_id", "quote_id"), 1000)
    assert keys.schema.equals(pa.schema([form.schema.field("user_id"), form.schema.field("quote_id")]))
    assert keys.num_rows == 50
    assert (await realtime.sample_keys(form, ("name",), 7)).num_rows == 7
    with pytest.raises(InvalidArgument):
        await realtime.sample_keys(form, ("nope",), 7)


async def test_explain_tells_index_from_scan_per_table(realtime):
    ids = list(range(100_000))
    await realtime.publish(new_id(), [rows_of("big", {"id": ids, "other": ids}, ("id",))])
    by_key = await form_of(realtime, "SELECT b.id, b.other FROM feature_store.big b")
    told = await realtime.explain("qry_x", by_key, ("id",))
    assert told.verdict is Verdict.INDEXED
    assert [(each.table, bool(each.index)) for each in told.occurrences] == [("big", True)]
    assert "TABLE_SCAN" in told.plan
    scanned = await realtime.explain("qry_x", by_key, ("other",))
    assert scanned.verdict is Verdict.SCAN
    assert [warned.reason for warned in scanned.warnings] == ["NO_INDEX"]
    declared = await realtime.declare("qry_x", by_key, ("other",))
    assert declared.verdict is Verdict.INDEXED
    assert declared.occurrences[0].narrowed_by == "key other"
    assert not declared.warnings
    failing = await form_of(realtime, "SELECT id, CAST('x' || other AS BIGINT) AS n FROM feature_store.big")
    told = await realtime.declare("qry_z", failing, ("id",))
    assert told.verdict is Verdict.SCAN
    assert [warned.reason for warned in told.warnings] == ["NOT_SERVED"]
    stopped = await form_of(realtime, "SELECT b.id FROM feature_store.big b ORDER BY id LIMIT 3")
    told = await realtime.declare("qry_y", stopped, ("id",))
    assert told.verdict is Verdict.SCAN
    assert told.occurrences[0].rules == ("LIMIT",)
    assert "LIMIT" in told.occurrences[0].stopped_by
    assert "SCAN" in {warned.reason for warned in told.warnings}
    empty = await form_of(realtime, "SELECT b.id FROM feature_store.big b WHERE id < 0")
    assert (await realtime.explain("qry_x", empty, ("id",))).query_id == "qry_x"


async def test_describe_binds_without_running(realtime):
    with pytest.raises(InvalidArgument) as caught:
        await realtime.describe("SELECT nope FROM feature_store.users")
    assert caught.value.reason == "UNKNOWN_COLUMN"


def test_rows_are_split_by_composite_keys_in_their_order():
    schema = pa.schema([("a", pa.int64()), ("b", pa.string()), ("n", pa.int64())])
    rows = pa.RecordBatch.from_pydict(
        {"a": [1, 2, 1, 1], "b": ["x", "x", "y", "x"], "n": [0, 1, 2, 3]}, schema
    )
    asked = pa.table({"a": [1, 2, 1, 2], "b": ["x", "y", "y", "x"]})
    assert [part["n"].to_pylist() for part in split(rows, asked)] == [[0, 3], [], [2], [1]]


async def test_calls_one_after_the_other_are_answered_by_the_reader_that_worked_last(tmp_path):
    async with opened(tmp_path, readers=4) as realtime:
        names = set()
        for _ in range(30):
            names.add(await realtime._readers.run(lambda _: threading.current_thread().name))
            await asyncio.sleep(0.002)  # until the reader waits again
        assert len(names) == 1
