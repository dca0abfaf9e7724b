"""The shortest way through the house, in every arrangement."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from featurestore.client.sync import Store


def test_what_is_published_is_trained_on_served_and_listed(store: Store, fresh: Callable[[str], str]) -> None:
    users, name = fresh("users"), fresh("query")
    rows = pa.table({"user_id": [1, 2, 3], "score": [0.125, None, 2.5]})

    published = store.publish(users, rows, primary_key="user_id")
    assert published.rows == 3

    trained = store.query_train(
        f"SELECT user_id, score FROM feature_store.{users}", save=True, name=name, index_key="user_id"
    )
    assert trained.query_id.startswith("qry_")
    assert sorted(trained.to_arrow().to_pylist(), key=lambda row: row["user_id"]) == rows.to_pylist()

    served = store.query_realtime(trained.query_id, index_key="user_id", index_values=[3, 7, 1])
    assert [row["score"] for row in served.to_arrow().to_pylist()] == [2.5, 0.125]
    assert served.to_arrow().schema.names == trained.schema.names
    assert served.info.query_id == trained.query_id
    by_name = store.query_realtime(name, index_key="user_id", index_value=2)
    assert by_name.to_arrow().to_pylist() == [{"user_id": 2, "score": None}]

    assert store.get_query(name).query_id == trained.query_id
    assert trained.query_id in [query.query_id for query in store.list_queries()]
    assert users in [table.name for table in store.list_tables()]


def test_a_publish_is_served_at_once_and_trained_on_next(store: Store, fresh: Callable[[str], str]) -> None:
    users = fresh("users")
    store.publish(users, pa.table({"user_id": [1], "score": [1.0]}), primary_key="user_id")
    query = store.query_train(f"SELECT * FROM feature_store.{users}", save=True, index_key="user_id")

    store.publish(users, pa.table({"user_id": [1], "score": [2.0]}))

    served = store.query_realtime(query.query_id, index_key="user_id", index_value=1)
    assert served.to_arrow()["score"].to_pylist() == [2.0]
    again = store.query_train(f"SELECT * FROM feature_store.{users}")
    assert again.to_arrow()["score"].to_pylist() == [2.0]
