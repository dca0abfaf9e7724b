"""The command line on a local store: what it prints for people and for programs, and what it refuses."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import featurestore
from featurestore.cli.demo import commit_script
from featurestore.host.folder import StoreFolder
from tests.support.command_line import run

SQL = "SELECT u.user_id, u.name, o.amount FROM feature_store.users u LEFT JOIN feature_store.orders o USING (user_id)"
ETL = """\
from etl_abc import AbstractEtl


class Etl(AbstractEtl):
    def extract(self):
        features = self.df[["user_id"]].copy()
        features["double"] = self.df["amount"] * 2
        return features
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def store(folder):
    """A store with two tables, a query and an ETL, all made by commands; its path."""
    path = folder / "my store"
    with featurestore.local(path):  # one server for all commands below
        users = folder / "users.csv"
        users.write_text(
            "user_id,name,since\n1,Ann,2024-01-02T03:04:05Z\n2,Bo,2024-01-02T03:04:06Z\n"
            "3,Cy,2024-01-02T03:04:07Z\n"
        )
        orders = folder / "orders.jsonl"
        orders.write_text(
            '{"order_id": 1, "user_id": 1, "amount": 1.5}\n{"order_id": 2, "user_id": 1, "amount": 2.25}\n'
            '{"order_id": 3, "user_id": 3, "amount": 4.0}\n'
        )
        script = commit_script(folder / "repository", ETL)
        for command in (
            ("publish", "users", users, "--primary-key", "user_id", "--event-time", "since"),
            ("publish", "orders", orders, "--primary-key", "order_id"),
            ("query", "train", SQL, "--save", "--name", "spending", "--index-key", "user_id"),
            ("extract", "train", "spending", script, "--save", "--name", "doubled"),
        ):
            ran = run(*command, "--store", path)
            assert ran.code == 0, ran.err
        yield path


def sorted_rows(ran):
    assert (ran.code, ran.err) == (0, "")
    return sorted(ran.rows, key=str)


# Tables


def test_tables_are_listed_and_shown(store):
    listed = run("tables", "--store", store)
    assert listed.code == 0
    assert [line.split()[0] for line in listed.out.splitlines()[2:]] == ["orders", "users"]
    shown = run("tables", "users", "--json", "--store", store)
    (users,) = shown.rows
    assert users["primary_key"] == ["user_id"]
    assert users["event_time"] == "since"
    assert users["rows"] == 3
    assert [column["name"] for column in users["columns"]] == ["user_id", "name", "since"]
    assert "primary key  user_id" in run("tables", "users", "--store", store).out


def test_an_empty_store_says_what_to_do(tmp_path):
    with featurestore.local(tmp_path / "store"):
        tables = run("tables", "--store", tmp_path / "store")
        queries = run("queries", "--store", tmp_path / "store")
        etls = run("etls", "--store", tmp_path / "store")
        as_json = run("tables", "--store", tmp_path / "store", "--json")
    assert tables.code == queries.code == etls.code == 0
    assert tables.out.startswith("The store has no tables yet.")
    assert "featurestore publish " in tables.out
    assert "featurestore query train " in queries.out
    assert "featurestore extract train " in etls.out
    assert as_json.out == ""


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "arrow"])
def test_every_format_can_be_published_and_read_back(ending, store, tmp_path):
    table = f"copied_{ending}"
    rows = pa.table({"id": [1, 2, 3], "text": ["007", "8", "9"], "half": [0.5, 1.5, 2.5]})
    pq.write_table(rows, tmp_path / "first.parquet")
    assert (
        run("publish", table, tmp_path / "first.parquet", "--primary-key", "id", "--store", store).code == 0
    )
    path = tmp_path / f"rows.{ending}"
    written = run("query", "train", f"SELECT * FROM feature_store.{table}", "-o", path, "--store", store)
    assert written.out.startswith("3 rows into ")
    again = run("publish", table, path, "--json", "--store", store)  # 007 stays text, as the table has it
    assert again.rows[0]["rows"] == 3
    read = run("query", "train", f"SELECT * FROM feature_store.{table}", "--json", "--store", store)
    assert sorted_rows(read) == sorted(rows.to_pylist(), key=str)


