"""What a save is: one id for one content, names with versions, and the same ids in every arrangement."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from featurestore.client.sync import Store
from featurestore.model.errors import InvalidArgument, NotFound
from tests.conformance.world import HEADER, World
from tests.support.git_repos import GitRepo

Fresh = Callable[[str], str]


@pytest.fixture
def table(store: Store, fresh: Fresh) -> str:
    """A table with a row."""
    name = fresh("things")
    store.publish(name, [{"k": 1, "v": 0.5}], primary_key="k")
    return name


def test_saving_twice_is_one_query_whatever_the_layout(store: Store, table: str) -> None:
    count = store.status().queries
    first = store.query_train(f"SELECT k, v FROM feature_store.{table}", save=True)
    again = store.query_train(f"select  k,\n  v -- both\nFROM feature_store.{table} ;", save=True)
    assert again.query_id == first.query_id
    assert store.status().queries == count + 1
    assert store.get_query(first.query_id).sql == f"SELECT k, v FROM feature_store.{table}"


def test_a_trailing_comment_is_no_harm(store: Store, table: str) -> None:
    query = store.query_train(f"SELECT k FROM feature_store.{table} -- that is all", save=True).query_id
    assert store.query_train(query).to_pylist() == [{"k": 1}]
    assert store.query_realtime(query, index_key="k", index_value=1).to_pylist() == [{"k": 1}]


def test_many_equal_saves_at_once_are_one_query(store: Store, table: str) -> None:
    count = store.status().queries
    sql = f"SELECT v FROM feature_store.{table}"
    with ThreadPoolExecutor(16) as callers:
        ids = set(callers.map(lambda _: store.query_train(sql, save=True).query_id, range(48)))
    assert len(ids) == 1
    assert store.status().queries == count + 1


def test_other_content_under_a_name_is_its_next_version_and_the_bare_name_the_newest(
    store: Store, table: str, fresh: Fresh
) -> None:
    name = fresh("query")

    def save(what: str) -> str:
        return store.query_train(f"SELECT {what} FROM feature_store.{table}", save=True, name=name).query_id

    one = save("k")
    assert save("k") == one
    two = save("v")
    assert (store.get_query(name).query_id, store.get_query(f"{name}@1").query_id) == (two, one)
    assert store.get_query(f"{name}@2").query_id == two
    assert save("k") == one  # an older content again is the next version with the old id
    assert [store.get_query(f"{name}{at}").query_id for at in ("@1", "@2", "@3", "")] == [one, two, one, one]
    with pytest.raises(NotFound, match="3 versions"):
        store.get_query(f"{name}@4")
    assert store.query_train(f"{name}@2").schema.names == ["v"]


def test_one_content_under_two_names_is_one_id_with_two_names(store: Store, table: str, fresh: Fresh) -> None:
    sql = f"SELECT k, v FROM feature_store.{table}"
    one = store.query_train(sql, save=True, name=fresh("one"), owner="ada", labels={"team": "risk"})
    two = store.query_train(sql, save=True, name=fresh("two"), owner="bob")
    assert one.query_id == two.query_id
    saved = store.get_query(fresh("two"))
    assert {name.partition("@")[0] for name in saved.names} == {fresh("one"), fresh("two")}
    assert (saved.owner, saved.labels) == ("ada", {"team": "risk"})


def test_a_save_by_id_gives_a_saved_query_another_name(store: Store, table: str, fresh: Fresh) -> None:
    query = store.query_train(f"SELECT k FROM feature_store.{table}", save=True).query_id
    assert store.query_train(query, save=True, name=fresh("later")).query_id == query
    assert store.get_query(fresh("later")).query_id == query


def test_a_query_without_save_leaves_nothing(store: Store, table: str) -> None:
    count = store.status().queries
    trained = store.query_train(f"SELECT k FROM feature_store.{table}")
    assert trained.to_pylist() == [{"k": 1}]
    assert trained.query_id in {"", None}
    assert store.status().queries == count


def test_queries_and_etls_are_named_apart(store: Store, world: World, fresh: Fresh) -> None:
    name = fresh("both")
    query = store.query_train(world.sql, save=True, name=name).query_id
    etl = store.extract_train(query, world.script("good.py"), save=True, name=name).etl_id
    assert (store.get_query(name).query_id, store.get_etl(name).etl_id) == (query, etl)
    live = store.extract_realtime(name, name, index_key="user_id", index_value=1)
    assert (live.info.query_id, live.info.etl_id) == (query, etl)


def test_beside_an_etl_a_query_s_name_means_the_version_that_is_the_etl_s(
    store: Store, world: World, fresh: Fresh
) -> None:
    name = fresh("query")
    query = store.query_train(world.sql, save=True, name=name).query_id
    etl = store.extract_train(name, world.script("good.py"), save=True).etl_id
    store.query_train(f"SELECT user_id FROM feature_store.{world.orders}", save=True, name=name)

    live = store.extract_realtime(name, etl, index_key="user_id", index_value=1)

    assert live.info.query_id == query
    with pytest.raises(InvalidArgument) as refused:
        store.extract_realtime(f"{name}@2", etl, index_key="user_id", index_value=1)
    assert refused.value.reason == "ETL_OF_OTHER_QUERY"


def test_an_etl_saved_twice_is_one_and_other_code_is_another(
    store: Store, world: World, fresh: Fresh
) -> None:
    name = fresh("an_etl")
    with GitRepo(world.folder / name) as repo:
        script = f"{HEADER}        return self.df[['user_id']]  # {name}\n"
        first_commit = repo.commit({"etl.py": script})
        address = f"{repo.url}@main#etl.py"
        one = store.extract_train(world.query, address, save=True, name=name)
        repo.commit({"README": "another commit, the same script"})
        again = store.extract_train(world.query, address, save=True, name=name)
        assert again.etl_id == one.etl_id
        assert len(store.get_etl(name).provenances) == 2

        repo.commit({"etl.py": f"{HEADER}        return self.df[['user_id', 'amount']]\n"})
        other = store.extract_train(world.query, address, save=True, name=name)
        assert other.etl_id != one.etl_id
        assert store.get_etl(f"{name}@1").etl_id == one.etl_id
        assert store.get_etl(name).etl_id == other.etl_id
        pinned = f"{repo.url}@{first_commit}#etl.py"
        assert store.extract_train(world.query, pinned, save=True).etl_id == one.etl_id
    live = store.extract_realtime(None, one.etl_id, index_key="user_id", index_value=1)
    assert live.schema.names == ["user_id"]  # what runs is the blob, never "the branch"


def test_the_same_content_has_the_same_id_in_every_arrangement(store: Store, world: World) -> None:
    table = "same_everywhere"
    store.create_table(table, pa.schema([("k", pa.int64()), ("v", pa.float64())]), primary_key="k")
    store.publish(table, [{"k": 1, "v": 0.5}])
    query = store.query_train(f"SELECT k, v FROM feature_store.{table}", save=True).query_id
    etl = store.extract_train(query, world.script("same.py"), save=True).etl_id
    assert (query, etl) == ("qry_bw67sugarzqn5vh5d27mwi472g", "etl_i3omfn7oxobvsdjdyfvgyzvotq")
