"""Verify: it agrees when both sides do, and says where when they don't; against real realtime, tampered with."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from featurestore.model.errors import FailedPrecondition, InvalidArgument
from tests.contract.verify.tampered import (
    EVENTS,
    SCHEMA,
    USERS,
    form_of,
    train_on_all,
    verify,
)
from tests.support.realtime_rows import new_id, rows_of


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
    # Served before the write, trained after it: the first look differs.
    realtime.after = write_once
    train_on_all(extraction, realtime)
    report = await extraction.verify("qry_x", form, None, ("user_id",), USERS)
    assert report.consistent
    assert report.skipped == 0


async def test_a_key_that_is_always_being_written_is_skipped(extraction, realtime):
    async def write() -> None:
        await realtime.publish(new_id(), [rows_of("events", {"user_id": [5], "amount": [1.0]})])

    form = await form_of(realtime)
    realtime.after = write
    # Once more, so that neither the answer before nor the one after shows what training shows.
    train_on_all(extraction, realtime, before=write)
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
