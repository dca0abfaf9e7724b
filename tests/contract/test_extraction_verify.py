"""Verify: it agrees when both sides do, and says where when they don't; against real realtime, tampered with."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pytest

from featurestore.model.errors import FailedPrecondition, InvalidArgument
from featurestore.model.etl import EtlSource
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import Answer, AnswerFormat, EtlRun, Keys
from featurestore.model.verifying import Difference, VerifyReport
from services.extraction.extraction import ExtractionService
from services.extraction.git_settings import GitSettings
from services.extraction.verify_choice import KeyChoice
from services.extraction.verify_keys import KeyIndex, KeySample, distinct, made_up, rows_of_keys
from services.extraction.worker_types import WorkerLimits
from services.realtime.realtime import RealtimeService
from tests.contract.test_extraction_etls import Repository
from tests.support.realtime_rows import new_id, opened, rows_of

SCHEMA = pa.schema(
    [("user_id", pa.int64()), ("day", pa.date32()), ("kind", pa.string()), ("amount", pa.float64())]
)
EVENTS = "feature_store.events"
SQL = f"SELECT * FROM {EVENTS}"
USERS = 40


class Tampered:
    """Realtime with another `query`: what it serves goes through `tamper`, and `before` runs first."""

    def __init__(self, realtime: RealtimeService) -> None:
        self._realtime = realtime
        self.asked: list[tuple[object, ...]] = []
        self.tamper: Callable[[tuple[object, ...], pa.RecordBatch], pa.RecordBatch] = lambda _, batch: batch
        self.before: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._realtime, name)

    async def query(self, query_id: str, form: QueryForm, keys: Keys, answer_format: AnswerFormat) -> Answer:
        if self.before is not None:
            await self.before()
        self.asked += keys.tuples
        answer = await self._realtime.query(query_id, form, keys, answer_format)
        with pa.ipc.open_stream(answer.payload) as stream:
            batches = [self.tamper(key, batch) for key, batch in zip(keys.tuples, stream, strict=True)]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        counted = tuple(
            replace(key, row_count=each.num_rows) for key, each in zip(answer.keys, batches, strict=True)
        )
        return replace(answer, keys=counted, payload=bytes(sink.getvalue()))


@pytest.fixture
async def realtime(tmp_path) -> AsyncIterator[Tampered]:
    async with opened(tmp_path / "realtime") as service:
        count = USERS * 5
        rows = {
            "user_id": [None if n % 29 == 0 else n % USERS for n in range(count)],
            "day": [n % 3 for n in range(count)],
            "kind": ["ab"[n % 2] if n % 7 else None for n in range(count)],
            "amount": [n / 8 if n % 5 else None for n in range(count)],
        }
        await service.publish(new_id(), [rows_of("events", rows, schema=SCHEMA)])
        yield Tampered(service)


@pytest.fixture
async def extraction(tmp_path, realtime) -> AsyncIterator[ExtractionService]:
    git = GitSettings(schemes=frozenset({"file"}))
    async with ExtractionService(
        tmp_path / "extraction", realtime, git=git, workers=WorkerLimits(serving_seconds=10), sample_seed=1
    ) as service:
        yield service


async def form_of(realtime: Tampered, sql: str = SQL) -> QueryForm:
    return QueryForm(sql, await realtime.describe(sql))


async def verify(extraction, realtime, *, sql=SQL, key=("user_id",), sample=20, etl=None) -> VerifyReport:
    return await extraction.verify("qry_x", await form_of(realtime, sql), etl, key, sample)


async def test_training_and_serving_agree_key_by_key(extraction, realtime):
    report = await verify(extraction, realtime)
    assert report.consistent
    assert report.checked == report.agreed >= 24  # at random, nasty, of realtime, made up
    assert report.skipped == 0
    assert report.differences == ()
    assert report.version == await realtime.version()
    assert len(set(realtime.asked)) == report.checked
    assert sum(0 <= key[0] < USERS for key in realtime.asked) == report.checked - 2


@pytest.mark.parametrize(
    "key",
    [("user_id", "day"), ("day",), ("kind",), ("day", "kind", "user_id")],
    ids="+".join,
)
async def test_keys_of_other_types_and_of_several_columns(extraction, realtime, key):
    report = await verify(extraction, realtime, key=key)
    assert report.consistent
    assert report.checked >= 3


async def test_an_aggregate_whose_last_bits_may_differ_agrees(extraction, realtime):
    report = await verify(
        extraction,
        realtime,
        sql="SELECT user_id, sum(amount) / 3 AS s, count(*) AS n FROM feature_store.events GROUP BY 1",
    )
    assert report.consistent


async def test_a_served_value_that_differs_is_named_with_key_column_and_both_values(extraction, realtime):
    victim = 7

    def tamper(key, batch):
        if key != (victim,):
            return batch
        return batch.set_column(3, "amount", pa.array([99.5] * batch.num_rows, pa.float64()))

    realtime.tamper = tamper
    report = await verify(extraction, realtime, sample=USERS)
    assert not report.consistent
    assert report.checked - report.agreed == 1
    assert {(each.key, each.column, each.served, each.cause) for each in report.differences} == {
        ("7", "amount", "99.5", "DATA_DIFFERS")
    }
    assert report.differences[0].trained in {"0.875", "5.875", "10.875", "15.875", "20.875"}


async def test_a_served_row_that_is_missing_or_extra_is_found(extraction, realtime):
    realtime.tamper = lambda key, batch: batch.slice(1) if key == (3,) else batch
    report = await verify(extraction, realtime, sample=USERS)
    assert [(each.key, each.column, each.served) for each in report.differences] == [("3", "", "")]
    extra = pa.RecordBatch.from_pylist([{"user_id": 1}], SCHEMA)
    realtime.tamper = lambda _, batch: batch if batch.num_rows else extra
    report = await verify(extraction, realtime, sample=USERS)
    assert report.checked - report.agreed == 4  # the made-up keys, which nobody has
    assert {each.trained for each in report.differences} == {""}


async def test_the_first_hundred_differences_are_told_and_all_are_counted(extraction, realtime):
    realtime.tamper = lambda _, batch: batch.set_column(
        2, "kind", pa.array(["z"] * batch.num_rows, pa.string())
    )
    report = await verify(extraction, realtime, sample=USERS)
    assert len(report.differences) == 100
    assert report.agreed == 4  # those without rows


async def test_rows_with_another_schema_are_a_broken_contract(extraction, realtime):
    realtime.tamper = lambda _, batch: batch.set_column(3, "amount", batch["amount"].cast(pa.float32()))
    with pytest.raises(FailedPrecondition) as changed:
        await verify(extraction, realtime)
    assert changed.value.reason == "QUERY_SCHEMA_CHANGED"


async def test_a_key_that_is_written_between_the_reads_is_looked_at_again(extraction, realtime):
    writes = iter([True])

    async def write_once() -> None:
        if next(writes, False):
            await realtime.publish(new_id(), [rows_of("events", {"user_id": [5], "amount": [1.0]})])

    form = await form_of(realtime)
    served = realtime.query

    async def query_then_write(*arguments):
        answer = await served(*arguments)
        await write_once()
        return answer

    realtime.query = query_then_write
    # Served before the write, trained after it: the first look differs.
    wait_until = extraction._follower.wait_until

    async def wait_for_all(_version):
        return await wait_until(await realtime.version())

    extraction._follower.wait_until = wait_for_all
    report = await extraction.verify("qry_x", form, None, ("user_id",), USERS)
    assert report.consistent
    assert report.skipped == 0


async def test_a_key_that_is_always_being_written_is_skipped(extraction, realtime):
    async def write() -> None:
        await realtime.publish(new_id(), [rows_of("events", {"user_id": [5], "amount": [1.0]})])

    form = await form_of(realtime)
    served = realtime.query

    async def query_then_write(*arguments):
        answer = await served(*arguments)
        await write()
        return answer

    realtime.query = query_then_write
    wait_until = extraction._follower.wait_until

    async def wait_for_all(_version):
        await (
            write()
        )  # once more, so that neither the answer before nor the one after shows what training shows
        return await wait_until(await realtime.version())

    extraction._follower.wait_until = wait_for_all
    original = extraction._verifier._reading._train

    async def train_then_write(*arguments):
        trained = await original(*arguments)
        await write()
        return trained

    extraction._verifier._reading._train = train_then_write
    report = await extraction.verify("qry_x", form, None, ("user_id",), USERS)
    assert report.skipped == 1
    assert report.checked == report.agreed == USERS + 4 - 1
    assert report.consistent


async def test_without_any_rows_nothing_is_checked_and_that_is_not_consistent(extraction, realtime):
    report = await verify(extraction, realtime, sql="SELECT * FROM feature_store.events WHERE amount > 1e9")
    assert report.checked == 0
    assert not report.consistent
    assert report.remarks


async def test_the_sample_is_of_distinct_keys_and_depends_on_the_seed():
    column = Column("k", pa.int64(), "BIGINT")

    def sample(seed: int) -> list[int]:
        chosen = KeySample([column], 10, seed)
        for start in range(0, 1000, 100):
            values = [n % 300 if n % 11 else None for n in range(start, start + 100)]
            chosen.add(pa.record_batch({"k": pa.array([*values, 7, 7, 7, 7], pa.int64())}))
        return chosen.keys()["k"].to_pylist()

    assert len(set(sample(1))) == 10
    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    often = sum(7 in sample(seed) for seed in range(20))
    assert often < 8  # a key with many rows is no likelier than another


def test_every_row_finds_its_key_among_keys_of_several_columns():
    keys = pa.table({"a": [1, 1, 2], "b": ["x", "y", "x"]})
    rows = pa.table({"a": [2, 1, 2, 1, None, 1, 9], "b": ["x", "y", "y", "y", "x", None, "x"]})
    assert KeyIndex(keys).positions([rows["a"], rows["b"]]).to_pylist() == [2, 1, None, 1, None, None, None]
    assert [table.num_rows for table in rows_of_keys(rows, keys)] == [0, 2, 1]
    assert distinct(pa.concat_tables([keys, keys.slice(1), rows])).to_pylist()[:3] == keys.to_pylist()


@pytest.mark.parametrize(
    ("kind", "engine_type"),
    [
        (pa.bool_(), "BOOLEAN"),
        (pa.int8(), "TINYINT"),
        (pa.uint64(), "UBIGINT"),
        (pa.decimal128(38, 4), "DECIMAL(38,4)"),
        (pa.string(), "VARCHAR"),
        (pa.string(), "UUID"),
        (pa.binary(), "BLOB"),
        (pa.date32(), "DATE"),
        (pa.timestamp("us"), "TIMESTAMP"),
        (pa.timestamp("us", "UTC"), "TIMESTAMP WITH TIME ZONE"),
        (pa.timestamp("s"), "TIMESTAMP_S"),
    ],
)
async def test_a_made_up_key_can_be_asked_for_whatever_its_type(realtime, kind, engine_type):
    column = Column("k", kind, engine_type)
    keys = made_up([column], 5, seed=3)
    assert keys.schema == pa.schema([("k", kind)])
    sql = f"SELECT CAST(NULL AS {engine_type}) AS k"
    asked = Keys(("k",), tuple((value,) for value in keys["k"].to_pylist()))
    answer = await realtime.query("qry_x", await form_of(realtime, sql), asked, AnswerFormat.ARROW)
    assert [key.row_count for key in answer.keys] == [0] * 5
    if pa.types.is_decimal(kind):
        assert all(isinstance(value, Decimal) for value in keys["k"].to_pylist())


@pytest.mark.parametrize(
    ("key", "sample", "reason"),
    [
        (("user_id",), 0, "BAD_SAMPLE"),
        (("user_id",), 10_001, "BAD_SAMPLE"),
        (("nobody",), 5, "UNKNOWN_KEY_COLUMN"),
        ((), 5, "UNKNOWN_KEY_COLUMN"),
        (("amount",), 5, "KEY_TYPE"),
    ],
)
async def test_what_cannot_be_verified_is_refused(extraction, realtime, key, sample, reason):
    with pytest.raises(InvalidArgument) as refused:
        await verify(extraction, realtime, key=key, sample=sample)
    assert refused.value.reason == reason


# --- behind the store's back ---


async def test_a_row_changed_in_the_warehouse_one_removed_there_and_one_added_in_realtime_are_each_named(
    extraction, realtime
):
    await verify(extraction, realtime, sample=1)  # the warehouse holds all now
    with extraction._warehouse._connection.cursor() as warehouse:
        warehouse.execute(f"UPDATE {EVENTS} SET amount = 99.5 WHERE user_id = 7 AND amount = 0.875")
        warehouse.execute(f"DELETE FROM {EVENTS} WHERE user_id = 11 AND amount = 1.375")
    with realtime._realtime._lane._cursor.cursor() as hot:
        hot.execute(f"INSERT INTO {EVENTS} VALUES (13, DATE '1970-01-05', 'added', 0.5)")
    report = await verify(extraction, realtime, sample=USERS)
    assert report.checked - report.agreed == 3
    assert [(each.key, each.column, each.cause) for each in report.differences] == [
        ("7", "amount", "DATA_DIFFERS"),
        ("11", "", "DATA_DIFFERS"),
        ("13", "", "DATA_DIFFERS"),
    ]
    changed, removed, added = report.differences
    assert (changed.trained, changed.served) == ("99.5", "0.875")
    assert removed.trained == ""
    assert "1.375" in removed.served
    assert added.trained == ""
    assert "added" in added.served


async def test_under_an_etl_other_rows_are_named_by_the_querys_columns(extraction, realtime, tmp_path):
    run = await saved(extraction, realtime, tmp_path, WITH_KEY)
    with extraction._warehouse._connection.cursor() as warehouse:
        warehouse.execute(f"UPDATE {EVENTS} SET kind = 'changed' WHERE user_id = 7")  # which the ETL drops
    report = await verify(extraction, realtime, etl=run, sample=USERS)
    assert {(each.key, each.column, each.cause) for each in report.differences} == {
        ("7", "kind", "DATA_DIFFERS")
    }


@pytest.mark.parametrize(
    ("sql", "cause"),
    [
        ("SELECT user_id, first(amount) AS x FROM feature_store.events GROUP BY 1", "ORDER_DEPENDENT"),
        ("SELECT user_id, amount, now() AS x FROM feature_store.events", "TIME_DEPENDENT"),
    ],
)
async def test_what_differs_in_a_query_that_hangs_on_ties_or_on_the_clock_has_that_cause(
    extraction, realtime, sql, cause
):
    realtime.tamper = lambda key, batch: (
        batch
        if key != (7,)
        else batch.set_column(batch.num_columns - 1, "x", pa.nulls(batch.num_rows, batch["x"].type))
    )
    report = await verify(extraction, realtime, sql=sql, sample=USERS)
    assert "7" in {each.key for each in report.differences}
    assert {(each.column, each.cause) for each in report.differences} == {("x", cause)}


# --- floats ---


def _one_bit_off(key: tuple[object, ...], batch: pa.RecordBatch) -> pa.RecordBatch:
    values = [
        value if value is None else math.nextafter(value, math.inf) for value in batch["amount"].to_pylist()
    ]
    return batch.set_column(3, "amount", pa.array(values, pa.float64())) if key == (7,) else batch


async def test_a_last_bit_is_a_difference_only_if_that_is_asked_for(extraction, realtime):
    realtime.tamper = _one_bit_off
    form = await form_of(realtime)
    near = await extraction.verify("qry_x", form, None, ("user_id",), USERS)
    assert near.consistent
    assert not near.exact
    assert 0 < near.float_values - near.float_values_bitwise_equal <= 5
    assert 0 < near.largest_error < 1e-15
    exact = await extraction.verify("qry_x", form, None, ("user_id",), USERS, exact=True)
    assert exact.exact
    assert {(each.key, each.column) for each in exact.differences} == {("7", "amount")}
    assert (exact.float_values, exact.float_values_bitwise_equal, exact.largest_error) == (
        near.float_values,
        near.float_values_bitwise_equal,
        near.largest_error,
    )


# --- the keys ---


async def test_keys_where_things_go_wrong_most_are_always_among_the_checked_ones(extraction, realtime):
    many = {"user_id": [900] * 50, "day": [100] * 50, "kind": ["x"] * 50, "amount": [1.0] * 50}
    nasty = {
        "user_id": [901, 902, 903, 904],
        "day": [200, None, 100, -300],
        "kind": ["x", "x", None, "x"],
        "amount": [1.0, 1.0, 1.0, None],
    }
    await realtime.publish(new_id(), [rows_of("events", rows, schema=SCHEMA) for rows in (many,)])
    await realtime.publish(new_id(), [rows_of("events", nasty, schema=SCHEMA)])
    sql = f"SELECT * FROM {EVENTS} WHERE user_id >= 900 OR (day IS NOT NULL AND kind IS NOT NULL AND amount IS NOT NULL)"
    report = await verify(extraction, realtime, sql=sql, sample=1)
    assert report.consistent
    asked = {key[0] for key in realtime.asked}
    assert {
        900,
        901,
        902,
        903,
        904,
    } <= asked  # most rows; newest day; no day; no kind; no amount, and the oldest day


async def test_the_key_with_fewest_rows_is_chosen_and_ties_and_null_keys_do_no_harm(realtime):
    form = await form_of(realtime, f"SELECT user_id, day FROM {EVENTS}")
    chosen = KeyChoice(form, ("user_id",), 1, seed=1)
    schema = chosen.form.schema
    for batch in (
        [(None, 99, 999, 9, 9), (1, 5, 0, 2, 1), (2, 1, 1000, None, None)],
        [(3, 9, 200, 8, 3), (4, 5, 0, 3, 0)],
    ):
        columns = [
            pa.array(values, field.type)
            for values, field in zip(zip(*batch, strict=True), schema, strict=True)
        ]
        chosen.add(pa.RecordBatch.from_arrays(columns, schema=schema))
    # 3 has most rows and the newest day, 2 the fewest and nothing but nulls, 4 the oldest day.
    assert {2, 3, 4} <= set(chosen.keys()["user_id"].to_pylist()) <= {1, 2, 3, 4}


# --- with an ETL ---

WITH_KEY = """
from featurestore.etl import AbstractEtl

