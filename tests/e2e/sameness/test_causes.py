"""Every script that skews is caught, with its cause, and no honest one is; in local mode, with sealed workers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import featurestore
from featurestore.client.sync import Store
from tests.e2e.sameness.corpus import HONEST, SKEWED, Script
from tests.support.git_repos import GitRepo

COLUMNS = "user_id, payment_id, moment, born, kind, amount, fee, n"
FEW_HONEST = ("running_sum_in_the_promised_order",)
FEW_SKEWED = ("frame_mean", "today", "random_numbers", "one_hot")


@dataclass
class World:
    """A store with payments, and a repository with all scripts."""

    store: Store
    repo: GitRepo
    query: str
    ordered: str

    def verified(self, name: str, script: Script) -> featurestore.client.verified.Verified:
        query = self.ordered if script.ordered else self.query
        address = f"git+file://{self.repo.folder}@main#{name}.py"
        etl = self.store.extract_train(query, address, save=True).etl_id
        return self.store.verify(query, etl, index_key="user_id", sample=20)


def payments() -> list[dict[str, object]]:
    """Of 30 users, from one payment to twelve; nulls for some users only; user 0 has none of the kinds b and c."""
    start = dt.datetime.fromisoformat("2024-01-01")
    rows = []
    for number in range(200):
        user = (number * number + number // 7) % 30
        rows.append(
            {
                "payment_id": number,
                "user_id": user,
                "moment": start + dt.timedelta(hours=number * 37 % 9000, minutes=number),
                "born": start - dt.timedelta(days=7000 + user * 100),
                "kind": "a" if user == 0 else None if number % 11 == 0 else "abc"[number % 3],
                "amount": None if number % 9 == 0 else (number * 13 % 101) / 10,
                "fee": (number * 7 % 53) / 8,
                "n": None if user % 4 == 1 else number % 5,
            }
        )
    return rows


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("sameness")
    repo = GitRepo(folder / "repo")
    repo.commit({f"{name}.py": script.text for name, script in (HONEST | SKEWED).items()})
    with featurestore.local(folder / "store") as store:
        store.publish("payments", payments(), primary_key="payment_id")
        sql = f"SELECT {COLUMNS} FROM feature_store.payments"
        query = store.query_train(sql, save=True).query_id
        ordered = store.query_train(f"{sql} ORDER BY user_id, moment, payment_id", save=True).query_id
        yield World(store, repo, query, ordered)


def cases(scripts: dict[str, Script], few: tuple[str, ...]) -> list[object]:
    """All are proved; a few are tested."""
    return [pytest.param(name, marks=[] if name in few else [pytest.mark.slow]) for name in scripts]


@pytest.mark.parametrize("name", cases(HONEST, FEW_HONEST))
def test_an_honest_script_agrees_on_every_key(world: World, name: str) -> None:
    report = world.verified(name, HONEST[name])
    assert report.consistent, report
    assert report.checked >= 22
    assert report.differences == ()


@pytest.mark.parametrize("name", cases(SKEWED, FEW_SKEWED))
def test_a_script_that_skews_is_caught_with_its_cause(world: World, name: str) -> None:
    script = SKEWED[name]
    report = world.verified(name, script)
    assert not report.consistent
    assert list(report.causes) == [script.cause], report
    assert script.column in {each.column for each in report.differences}
