"""What is saved is verified later, one thing after the other, and whatever goes wrong there goes no further."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pyarrow as pa
import pytest

import gateway.verifying
from featurestore.model import deadline
from featurestore.model.errors import Unavailable
from featurestore.model.query import Column, Notes, Query, QueryForm
from featurestore.model.table import Version
from featurestore.model.verifying import Difference, VerifyReport
from gateway.verifying import KEPT_DIFFERENCES, Saved, Verifications

FORM = QueryForm("SELECT 1 AS k", (Column("k", pa.int64(), "BIGINT"),))
FOUND = tuple(Difference(str(key), "k", "1", "2", "RANDOM") for key in range(50))


def report(checked: int = 20, differences: tuple[Difference, ...] = ()) -> VerifyReport:
    return VerifyReport(checked, checked - bool(differences), 0, differences, Version("log", 1))


def saved(query_id: str, column: str = "k") -> Saved:
    query = Query(query_id, FORM, "", (), Notes(), (), False, datetime(2026, 1, 1, tzinfo=UTC))
    return Saved(query, None, (column,))


class Peers:
    """Extraction and catalogue in one: what was asked for, what was kept."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.left: list[float | None] = []
        self.kept: dict[tuple[str, tuple[str, ...]], VerifyReport] = {}
        self.answers: dict[str, VerifyReport | Exception] = {}
        self.at_once = self.most_at_once = 0
        self.refuses: Exception | None = None

    async def verify(self, query_id, _form, _etl, index_key, _sample):
        self.asked.append((query_id, index_key))
        self.left.append(deadline.remaining())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        answer = self.answers.get(query_id, report())
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def save_report(self, public_id, kept):
        if self.refuses is not None:
            raise self.refuses
        self.kept[public_id, kept.index_key] = kept.report


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(gateway.verifying, "_SETTLE_SECONDS", 0.05)


@pytest.fixture
def peers() -> Peers:
    return Peers()


async def until(holds) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is awaited is any state of a fake
            await asyncio.sleep(0.01)


async def test_what_is_saved_is_verified_once_for_each_index_key_and_one_at_a_time(peers):
    async with Verifications(peers, peers) as verifications:
        for _ in range(3):
            for column in "ab":
                verifications.later(saved("qry_1", column))
        verifications.later(saved("qry_2"))
        await until(lambda: len(peers.kept) == 3)
    assert peers.asked == [("qry_1", ("a",)), ("qry_1", ("b",)), ("qry_2", ("k",))]
    assert peers.most_at_once == 1


async def test_its_time_is_its_own_and_not_that_of_the_call_which_saved(peers):
    async with Verifications(peers, peers) as verifications:
        with deadline.within(0.01):
            verifications.later(saved("qry_1"))
        await until(lambda: peers.kept)
    assert peers.left[0] > 60


@pytest.mark.parametrize("error", [Unavailable("WAREHOUSE_BEHIND", "behind"), ValueError("a bug")])
async def test_what_can_not_be_verified_has_no_report_and_the_next_one_is_verified(peers, error, caplog):
    peers.answers["qry_1"] = error
    async with Verifications(peers, peers) as verifications:
        verifications.later(saved("qry_1"))
        verifications.later(saved("qry_2"))
        await until(lambda: peers.kept)
    assert peers.kept.keys() == {("qry_2", ("k",))}
    assert "qry_1 could not be verified" in caplog.text


async def test_a_report_is_kept_with_its_first_differences_and_one_that_compared_nothing_is_not(peers):
    verifications = Verifications(peers, peers)
    await verifications.keep("qry_1", ("k",), report(differences=FOUND))
    await verifications.keep("qry_2", ("k",), report(checked=0))
    assert peers.kept == {("qry_1", ("k",)): report(differences=FOUND[:KEPT_DIFFERENCES])}


async def test_that_a_report_can_not_be_kept_is_nobodys_failure(peers, caplog):
    peers.refuses = Unavailable("CATALOG_UNAVAILABLE", "away")
    await Verifications(peers, peers).keep("qry_1", ("k",), report())
    assert "was not kept" in caplog.text


async def test_what_somebody_verified_meanwhile_is_not_verified_again(peers):
    async with Verifications(peers, peers) as verifications:
        verifications.later(saved("qry_1"))
        verifications.later(saved("qry_2"))
        await verifications.keep("qry_1", ("k",), report())
        await until(lambda: len(peers.kept) == 2)
    assert peers.asked == [("qry_2", ("k",))]


async def test_a_bounded_number_waits(peers, monkeypatch, caplog):
    monkeypatch.setattr(gateway.verifying, "_MOST_WAITING", 2)
    async with Verifications(peers, peers) as verifications:
        for number in range(3):
            verifications.later(saved(f"qry_{number}"))
        await until(lambda: len(peers.kept) == 2)
    assert "qry_2 is not verified" in caplog.text


async def test_switched_off_nothing_is_verified_by_itself_but_reports_are_kept(peers):
    async with Verifications(peers, peers, verify_saves=False) as verifications:
        verifications.later(saved("qry_1"))
        await asyncio.sleep(0.1)
        await verifications.keep("qry_2", ("k",), report())
    assert peers.asked == []
    assert peers.kept.keys() == {("qry_2", ("k",))}