def test_rows_are_deleted_by_key_and_tables_dropped(store, tmp_path):
    pq.write_table(pa.table({"a": [1, 1, 2], "b": ["x", "y", "x"]}), tmp_path / "pairs.parquet")
    run("publish", "pairs", tmp_path / "pairs.parquet", "--primary-key", "a,b", "--store", store)
    done = run("delete", "pairs", "--key", "b=y,a=1", "--key", "a=9,b=none", "--json", "--store", store)
    assert done.rows[0]["keys"] == 2
    left = run("query", "train", "SELECT * FROM feature_store.pairs", "--json", "--store", store)
    assert sorted_rows(left) == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
    wrong = run("delete", "pairs", "--key", "a=1", "--store", store)
    assert (wrong.code, wrong.err.count("\n")) == (1, 1)
    assert "primary key (a, b)" in wrong.err
    assert run("drop", "pairs", "--store", store).out.startswith("pairs dropped: version ")
    assert "[UNKNOWN_TABLE]" in run("tables", "pairs", "--store", store).err


def test_a_table_that_a_query_reads_is_not_dropped_by_mistake(store):
    ran = run("drop", "orders", "--store", store)
    assert ran.code == 1
    assert ran.err.endswith("[TABLE_IN_USE]\n")


# Training


def test_training_rows_are_json_lines(store):
    expected = [
        {"user_id": 1, "name": "Ann", "amount": 1.5},
        {"user_id": 1, "name": "Ann", "amount": 2.25},
        {"user_id": 2, "name": "Bo", "amount": None},
        {"user_id": 3, "name": "Cy", "amount": 4.0},
    ]
    for query in (SQL, "spending"):
        assert sorted_rows(run("query", "train", query, "--json", "--store", store)) == expected


def test_a_query_may_stand_in_a_file(store, tmp_path):
    path = tmp_path / "query.sql"
    path.write_text("-- how many\nSELECT count(*) AS n FROM feature_store.users\n")
    assert run("query", "train", f"@{path}", "--json", "--store", store).rows == [{"n": 3}]
    missing = run("query", "train", f"@{path}.old", "--store", store)
    assert (missing.code, missing.err.count("\n")) == (1, 1)
    assert missing.err.endswith("[BAD_FILE]\n")


def test_people_see_the_first_rows_only(store):
    ran = run("query", "train", "SELECT range AS n FROM range(100)", "--store", store)
    assert [line.strip() for line in ran.out.splitlines()[2:-1]] == [str(n) for n in range(20)]
    assert ran.out.splitlines()[-1].startswith("the first 20 rows ")


def test_saving_prints_the_id_and_saving_again_the_same_one(store):
    first = run("query", "train", SQL, "--save", "--json", "--store", store)
    again = run("query", "train", "spending", "--save", "--json", "--store", store)
    (saved,) = first.rows
    assert saved["query_id"].startswith("qry_")
    assert saved["query_id"] == again.rows[0]["query_id"]
    assert [column["name"] for column in saved["columns"]] == ["user_id", "name", "amount"]
    assert f"saved as {saved['query_id']}" in run("query", "train", SQL, "--save", "--store", store).out


def test_features_are_extracted_and_written(store, tmp_path):
    path = tmp_path / "features.parquet"
    ran = run("extract", "train", "spending", "doubled", "-o", path, "--json", "--store", store)
    assert (ran.rows[0]["rows"], ran.rows[0]["file"]) == (4, str(path))
    assert sorted(pq.read_table(path)["double"].to_pylist(), key=str) == [3.0, 4.5, 8.0, None]


# Serving


