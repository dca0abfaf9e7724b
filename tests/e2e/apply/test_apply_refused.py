"""`featurestore apply` where it is refused, breaks off, or finds what is not consistent."""

from __future__ import annotations

import os

import pytest

from featurestore.client.sync import Store
from featurestore.model.errors import FailedPrecondition
from tests.support.command_line import run
from tests.support.definitions import AGREED, ETL, QUERY, apply

# What is not consistent, or breaks off


def test_an_etl_that_skews_is_not_consistent(repo, store):
    repo.commit({"defs/etls/shares.py": ETL.replace('self.df["payments"]', 'self.df["paid"].mean()')})
    ran = apply(repo, "--store", store)
    assert (ran.code, ran.err) == (1, "")
    assert [verified for verified, _ in AGREED.findall(ran.out)] == ["query paid"]
    assert ran.out.endswith(" keys agree; FRAME_DEPENDENT\nnot consistent\n")


def test_a_verification_that_can_not_be_made_is_told_and_the_others_are_still_made(repo, store, monkeypatch):
    verify = Store.verify

    def refuse_queries(self, query, etl=None, **options):
        if etl is None:
            raise FailedPrecondition("QUERY_SCHEMA_CHANGED", "a table has changed")
        return verify(self, query, etl, **options)

    monkeypatch.setattr(Store, "verify", refuse_queries)
    ran = apply(repo, "--store", store)
    assert ran.code == 1
    assert ran.err == "error: queries/paid.sql: a table has changed [QUERY_SCHEMA_CHANGED]\n"
    assert [verified for verified, _ in AGREED.findall(ran.out)] == ["etl shares"]
    assert ran.out.endswith("\nnot consistent\n")


def test_without_an_index_key_there_is_nothing_to_verify(repo, store):
    repo.commit({path: text.replace("index_key: user_id", "description: none") for path, text in {
        "defs/queries/paid.sql": QUERY.replace("-- description: What each user paid\n", ""),
        "defs/etls/shares.py": ETL,
    }.items()})  # fmt: skip
    ran = apply(repo, "--store", store)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("\nnothing to verify: no definition has an index_key\n")


def test_what_was_saved_before_a_failure_is_listed(repo, store):
    broken = ETL.replace("return", "raise ValueError(1)\n        return")
    repo.commit({"defs/etls/shares.py": broken, "defs/etls/zzz.py": ETL.replace("# name: shares\n", "")})
    ran = apply(repo, "--store", store)
    assert ran.code == 1
    assert ran.err.startswith("error: etls/shares.py: ")
    assert ran.err.endswith("[ETL_EXCEPTION]\n")
    (query,) = run("queries", "--store", store, "--json").rows
    assert ran.out.splitlines()[-1] == (
        f"broken off; saved: query paid as {query['query_id']}; failed: etl shares; not tried: etl zzz"
    )
    assert run("etls", "--store", store, "--json").rows == []


# What is refused before anything is saved


def test_an_uncommitted_script_is_refused_and_nothing_is_saved(repo, shared):
    repo.write("defs/etls/shares.py", ETL + "# changed\n")
    for options in ((), ("--dry-run",)):
        ran = apply(repo, "--store", shared, *options)
        assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
        assert ran.err.endswith("[ETL_NOT_COMMITTED]\n")
    assert run("queries", "--store", shared, "--json").rows == []


@pytest.mark.parametrize(
    ("files", "reasons"),
    [
        ({"defs/etls/shares.py": ETL.replace("# query: paid\n", "")}, ["FRONT_MATTER"]),
        ({"defs/etls/shares.py": ETL.replace("query: paid", "query: piad")}, ["UNKNOWN_QUERY"]),
        ({"defs/queries/other.sql": "-- name: paid\n\nSELECT 1 AS a"}, ["DUPLICATE_NAME"]),
        ({"defs/queries/paid.sql": QUERY.replace("owner", "ownr")}, ["FRONT_MATTER"]),
        (
            {"defs/queries/paid.sql": "-- x: 1", "defs/queries/b.sql": "-- x: 1"},
            ["FRONT_MATTER", "FRONT_MATTER"],
        ),
        (
            {"defs/etls/shares.py": ETL.replace("index_key: user_id", "index_key: uid")},
            ["UNKNOWN_KEY_COLUMN"],
        ),
        ({"defs/queries/paid.sql": "SELEC 1"}, ["SQL_SYNTAX"]),
        ({"defs/queries/paid.sql": "paid"}, ["SQL_SYNTAX"]),
        ({"defs/queries/paid.sql": "-- name: paid"}, ["SQL_EMPTY"]),
        (
            {"defs/queries/paid.sql": QUERY.replace("index_key: user_id", "index_key: uid")},
            ["UNKNOWN_KEY_COLUMN"],
        ),
        (
            {
                "defs/queries/paid.sql": "SELECT 1; SELECT 2",
                "defs/queries/b.sql": "SELECT * FROM feature_store.no",
            },
            ["UNKNOWN_TABLE", "SQL_NOT_ONE_STATEMENT"],
        ),
    ],
)
def test_what_is_wrong_is_one_line_each_exit_code_1_and_nothing_is_saved(files, reasons, repo, shared):
    repo.commit(files)
    for options in ((), ("--dry-run",)):
        ran = apply(repo, "--store", shared, *options)
        assert ran.code == 1
        lines = ran.err.splitlines()
        assert all(line.startswith("error: ") for line in lines)
        assert [line.rpartition("[")[2].rstrip("]") for line in lines] == reasons
    assert run("queries", "--store", shared, "--json").rows == []


def test_an_empty_folder_is_refused(shared, tmp_path):
    ran = run("apply", tmp_path, "--store", shared)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith("[NO_DEFINITIONS]\n")


@pytest.mark.parametrize("arguments", [["missing"], ["file"], [".", "--sample", "0"], []])
def test_what_is_no_folder_or_no_sample_is_wrong_usage(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    ran = run("apply", *arguments, "--store", tmp_path / "store")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("[USAGE]\n")


def test_a_store_that_does_not_exist_is_not_made(repo, tmp_path):
    ran = apply(repo, "--store", tmp_path / "nowhere")
    assert ran.code == 1
    assert ran.err.endswith("[NO_STORE]\n")
    assert not os.path.lexists(tmp_path / "nowhere")