class Etl(AbstractEtl):
    def extract(self):
        frame = self.df
        frame["more"] = frame["amount"] + 1
        return frame[["user_id", "more"]]
"""
PER_KEY = """
import pandas as pd
from featurestore.etl import AbstractEtl

class Etl(AbstractEtl):
    def extract(self):
        return pd.DataFrame({"total": [self.df["amount"].sum()], "rows": [len(self.df)]})
"""


async def saved(extraction, realtime, tmp_path, text: str, sql: str = SQL) -> EtlRun:
    repository = Repository(tmp_path / f"repository-{new_id()}")
    repository.commit(text)
    form = await form_of(realtime, sql)
    source = EtlSource(address=f"git+file://{repository.folder}#etl.py")
    stream = await extraction.extract_train(form, await realtime.version(), source, pin=True)
    return EtlRun("etl_x", "qry_x", stream.script, form.columns, stream.head.schema)


async def test_an_etl_whose_result_has_the_key_is_compared_with_training_over_everything(
    extraction, realtime, tmp_path
):
    run = await saved(extraction, realtime, tmp_path, WITH_KEY)
    report = await verify(extraction, realtime, etl=run)
    assert report.consistent
    assert report.checked >= 24
    assert report.remarks == ()


async def test_an_etl_without_the_key_is_run_on_each_keys_training_rows_and_the_report_says_so(
    extraction, realtime, tmp_path
):
    run = await saved(extraction, realtime, tmp_path, PER_KEY)
    report = await verify(extraction, realtime, etl=run)
    assert report.consistent
    assert report.checked >= 24
    assert len(report.remarks) == 1
    assert "index key" in report.remarks[0]


async def test_an_etl_that_looks_at_other_keys_rows_is_found_out(extraction, realtime, tmp_path):
    text = WITH_KEY.replace('frame["amount"] + 1', 'frame["amount"] - frame["amount"].mean()')
    run = await saved(extraction, realtime, tmp_path, text)
    report = await verify(extraction, realtime, etl=run)
    assert not report.consistent
    assert {(each.column, each.cause) for each in report.differences} == {("more", "FRAME_DEPENDENT")}


async def test_a_key_whose_features_break_the_contract_is_named_and_the_others_agree(
    extraction, realtime, tmp_path
):
    broken_for_3 = (
        'return frame[["user_id", "more"]].astype({"more": "str"} if set(frame["user_id"]) == {3} else {})'
    )
    run = await saved(
        extraction, realtime, tmp_path, WITH_KEY.replace('return frame[["user_id", "more"]]', broken_for_3)
    )
    report = await verify(extraction, realtime, etl=run, sample=USERS)
    assert report.checked - report.agreed == 1
    (difference,) = report.differences
    assert difference == Difference("3", "more", "double", "str (string is not cast to double)", "CONTRACT")


async def test_a_key_for_which_the_etl_fails_is_named(extraction, realtime, tmp_path):
    text = WITH_KEY.replace("return", 'assert set(frame["user_id"]) != {3}\n        return')
    run = await saved(extraction, realtime, tmp_path, text)
    report = await verify(extraction, realtime, etl=run, sample=USERS)
    assert report.checked - report.agreed == 1
    (difference,) = report.differences
    assert (difference.key, difference.cause) == ("3", "FRAME_DEPENDENT")
    assert "ETL_EXCEPTION" in difference.served


async def test_an_etl_that_fails_over_everything_is_compared_key_by_key(extraction, realtime, tmp_path):
    run = await saved(
        extraction, realtime, tmp_path, WITH_KEY.replace("return", "assert len(frame) < 1000\n        return")
    )
    more = {"user_id": [n % USERS for n in range(2000)], "amount": [1.0] * 2000}
    await realtime.publish(new_id(), [rows_of("events", more)])
    report = await verify(extraction, realtime, etl=run)
    assert report.consistent
    assert "ETL_EXCEPTION" in report.remarks[0]