def test_one_value_or_many_are_served(store):
    one = run("query", "realtime", "spending", "--key", "user_id=1", "--json", "--store", store)
    assert [row["amount"] for row in sorted_rows(one)] == [1.5, 2.25]
    many = run(
        "query", "realtime", "spending", "--key", "user_id=2", "--key", "user_id=404", "--key", "user_id=2", "--json",
        "--store", store,
    )  # fmt: skip
    assert many.rows == [{"user_id": 2, "name": "Bo", "amount": None}] * 2


def test_people_are_told_which_values_are_absent(store):
    ran = run("query", "realtime", "spending", "--key", "user_id=2", "--key", "user_id=404", "--store", store)
    assert ran.code == 0
    assert ran.out.splitlines()[-1].startswith("1 of 2 values found; absent: 404 ")


def test_a_composite_key_is_served(store):
    ran = run("query", "realtime", "spending", "--key", "user_id=1,name=Ann", "--json", "--store", store)
    assert [row["amount"] for row in sorted_rows(ran)] == [1.5, 2.25]


def test_features_are_served(store):
    ran = run("extract", "realtime", "spending", "doubled", "--key", "user_id=1", "--json", "--store", store)
    assert [row["double"] for row in sorted_rows(ran)] == [3.0, 4.5]


def test_explain_shows_each_table(store):
    ran = run("explain", "spending", "--index-key", "user_id", "--store", store)
    assert ran.code == 0
    assert "orders" in ran.out
    (found,) = run("explain", "spending", "--index-key", "user_id", "--json", "--store", store).rows
    assert found["verdict"] in {"indexed", "partly indexed", "scan"}
    assert {each["table"] for each in found["occurrences"]} == {"users", "orders"}


@pytest.mark.parametrize("etl", [[], ["doubled"]])
def test_verify_ends_with_how_many_keys_agree(etl, store):
    ran = run("verify", "spending", *etl, "--index-key", "user_id", "--store", store)
    assert ran.code == 0, ran.out + ran.err
    agreed, of, checked, *rest = ran.out.splitlines()[-1].split()
    assert (of, rest) == ("of", ["keys", "agree"])
    assert agreed == checked
    (report,) = run("verify", "spending", *etl, "--index-key", "user_id", "--json", "--store", store).rows
    assert report["consistent"] is True
    assert report["differences"] == []


def test_verify_to_the_last_bit_tells_how_near_the_floats_are_and_the_report_is_kept(store):
    command = ("verify", "spending", "doubled", "--index-key", "user_id", "--exact", "--store", store)
    ran = run(*command)
    assert ran.code == 0, ran.out + ran.err
    assert "floats compared to the last bit: 100.00% equal to the last bit" in ran.out
    (report,) = run(*command, "--json").rows
    assert report["exact"] is True
    assert report["bitwise_equal"] == 1.0
    assert report["largest_error"] == 0.0
    assert report["float_values"] > 0
    (etl,) = run("etls", "--json", "--store", store).rows
    (kept,) = etl["verified"]
    assert (kept["index_key"], kept["exact"], kept["agreed"]) == (["user_id"], True, report["agreed"])
    assert f"{report['agreed']} of {report['checked']} keys agree" in run("etls", "--store", store).out


def test_verify_fails_when_there_is_nothing_to_compare(store):
    sql = "SELECT user_id FROM feature_store.users WHERE user_id < 0"
    assert run("query", "train", sql, "--save", "--name", "nobody", "--store", store).code == 0
    ran = run("verify", "nobody", "--index-key", "user_id", "--store", store)
    assert (ran.code, ran.out.splitlines()[-1]) == (1, "0 of 0 keys agree")


# The catalogue


