"""Tables, publishing and what a read that starts afterwards sees."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from featurestore.client.sync import Store
from featurestore.model.errors import AlreadyExists, FailedPrecondition, FeatureStoreError, NotFound

Fresh = Callable[[str], str]
SCHEMA = pa.schema([("k", pa.int64()), ("v", pa.string())])


class Board:
    """A table `k, v` with a primary key, and a saved query over it."""

    def __init__(self, store: Store, table: str) -> None:
        """Make both."""
        self.store = store
        self.table = table
        store.create_table(table, SCHEMA, primary_key="k")
        self.query = store.query_train(
            f"SELECT k, v FROM feature_store.{table}", save=True, index_key="k"
        ).query_id

    def put(self, **how: Any) -> Any:
        """Publish `k_<key>=<value>` pairs."""
        publish_id = how.pop("publish_id", None)
        rows = [{"k": int(name.removeprefix("k")), "v": value} for name, value in how.items()]
        return self.store.publish(self.table, rows, publish_id=publish_id)

    def served(self, *keys: int) -> list[str | None]:
        """The live value of each key; None where it is absent."""
        answers = self.store.query_realtime(self.query, index_key="k", index_values=keys).answers
        return [answer.to_pylist()[0]["v"] if answer.outcome == "found" else None for answer in answers]

    def trained(self) -> dict[int, str]:
        """All rows in training."""
        return {row["k"]: row["v"] for row in self.store.query_train(self.query).to_pylist()}


@pytest.fixture
def board(store: Store, fresh: Fresh) -> Board:
    return Board(store, fresh("board"))


def test_every_read_that_starts_after_a_publish_sees_it(board: Board) -> None:
    for number in range(30):
        board.put(k1=f"v{number}")
        assert board.served(1) == [f"v{number}"]
    assert board.trained() == {1: "v29"}


def test_a_publish_replaces_whole_rows_and_the_last_of_one_key_wins(board: Board) -> None:
    board.store.publish(board.table, [{"k": 1, "v": "a"}, {"k": 2, "v": "b"}, {"k": 1, "v": "c"}])
    assert board.served(1, 2) == ["c", "b"]
    board.store.publish(
        board.table, [{"k": 1}]
    )  # a missing nullable column is null: the whole row is replaced
    assert board.store.query_realtime(board.query, index_key="k", index_value=1).to_pylist() == [
        {"k": 1, "v": None}
    ]
    assert board.trained() == {1: None, 2: "b"}


def test_what_is_deleted_is_absent_on_both_sides_and_may_come_back(board: Board) -> None:
    board.put(k1="a", k2="b", k3="c")
    assert board.store.delete(board.table, [1, "2", 77]).rows == 3
    assert board.served(1, 2, 3, 77) == [None, None, "c", None]
    assert board.trained() == {3: "c"}
    board.store.delete(board.table, pa.table({"k": [3], "other": ["columns are no matter"]}))
    board.put(k1="again")
    assert board.served(1, 3) == ["again", None]
    assert board.trained() == {1: "again"}


def test_rows_of_several_tables_are_one_version(store: Store, fresh: Fresh) -> None:
    one, two = fresh("one"), fresh("two")

    def publish(number: int) -> int:
        return store.publish({one: [{"k": 1, "v": number}], two: [{"k": 1, "w": number}]}).version.sequence

    store.create_table(one, pa.schema([("k", pa.int64()), ("v", pa.int64())]), primary_key="k")
    store.create_table(two, pa.schema([("k", pa.int64()), ("w", pa.int64())]), primary_key="k")
    publish(0)
    query = store.query_train(
        f"SELECT a.k, v, w FROM feature_store.{one} a JOIN feature_store.{two} b ON a.k = b.k",
        save=True,
        index_key="k",
    ).query_id
    with ThreadPoolExecutor(1) as publisher:
        published = publisher.map(publish, range(1, 40))
        while True:
            (row,) = store.query_realtime(query, index_key="k", index_value=1).to_pylist()
            assert row["v"] == row["w"]
            if row["v"] == 39:
                break
    sequences = list(published)
    assert sequences == sorted(set(sequences))


def test_a_bad_table_among_several_leaves_all_of_them_as_they_were(store: Store, fresh: Fresh) -> None:
    good, bad, new = fresh("good"), fresh("bad"), fresh("new")
    store.create_table(good, SCHEMA, primary_key="k")
    store.create_table(bad, SCHEMA, primary_key="k")
    with pytest.raises(FeatureStoreError, match="surprise"):
        store.publish({good: [{"k": 1, "v": "a"}], new: [{"x": 1}], bad: [{"k": 1, "surprise": 1}]})
    assert store.get_table(good).row_count == 0
    with pytest.raises(NotFound):
        store.get_table(new)


def test_a_repeated_publish_gets_the_first_answer_and_is_not_applied_again(
    board: Board, fresh: Fresh
) -> None:
    first = board.put(k1="a", publish_id=fresh("publish"))
    board.put(k1="b")
    again = board.put(k1="a", publish_id=fresh("publish"))
    assert again == first
    assert board.served(1) == ["b"]


def test_a_table_without_a_key_is_appended_to(store: Store, fresh: Fresh) -> None:
    events = fresh("events")
    for _ in range(2):
        store.publish(events, [{"k": 1}, {"k": 1}])
    assert store.get_table(events).row_count == 4
    assert len(store.query_train(f"SELECT k FROM feature_store.{events}").to_pylist()) == 4


def test_create_table_with_a_superset_alters_and_what_was_saved_is_served_on(board: Board) -> None:
    board.put(k1="a")
    star = board.store.query_train(f"SELECT * FROM feature_store.{board.table}", save=True, index_key="k")
    board.store.create_table(board.table, SCHEMA.append(pa.field("extra", pa.int64())), primary_key="k")
    board.store.publish(board.table, [{"k": 2, "v": "b", "extra": 7}])

    assert board.store.get_table(board.table).schema.names == ["k", "v", "extra"]
    assert board.served(1, 2) == ["a", "b"]
    live = board.store.query_realtime(star.query_id, index_key="k", index_value=2)
    assert live.to_pylist() == [{"k": 2, "v": "b"}]  # as saved: `*` has not grown
    assert board.store.query_train(star.query_id).schema.names == ["k", "v"]
    wider = board.store.query_train(f"SELECT * FROM feature_store.{board.table}", save=True)
    assert wider.schema.names == ["k", "v", "extra"]
    assert wider.query_id != star.query_id


def test_a_table_in_use_is_dropped_with_force_only_and_then_gone_on_both_sides(board: Board) -> None:
    board.put(k1="a")
    with pytest.raises(FailedPrecondition) as refused:
        board.store.drop_table(board.table)
    assert board.query in refused.value.message
    assert board.served(1) == ["a"]

    board.store.drop_table(board.table, force=True)

    for ask in (lambda: board.served(1), board.trained):
        with pytest.raises(FeatureStoreError, match=board.table):
            ask()
    board.store.create_table(board.table, SCHEMA, primary_key="k")
    assert board.served(1) == [None]
    assert board.trained() == {}


def test_of_two_definitions_in_a_race_one_wins_and_the_other_is_told_so(store: Store, fresh: Fresh) -> None:
    def define(at: int) -> FeatureStoreError | None:
        try:
            store.publish(fresh(f"raced{at // 2}"), [{"k": 1, "v": 1}], primary_key="kv"[at % 2])
        except FeatureStoreError as error:
            return error
        return None

    with ThreadPoolExecutor(8) as callers:
        outcomes = list(callers.map(define, range(16)))
    for one, other in zip(outcomes[::2], outcomes[1::2], strict=True):
        (error,) = [outcome for outcome in (one, other) if outcome is not None]
        assert isinstance(error, AlreadyExists)
        assert error.reason == "TABLE_DEFINED_OTHERWISE"
    assert [store.get_table(fresh(f"raced{at}")).row_count for at in range(8)] == [1] * 8


def test_a_large_frame_arrives_whole(store: Store, fresh: Fresh) -> None:
    large = fresh("large")
    rows = pa.table({"k": range(300), "text": ["x" * 300_000] * 300})  # 90 MB: two publishes
    published = store.publish(large, rows, primary_key="k")
    assert published.rows == 300
    assert store.get_table(large).row_count == 300
    sizes = store.query_train(f"SELECT k, length(text) AS n FROM feature_store.{large}").to_arrow()
    assert sizes["n"].to_pylist() == [300_000] * 300


def test_an_answer_that_is_too_large_for_one_message_is_fetched_in_parts(store: Store, fresh: Fresh) -> None:
    wide = fresh("wide")
    store.publish(wide, [{"k": k, "text": str(k) * 500_000} for k in range(9)], primary_key="k")
    query = store.query_train(f"SELECT * FROM feature_store.{wide}", save=True, index_key="k").query_id
    served = store.query_realtime(query, index_key="k", index_values=[*range(9), 99, 0])
    assert [row["text"][:1] for row in served.to_pylist()] == [*"012345678", "0"]
    assert [answer.outcome for answer in served.answers].count("absent") == 1


def test_explain_says_how_a_query_is_served(board: Board) -> None:
    board.put(k1="a", k2="b")
    explained = board.store.explain(board.query, index_key="k")
    assert (explained.query_id, explained.index_key) == (board.query, ("k",))
    assert [occurrence.table for occurrence in explained.occurrences] == [board.table]
    assert explained.verdict in {"indexed", "partly indexed", "scan"}
    assert explained.plan


def test_a_save_with_an_index_key_returns_and_keeps_how_it_is_served(store: Store, fresh: Fresh) -> None:
    table = fresh("payments")
    store.publish(table, [{"payment_id": n, "user_id": n % 7} for n in range(70)], primary_key="payment_id")
    sql = f"SELECT user_id, count(*) AS n FROM feature_store.{table} GROUP BY user_id"
    asked = store.query_train(sql, index_key="user_id").explanation
    assert asked is not None
    assert asked.verdict == "scan", "a key that is only asked for builds no index"
    saved = store.query_train(sql, save=True, index_key="user_id")
    assert saved.explanation is not None
    assert saved.explanation.verdict == "indexed"
    [occurrence] = saved.explanation.occurrences
    assert (occurrence.narrowed_on, occurrence.narrowed_by) == ("user_id", "key user_id")
    assert "GROUP_BY" in occurrence.rules
    assert saved.explanation.query_id == saved.query_id
    assert store.get_query(saved.query_id).served == ("indexed",)
    slow = store.query_train(f"{sql} ORDER BY user_id LIMIT 2", save=True, index_key="user_id")
    [told] = store.get_query(slow.query_id).served
    assert told.startswith("scan\n")
    assert "counts rows of all keys" in told


def test_status_counts_what_is_there(store: Store, fresh: Fresh) -> None:
    before = store.status()
    store.publish(fresh("counted"), [{"a": 1}, {"a": 2}])
    after = store.status()
    assert (after.tables - before.tables, after.rows - before.rows) == (1, 2)
    assert after.realtime_version.sequence > before.realtime_version.sequence
    assert after.problems == ()
