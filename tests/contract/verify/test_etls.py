"""Verify of an ETL: what it is compared with, and what is said where it fails."""

from __future__ import annotations

from featurestore.model.verifying import Difference
from tests.contract.test_extraction_etls import ADD_ONE
from tests.contract.verify.tampered import (
    EVENTS,
    PER_KEY,
    USERS,
    saved,
    verify,
)
from tests.support.realtime_rows import new_id, rows_of


async def test_under_an_etl_other_rows_are_named_by_the_querys_columns(extraction, realtime, tmp_path):
    run = await saved(extraction, realtime, tmp_path, ADD_ONE)
    with extraction._warehouse._connection.cursor() as warehouse:
        warehouse.execute(f"UPDATE {EVENTS} SET kind = 'changed' WHERE user_id = 7")  # which the ETL drops
    report = await verify(extraction, realtime, etl=run, sample=USERS)
    assert {(each.key, each.column, each.cause) for each in report.differences} == {
        ("7", "kind", "DATA_DIFFERS")
    }


async def test_an_etl_whose_result_has_the_key_is_compared_with_training_over_everything(
    extraction, realtime, tmp_path
):
    run = await saved(extraction, realtime, tmp_path, ADD_ONE)
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
    text = ADD_ONE.replace('frame["amount"] + 1', 'frame["amount"] - frame["amount"].mean()')
    run = await saved(extraction, realtime, tmp_path, text)
    report = await verify(extraction, realtime, etl=run)
    assert not report.consistent
    assert {(each.column, each.cause) for each in report.differences} == {("more", "FRAME_DEPENDENT")}


async def test_an_etl_by_key_is_trained_key_by_key_so_that_its_mean_is_the_keys_own(
    extraction, realtime, tmp_path
):
    mean = ADD_ONE.replace('frame["amount"] + 1', 'frame["amount"].mean()')
    over_all = await saved(extraction, realtime, tmp_path, mean)
    found = await verify(extraction, realtime, etl=over_all)
    assert {each.cause for each in found.differences} == {"FRAME_DEPENDENT"}
    by_key = mean.replace("(AbstractEtl):\n", '(AbstractEtl):\n    granularity = "key"\n')
    run = await saved(extraction, realtime, tmp_path, by_key, index_key=("user_id",))
    report = await verify(extraction, realtime, etl=run)
    assert report.consistent
    assert report.remarks == ()


async def test_a_key_whose_features_break_the_contract_is_named_and_the_others_agree(
    extraction, realtime, tmp_path
):
    broken_for_3 = (
        'return frame[["user_id", "more"]].astype({"more": "str"} if set(frame["user_id"]) == {3} else {})'
    )
    run = await saved(
        extraction, realtime, tmp_path, ADD_ONE.replace('return frame[["user_id", "more"]]', broken_for_3)
    )
    report = await verify(extraction, realtime, etl=run, sample=USERS)
    assert report.checked - report.agreed == 1
    (difference,) = report.differences
    assert difference == Difference("3", "more", "double", "str (string is not cast to double)", "CONTRACT")


async def test_a_key_for_which_the_etl_fails_is_named(extraction, realtime, tmp_path):
    text = ADD_ONE.replace("return", 'assert set(frame["user_id"]) != {3}\n        return')
    run = await saved(extraction, realtime, tmp_path, text)
    report = await verify(extraction, realtime, etl=run, sample=USERS)
    assert report.checked - report.agreed == 1
    (difference,) = report.differences
    assert (difference.key, difference.cause) == ("3", "FRAME_DEPENDENT")
    assert "ETL_EXCEPTION" in difference.served


async def test_an_etl_that_fails_over_everything_is_compared_key_by_key(extraction, realtime, tmp_path):
    run = await saved(
        extraction, realtime, tmp_path, ADD_ONE.replace("return", "assert len(frame) < 1000\n        return")
    )
    more = {"user_id": [n % USERS for n in range(2000)], "amount": [1.0] * 2000}
    await realtime.publish(new_id(), [rows_of("events", more)])
    report = await verify(extraction, realtime, etl=run)
    assert report.consistent
    assert "ETL_EXCEPTION" in report.remarks[0]