def test_queries_and_etls_are_listed_and_shown(store):
    query = next(
        each for each in run("queries", "--json", "--store", store).rows if "spending" in each["names"]
    )
    assert query["sql"] == SQL
    assert query["index_keys"] == [["user_id"]]
    (etl,) = run("etls", "--json", "--store", store).rows
    assert (etl["names"][0], etl["query_id"]) == ("doubled", query["query_id"])
    assert etl["provenances"][0]["path"] == "etl.py"
    for command, found in (("queries", query["query_id"]), ("etls", etl["etl_id"])):
        assert found in run(command, "--store", store).out
        assert run(command, found, "--store", store).out.split()[1] == found
    assert SQL in " ".join(run("queries", "spending", "--store", store).out.split())


def test_the_status_is_good(store):
    ran = run("status", "--store", store)
    assert ran.code == 0, ran.out
    (found,) = run("status", "--json", "--store", store).rows
    assert found["problems"] == []
    assert found["etls"] == 1
    assert found["tables"] >= 2


# Whom it talks to, and what goes wrong


def test_a_target_is_as_good_as_a_store(store, monkeypatch, tmp_path):
    target = f"unix:{StoreFolder(store).socket}"
    assert run("status", "--target", target).code == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATURESTORE_TARGET", target)
    assert run("tables").code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_running_store_is_healthy(store):
    ran = run("health", f"unix:{StoreFolder(store).socket}")
    assert (ran.code, ran.out, ran.err) == (0, "SERVING\n", "")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["tables", "nothing"], "UNKNOWN_TABLE"),
        (["drop", "nothing"], "UNKNOWN_TABLE"),
        (["delete", "nothing", "--key", "a=1"], "UNKNOWN_TABLE"),
        (["queries", "nothing"], "UNKNOWN_QUERY"),
        (["etls", "nothing"], "UNKNOWN_ETL"),
        (["query", "realtime", "nothing", "--key", "user_id=1"], "UNKNOWN_QUERY"),
        (["query", "realtime", "spending", "--key", "nothing=1"], "UNKNOWN_KEY_COLUMN"),
        (["query", "realtime", "spending", "--key", "user_id=1.5"], "KEY_VALUE"),
        (["extract", "realtime", "spending", "nothing", "--key", "user_id=1"], "UNKNOWN_ETL"),
        (["explain", "nothing", "--index-key", "user_id"], "UNKNOWN_QUERY"),
        (["verify", "spending", "--index-key", "nothing"], "UNKNOWN_KEY_COLUMN"),
        (["verify", "spending", "--index-key", "user_id", "--sample", "0"], "BAD_SAMPLE"),
        (["query", "train", "SELECT 1; SELECT 2"], ""),
        (["query", "train", "SELEC user_id FROM feature_store.users"], ""),
        (["query", "train", "SELECT * FROM feature_store.nothing"], ""),
        (["query", "train", "SELECT 1 AS a", "-o", "rows.xlsx"], "FILE_FORMAT"),
        (["query", "train", "SELECT 1 AS a", "-o", "no/such/folder.csv"], "BAD_FILE"),
        (["extract", "train", "spending", "no_such_script.py"], "ETL_SOURCE"),
    ],
)
def test_a_refusal_is_one_line_with_its_reason_and_exit_code_1(command, reason, store):
    ran = run(*command, "--store", store)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: ")
    assert ran.err.endswith(f"{reason}]\n")
    assert ran.err.count("\n") == 1


def test_it_runs_as_a_module_too(store):
    command = [sys.executable, "-m", "featurestore.cli"]
    good = subprocess.run([*command, "tables", "--store", store], capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    assert "users" in good.stdout
    bad = subprocess.run(
        [*command, "tables", "nothing", "--store", store], capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1
    assert bad.stderr.endswith("[UNKNOWN_TABLE]\n")
    assert bad.stderr.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_crash(store):
    rows = "SELECT range AS n FROM range(1000000)"
    command = [sys.executable, "-m", "featurestore.cli", "query", "train", rows, "--json", "--store", store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == '{"n": 0}\n'
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1
