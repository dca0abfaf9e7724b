"""Which cause a difference has, given what a script makes of its rows again, at other times, in other orders."""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow as pa
import pytest

from featurestore.engine.compare import Mismatch
from featurestore.model.errors import DeadlineExceeded, FailedPrecondition
from featurestore.model.query import OrderTerm
from services.extraction import verify_causes
from services.extraction.verify_causes import Causes, Suspect

Script = Callable[[list[float], float], list[float]]
"""What it makes of the values of `x`, in their order, at a time."""


class Scripted:
    """Runs a Python function where `EtlRuns` runs a script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.clocks: set[float] = set()

    async def tables(self, _run: object, inputs: list[pa.Table], *, clock: float) -> list[pa.Table]:
        self.clocks.add(clock)
        return [features(self._script(each["x"].to_pylist(), clock)) for each in inputs]


def features(values: list[float]) -> pa.Table:
    return pa.table({"y": pa.array(values, pa.float64())})


def rows(*values: float) -> pa.Table:
    return pa.table(
        {"x": pa.array(values, pa.float64()), "at": pa.array([0] * len(values), pa.timestamp("s"))}
    )


def suspect(given: pa.Table, served: list[float], *mismatches: Mismatch, whole: bool = True) -> Suspect:
    return Suspect(given, features(served), mismatches, whole)


DIFFERS = Mismatch("y", "1", "2")


async def causes(
    script: Script, *suspects: Suspect, order: tuple[OrderTerm, ...] = (), exact: bool = False
) -> list[list[tuple[str, str]]]:
    remarks: list[str] = []
    found = await Causes(Scripted(script), None, order, exact=exact).explain(suspects, remarks)
    assert remarks == []
    return [[(each.column, str(cause)) for each, cause in one] for one in found]


async def test_what_agrees_and_depends_on_nothing_has_no_difference():
    assert await causes(lambda x, _: x, suspect(rows(1, 2), [1, 2])) == [[]]


async def test_what_is_served_as_the_key_alone_gives_is_a_matter_of_the_other_keys():
    alone = suspect(rows(1, 2), [1, 2], DIFFERS)
    assert await causes(lambda x, _: x, alone) == [[("y", "FRAME_DEPENDENT")]]


async def test_where_training_was_the_key_alone_already_or_gives_not_what_is_served_the_cause_is_unknown():
    alone = suspect(rows(1, 2), [1, 2], DIFFERS, whole=False)
    other = suspect(rows(1, 2), [1, 3], DIFFERS)
    assert await causes(lambda x, _: x, alone, other) == [[("y", "UNKNOWN")], [("y", "UNKNOWN")]]


async def test_an_order_that_nobody_promises_shows_though_all_agrees_and_one_that_is_promised_does_not():
    def first(x: list[float], _: float) -> list[float]:
        return [x[0]] * len(x)

    given = suspect(rows(1, 2, 3), [1, 1, 1])
    assert await causes(first, given) == [[("y", "ORDER_DEPENDENT")] * 3]
    by_x = (OrderTerm("x", descending=False, nulls_first=False),)
    assert await causes(first, given, order=by_x) == [[]]
    ties = suspect(rows(1, 1, 1), [1, 1, 1])
    by_at = (OrderTerm("at", descending=False, nulls_first=False),)
    assert await causes(first, given, ties, order=by_at) == [[("y", "ORDER_DEPENDENT")] * 3, []]


async def test_what_sums_leave_when_they_cancel_is_no_order():
    def deviation(x: list[float], _: float) -> list[float]:
        total = 0.0
        for value in x:
            total += value
        return [value - total / len(x) for value in x]

    given = rows(0.1, 0.2, 0.3)
    assert deviation([0.1, 0.2, 0.3], 0)[1] != deviation([0.3, 0.2, 0.1], 0)[1]
    served = deviation([0.1, 0.2, 0.3], 0)
    assert await causes(deviation, suspect(given, served)) == [[]]
    assert await causes(deviation, suspect(given, served), exact=True) == [[]]
    # Asked to the last bit, and differing in it, the order is the cause.
    differs = suspect(given, deviation([0.3, 0.2, 0.1], 0), DIFFERS)
    assert await causes(deviation, differs, exact=True) == [[("y", "ORDER_DEPENDENT")]]


async def test_the_clock_is_set_far_ahead_and_to_when_the_rows_were_new():
    scripted = Scripted(lambda x, _: x)
    await Causes(scripted, None, (), exact=False).explain([suspect(rows(1.0), [1.0])], [])
    new, now, ahead = sorted(scripted.clocks)
    assert new == 3600.0  # an hour after the row's moment
    assert abs(now - time.time()) < 60
    assert ahead - now > 400 * 86_400
    assert await causes(lambda x, now: [float(now > 2e9)] * len(x), suspect(rows(1.0), [0.0])) == [[]]
    assert await causes(lambda x, at: [float(at > now + 1e6)] * len(x), suspect(rows(1.0), [0.0])) == [
        [("y", "TIME_DEPENDENT")]
    ]


async def test_what_changes_in_every_run_is_random_whatever_else_was_changed():
    drawn = iter(range(1_000))
    given = suspect(rows(1, 2), [0, 0], DIFFERS), suspect(rows(3), [0])
    found = await causes(lambda x, _: [float(next(drawn)) for _ in x], *given)
    assert {cause for one in found for _, cause in one} == {"RANDOM"}
    assert all(found)


async def test_a_script_that_is_not_done_while_its_clock_stands_still_is_a_remark():
    def endless(_x: list[float], _clock: float) -> list[float]:
        raise DeadlineExceeded("ETL_TIMEOUT", "etl.py was not done after 20 s and was stopped")

    remarks: list[str] = []
    (found,) = await Causes(Scripted(endless), None, (), exact=False).explain(
        [suspect(rows(1.0), [1.0], DIFFERS)], remarks
    )
    assert [cause for _, cause in found] == ["UNKNOWN"]
    assert "not all looked for" in remarks[0]


async def test_keys_with_too_many_rows_to_run_again_share_the_cause_of_the_others(monkeypatch):
    small, large = suspect(rows(1, 2), [1, 2], DIFFERS), suspect(rows(*range(500)), [0.0], DIFFERS)
    monkeypatch.setattr(verify_causes, "_MOST_BYTES", 1_000)
    assert await causes(lambda x, _: x, small, large) == [[("y", "FRAME_DEPENDENT")]] * 2
    assert await causes(lambda x, _: x, large) == [[("y", "UNKNOWN")]]


@pytest.mark.parametrize(
    ("reason", "whole", "cause"),
    [
        ("CONTRACT_BROKEN", True, "CONTRACT"),
        ("ETL_EXCEPTION", True, "FRAME_DEPENDENT"),
        ("ETL_EXCEPTION", False, "UNKNOWN"),
        ("ETL_TIMEOUT", True, "UNKNOWN"),
    ],
)
async def test_a_failure_in_serving_is_a_broken_contract_or_a_matter_of_the_other_keys(reason, whole, cause):
    failed = Suspect(rows(1.0), FailedPrecondition(reason, "failed"), [Mismatch("", "1 rows", reason)], whole)
    assert await causes(lambda x, _: x, failed) == [[("", cause)]]
