"""ETLs: pinned code from git, run on one value's rows at a time, held to its contract and its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from featurestore.client.sync import Store
from featurestore.model.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument
from tests.conformance.world import HEADER, World
from tests.support.git_repos import GitRepo

Fresh = Callable[[str], str]
SERVING_SECONDS = 2.0


def live(world: World, path: str, value: object = 1, **how: Any) -> Any:
    return world.store.extract_realtime(None, world.etl(path), index_key="user_id", index_value=value, **how)


def test_an_etl_from_git_is_trained_saved_and_served_by_id(world: World) -> None:
    trained = world.store.extract_train(world.query, world.script("good.py"), save=True)
    assert trained.etl_id.startswith("etl_")
    assert sorted(trained.to_pandas()["twice"].dropna()) == [2.0, 3.0, 5.0, 16.0]

    served = live(world, "good.py")

    assert sorted(row["twice"] for row in served.to_pylist()) == [3.0, 5.0]
    assert served.schema == trained.contract == trained.to_arrow().schema
    assert (served.info.query_id, served.info.etl_id) == (world.query, trained.etl_id)
    assert served.info.blob_sha256 == world.store.get_etl(trained.etl_id).blob_sha256


def test_a_value_without_rows_is_absent_with_the_contract_s_schema_and_the_etl_is_not_called(
    world: World,
) -> None:
    served = live(world, "raises_on_few.py", value=99)  # it raises on fewer than three rows, so on none
    assert [answer.outcome for answer in served.answers] == ["absent"]
    assert served.to_arrow().num_rows == 0
    assert served.schema == world.store.get_etl(world.etl("raises_on_few.py")).contract


@pytest.mark.parametrize("path", ["by_rows.py", "by_key.py"])
def test_an_etl_that_is_trained_in_parts_is_saved_and_serves_what_training_showed(
    world: World, path: str
) -> None:
    trained = world.store.extract_train(world.query, world.script(path), save=True)
    assert trained.etl_id.startswith("etl_")
    served = [live(world, path, value) for value in (1, 2)]
    shown = [row for row in trained.to_arrow().to_pylist() if row["user_id"] is not None]
    assert sorted(map(str, shown)) == sorted(str(row) for each in served for row in each.to_pylist())
    assert served[0].schema == trained.contract
    by_order = world.store.extract_train(world.query, trained.etl_id, index_key="order_id").to_arrow()
    assert by_order.num_rows == 5


def test_a_saved_etl_is_run_again_in_training_by_id_and_by_name(world: World, fresh: Fresh) -> None:
    store, name = world.store, fresh("an_etl")
    saved = store.extract_train(world.query, world.script("good.py"), save=True, name=name)
    for reference in (saved.etl_id, name, f"{name}@1"):
        again = store.extract_train(world.query, reference)
        assert again.contract == saved.contract
        assert sorted(again.to_arrow()["twice"].drop_null().to_pylist()) == [2.0, 3.0, 5.0, 16.0]


def test_a_local_script_runs_as_it_is_on_disk_and_is_saved_once_it_is_committed(
    world: World, fresh: Fresh
) -> None:
    store = world.store
    with GitRepo(world.folder / fresh("repo")) as repo:
        repo.commit({"etl.py": f"{HEADER}        return self.df[['user_id']]\n"})
        changed = f"{HEADER}        return self.df[['user_id', 'day']]\n"
        file = repo.write("etl.py", changed)
        assert store.extract_train(world.query, str(file)).to_arrow().schema.names == ["user_id", "day"]
        with pytest.raises(FailedPrecondition) as refused:
            store.extract_train(world.query, str(file), save=True)
        assert refused.value.reason == "ETL_NOT_COMMITTED"

        repo.commit({"etl.py": changed})

        saved = store.extract_train(world.query, str(file), save=True)
        assert saved.contract.names == ["user_id", "day"]
        served = store.extract_realtime(None, saved.etl_id, index_key="user_id", index_value=2)
        assert {row["day"] for row in served.to_pylist()} == {None, "d"}


KINDS = {
    "arrow": "from etl_abc import ArrowEtl as Base\nimport pyarrow.compute as pc\nclass Etl(Base):\n    def extract(self):\n"
    "        rows = self.table\n        twice = pc.multiply(rows['amount'], 2.0)\n"
    "        return rows.select(['user_id']).append_column('twice', twice)\n",
    "polars": "from etl_abc import PolarsEtl as Base\nimport polars as pl\nclass Etl(Base):\n    def extract(self):\n"
    "        return self.frame.lazy().select('user_id', twice=pl.col('amount') * 2)\n",
    "sql": "from etl_abc import SqlEtl as Base\nclass Etl(Base):\n    sql = 'select user_id, amount * 2 as twice from input'\n",
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_etl_of_another_kind_is_trained_served_and_verified_as_a_pandas_one(
    world: World, fresh: Fresh, kind: str
) -> None:
    store, script = (
        world.store,
        KINDS[kind].replace("(Base):\n", "(Base):\n    granularity, pure = 'rows', True\n"),
    )
    pandas = store.get_etl(world.etl("good.py"))
    assert (pandas.kind, pandas.granularity, pandas.pure) == ("pandas", "frame", False)
    with GitRepo(world.folder / fresh("repo")) as repo:
        repo.commit({"etl.py": script})
        trained = store.extract_train(world.query, str(repo.folder / "etl.py"), save=True)
    assert trained.contract == pandas.contract
    assert sorted(trained.to_arrow()["twice"].drop_null().to_pylist()) == [2.0, 3.0, 5.0, 16.0]
    saved = store.get_etl(trained.etl_id)
    assert (saved.kind, saved.granularity, saved.pure) == (kind, "rows", True)
    served = [
        store.extract_realtime(None, trained.etl_id, index_key="user_id", index_value=1) for _ in range(2)
    ]
    for each in served:
        assert sorted(row["twice"] for row in each.to_pylist()) == [3.0, 5.0]
    assert [each.info.features_from_cache for each in served] == [False, True]
    assert store.verify(world.query, trained.etl_id, index_key="user_id").consistent


def test_a_local_script_takes_the_files_beside_it_along_and_is_saved_once_they_are_committed_too(
    world: World, fresh: Fresh
) -> None:
    store = world.store
    body = "        f = self.df[['user_id']].copy()\n        f['n'] = helpers.N\n        return f\n"
    with GitRepo(world.folder / fresh("repo")) as repo:
        repo.commit({"team/etl.py": f"import helpers\n{HEADER}{body}", "team/helpers.py": "N = 1\n"})
        script = str(repo.folder / "team" / "etl.py")
        first = store.extract_train(world.query, script, save=True)
        repo.write("team/helpers.py", "N = 2\n")
        assert set(store.extract_train(world.query, script).to_arrow()["n"].to_pylist()) == {2}
        with pytest.raises(FailedPrecondition, match=r"'helpers\.py', which it imports, differs") as refused:
            store.extract_train(world.query, script, save=True)
        assert refused.value.reason == "ETL_NOT_COMMITTED"

        repo.commit({"team/helpers.py": "N = 2\n"})

        second = store.extract_train(world.query, script, save=True)
        assert [path for path, _ in store.get_etl(second.etl_id).neighbours] == ["helpers.py"]
        assert first.etl_id != second.etl_id
        for etl_id, n in ((first.etl_id, 1), (second.etl_id, 2), (first.etl_id, 1)):
            served = store.extract_realtime(None, etl_id, index_key="user_id", index_value=1)
            assert {row["n"] for row in served.to_pylist()} == {n}

        repo.write("team/json.py", "")
        shadowing = repo.write("team/etl.py", f"import json\n{HEADER}        return self.df\n")
        with pytest.raises(InvalidArgument, match=r"json\.py beside the script .* rename it"):
            store.extract_train(world.query, str(shadowing)).to_arrow()


def test_a_broken_contract_names_the_column_and_both_types(world: World) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        live(world, "breaks_contract.py")
    assert refused.value.reason == "CONTRACT_BROKEN"
    for said in ("mean", "int64", "double"):
        assert said in refused.value.message


@pytest.mark.parametrize("value", [1, 2])
def test_what_an_etl_raises_is_told_by_type_and_line_and_the_next_call_is_served(
    world: World, value: int
) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        live(world, "raises_on_few.py", value=value)
    assert refused.value.reason == "ETL_EXCEPTION"
    assert "KeyError" in refused.value.message
    assert "raises_on_few.py" in refused.value.message
    assert live(world, "good.py", value=value).to_arrow().num_rows == 2


def test_an_etl_that_never_ends_is_ended_and_the_store_serves_on(world: World) -> None:
    etl = world.etl("endless_on_few.py")
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as refused:
        world.store.extract_realtime(None, etl, index_key="user_id", index_value=1)
    assert refused.value.reason == "ETL_TIMEOUT"
    assert time.monotonic() - started >= SERVING_SECONDS * 0.9
    assert live(world, "good.py").to_arrow().num_rows == 2


def test_training_that_fails_saves_nothing(world: World) -> None:
    before = world.store.status().etls
    for path, reason in [
        ("raises.py", "ETL_EXCEPTION"),
        ("no_frame.py", "ETL_NO_FRAME"),
        ("undecided.py", "CONTRACT_UNDECIDED"),
    ]:
        with pytest.raises(FailedPrecondition) as refused:
            world.store.extract_train(world.query, world.script(path), save=True)
        assert refused.value.reason == reason
    assert world.store.status().etls == before


def test_one_bad_value_among_many_fails_the_call_as_it_fails_alone(world: World) -> None:
    etl = world.etl("none_on_few.py")
    with pytest.raises(FailedPrecondition) as refused:
        world.store.extract_realtime(None, etl, index_key="user_id", index_values=[99, 1])
    assert refused.value.reason == "ETL_NO_FRAME"


def test_an_etl_saved_from_a_repository_that_is_gone_is_served_on(
    store: Store, world: World, fresh: Fresh
) -> None:
    folder = world.folder / fresh("repo")
    with GitRepo(folder) as repo:
        repo.commit({"etl.py": f"{HEADER}        return self.df[['user_id']]\n"})
        etl = store.extract_train(world.query, f"{repo.url}@main#etl.py", save=True).etl_id
    folder.rename(folder.with_name(f"{folder.name}_gone"))
    assert store.extract_realtime(None, etl, index_key="user_id", index_value=1).to_arrow().num_rows == 2
    assert store.extract_train(world.query, etl).to_arrow().num_rows == 5
