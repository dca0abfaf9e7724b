"""Answers that are kept before anybody asks, through every room of the house."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import featurestore
from featurestore.client.sync import Store
from featurestore.model.warming import KeptUp, Warmed
from tests.support.command_line import run

Fresh = Callable[[str], str]


@pytest.fixture
def board(store: Store, fresh: Fresh) -> tuple[str, str]:
    """A table with 25,000 keys, more than fit into one call, and a saved query over it."""
    table = fresh("board")
    store.publish(table, [{"k": k, "v": f"v{k}"} for k in range(25_000)], primary_key="k")
    # Without an index key: else the save would be verified, and what that serves is kept too.
    query = store.query_train(f"SELECT k, v FROM feature_store.{table}", save=True).query_id
    return table, query


def test_what_is_warmed_comes_from_the_cache_and_what_is_kept_stays_there(
    store: Store, board: tuple[str, str]
) -> None:
    table, query = board
    assert not store.query_realtime(query, index_key="k", index_value=1).info.from_cache
    assert store.warm(query, "k", range(12_000)) == Warmed(computed=11_999, kept=11_999, already_there=1)
    served = store.query_realtime(query, index_key="k", index_values=[0, 11_999])
    assert served.info.from_cache
    assert served.to_arrow()["v"].to_pylist() == ["v0", "v11999"]
    assert not store.query_realtime(query, index_key="k", index_value=12_000).info.from_cache

    assert store.warm(query, "k", [1], keep=True) == Warmed(already_there=1)
    store.publish(table, [{"k": 1, "v": "new"}])
    ends = time.monotonic() + 10
    while not (served := store.query_realtime(query, index_key="k", index_value=1)).info.from_cache:
        assert served.to_pylist() == [{"k": 1, "v": "new"}]
        assert time.monotonic() < ends
    assert served.to_pylist() == [{"k": 1, "v": "new"}]

    use = store.explain(query, index_key="k").cache
    assert use is not None
    assert use.kept_up is KeptUp.ASKED
    assert use.entries == 12_001
    cache = store.status().cache
    assert cache is not None
    assert cache.entries >= 12_001
    assert [each.kept_up for each in cache.kept_up if each.query_id == query] == [KeptUp.ASKED]

    assert store.warm(query, "k", keep=False) == Warmed()
    assert query not in [each.query_id for each in store.status().cache.kept_up]  # type: ignore[union-attr]


def test_all_keys_and_composite_ones(store: Store, board: tuple[str, str]) -> None:
    _, query = board
    assert store.warm(query, "k") == Warmed(computed=25_000, kept=25_000)
    assert store.query_realtime(query, index_key="k", index_value=24_999).info.from_cache
    assert store.warm(query, ["k", "v"], [(1, "v1"), (1, "v2")]).kept == 2
    served = store.query_realtime(query, index_key=["k", "v"], index_values=[(1, "v1"), (1, "v2")])
    assert served.info.from_cache
    assert [answer.outcome for answer in served.answers] == ["found", "absent"]
    assert store.warm(query, "k", [1], rows=True) == Warmed(computed=1, kept=1)


async def test_the_async_client_warms_too(target: str, board: tuple[str, str]) -> None:
    _, query = board
    async with featurestore.aio.connect(target) as store:
        assert await store.warm(query, "k", [5, 6]) == Warmed(computed=2, kept=2)


def test_the_command_line_warms_and_tells(target: str, board: tuple[str, str]) -> None:
    _, query = board
    ran = run("warm", query, "--key", "k=1", "--key", "k=2", "--keep", "--target", target)
    assert (ran.code, ran.out) == (0, "2 answers kept, 0 were there\n")
    explained = run("explain", query, "--index-key", "k", "--target", target)
    assert "cache: kept warm (asked), 2 answers with" in explained.out
    status = run("status", "--target", target)
    assert f"{query} by k: kept warm (asked), 2 answers" in status.out
    ran = run("warm", query, "--index-key", "k", "--no-keep", "--json", "--target", target)
    assert (ran.code, *ran.rows) == (
        0,
        {"computed": 0, "kept": 0, "already_there": 0, "no_room": 0, "overtaken": 0},
    )
