"""`featurestore apply`: a folder of definitions into stores, on the command line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import yaml

import featurestore
from featurestore.cli.app import cli
from featurestore.cli.datasets import demo_texts
from featurestore.engine.sql_check import parse
from featurestore.host.folder import StoreFolder
from tests.support.command_line import run
from tests.support.definitions import AGREED, ETL, PAYMENTS, QUERY, apply, ids, opened, told
from tests.support.git_repos import GitRepo
from tests.support.processes import Process, free_port
from tests.support.stores import FILE_REPOSITORIES

EXAMPLES = Path(__file__).parents[3] / "examples"


def catalogue(folder):
    """All that the catalogue of a local store holds, but for reports: each verifying replaces them."""
    with closing(sqlite3.connect(f"file:{StoreFolder(folder).catalog}?mode=ro", uri=True)) as database:
        return [line for line in database.iterdump() if not line.startswith('INSERT INTO "reports"')]


# From nothing to saved and verified


def test_a_plan_then_saves_queries_first_then_a_verdict(repo, store):
    ran = apply(repo, "--store", store)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "new      query  paid  (queries/paid.sql): 3 columns"
    assert lines[1].startswith(
        "new      etl    shares  (etls/shares.py): contract known once query paid is saved"
    )
    assert [line.partition(" as ")[0] for line in lines[2:4]] == ["saved query paid", "saved etl shares"]
    assert [AGREED.fullmatch(line)[1] for line in lines[4:-1]] == ["query paid", "etl shares"]
    assert lines[-1] == "consistent"
    (query,) = run("queries", "--store", store, "--json").rows
    assert (query["names"], query["index_keys"]) == (["paid"], [["user_id"]])
    assert (query["owner"], query["description"]) == ("payments team", "What each user paid")
    (etl,) = run("etls", "--store", store, "--json").rows
    assert (etl["query_id"], etl["provenances"][0]["path"]) == (query["query_id"], "defs/etls/shares.py")
    assert etl["provenances"][0]["commit"] == repo.repo.head().decode()


def test_a_second_apply_finds_all_the_same_and_writes_nothing(repo, store):
    first = apply(repo, "--store", store, "--json")
    before = catalogue(store)
    second = apply(repo, "--store", store, "--json")
    assert (first.code, second.code) == (0, 0)
    assert {row["planned"] for row in told(second, "planned").values()} == {"same"}
    assert {name: row["id"] for name, row in told(second, "planned").items()} == ids(first)
    assert ids(second) == {}
    assert told(second, "verified").keys() == {"paid", "shares"}
    assert catalogue(store) == before


def test_a_dry_run_changes_nothing(repo, store):
    before = catalogue(store)
    ran = apply(repo, "--store", store, "--dry-run", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert [row["planned"] for row in ran.rows] == ["new", "new"]
    assert catalogue(store) == before
    apply(repo, "--store", store)
    saved = catalogue(store)
    repo.commit(
        {"defs/queries/paid.sql": QUERY.replace("sum", "max"), "defs/etls/shares.py": ETL + "# other\n"}
    )
    again = apply(repo, "--store", store, "--dry-run", "--json")
    assert [row["planned"] for row in again.rows] == ["changed", "changed"]
    assert catalogue(store) == saved


def test_two_stores_with_equal_data_give_equal_ids(repo, store, tmp_path):
    with opened(tmp_path / "other"):
        one, other = (apply(repo, "--store", folder, "--json") for folder in (store, tmp_path / "other"))
    assert (one.code, other.code) == (0, 0)
    assert ids(one).keys() == {"paid", "shares"}
    assert ids(one) == ids(other)


def test_a_local_store_too_fetches_from_a_repository_that_is_named(repo, store):
    ran = apply(repo, "--store", store, "--json", "--repository", repo.url)
    assert (ran.code, ran.err) == (0, "")
    (etl,) = run("etls", "--store", store, "--json").rows
    assert etl["provenances"][0]["ref"] == repo.repo.head().decode()
    wrong = apply(repo, "--store", store, "--repository", "somewhere")
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err.endswith("[ETL_ADDRESS]\n")


def test_a_server_gets_the_ids_of_the_laptop_and_fetches_the_etl_itself(repo, store, tmp_path):
    laptop = apply(repo, "--store", store, "--json")
    port = f"localhost:{free_port()}"
    settings = {
        "FEATURESTORE__LISTEN": port,
        "FEATURESTORE__CATALOG__STORE_URL": f"sqlite:///{tmp_path}/catalog.sqlite",
        **FILE_REPOSITORIES,
    }
    with Process(["featurestore", "serve"], settings, tmp_path / "server/log") as server:
        server.wait_until_serving(port)
        with featurestore.connect(port) as client:
            client.publish("payments", PAYMENTS, primary_key="payment_id")
            homeless = apply(repo, "--target", port)
            assert (homeless.code, homeless.out) == (1, "")
            assert homeless.err.endswith("[ETL_NO_ORIGIN]\n")
            ran = apply(repo, "--target", port, "--json", "--repository", repo.url)
            assert (ran.code, ran.err) == (0, "")
            assert ids(ran) == ids(laptop)
            (provenance,) = client.get_etl("shares").provenances
    assert (provenance.repository, provenance.ref) == (repo.url, provenance.commit)


def test_the_example_definitions_are_the_insurance_demo_and_are_consistent(tmp_path):
    texts = demo_texts("insurance")
    query = (EXAMPLES / "definitions/queries/insurance_quotes.sql").read_text()
    assert parse(query).canonical == parse(texts.query).canonical
    assert (EXAMPLES / "definitions/etls/quote_features.py").read_text().endswith(f"\n\n{texts.etl}")
    with GitRepo(tmp_path / "repo") as repo, featurestore.local(tmp_path / "store") as client:
        folder = EXAMPLES / "definitions"
        files = {path.relative_to(folder): path.read_text() for path in folder.glob("*/*.*")}
        repo.commit({f"defs/{path.as_posix()}": text for path, text in files.items()})
        client.publish_demo(30, 1)
        ran = apply(repo, "--store", tmp_path / "store")
    assert (ran.code, ran.err) == (0, "")
    assert AGREED.findall(ran.out) == [("query insurance_quotes", "35"), ("etl quote_features", "35")]
    assert ran.out.endswith("\nconsistent\n")


def test_the_example_workflow_says_commands_that_there_are():
    workflow = yaml.safe_load((EXAMPLES / "github/definitions.yml").read_text())
    assert workflow[True].keys() == {"pull_request", "push"}  # YAML reads `on` as true
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = {
        step["if"]: step["run"].split() for step in steps if step.get("run", "").startswith("featurestore")
    }
    dry, real = (commands[f"github.event_name == '{event}'"] for event in ("pull_request", "push"))
    for words in (dry, real):
        context = cli.commands[words[1]].make_context("apply", [str(EXAMPLES), *words[3:]])
        assert context.params["dry_run"] is (words is dry)
    assert all(len(step["uses"].partition("@")[2]) == 40 for step in steps if "uses" in step)


# Changes


def test_a_changed_query_and_contract_are_told_with_their_difference(repo, store):
    apply(repo, "--store", store)
    repo.commit(
        {"defs/queries/paid.sql": QUERY.replace("sum(amount) AS paid", "sum(amount) AS paid, 1 AS one")}
    )
    ran = apply(repo, "--store", store)
    assert (ran.code, ran.err) == (0, "")
    assert "changed  query  paid  (queries/paid.sql): other SQL; + one int32" in ran.out
    assert "changed  etl    shares  (etls/shares.py): other query (qry_" in ran.out
    assert run("queries", "paid@1", "--store", store).code == 0
    repo.commit({"defs/etls/shares.py": ETL.replace('features["each"] =', 'features["share"] =')})
    planned = apply(repo, "--store", store, "--dry-run")
    assert "same     query  paid" in planned.out
    assert "changed  etl    shares  (etls/shares.py): other script (" in planned.out
    assert planned.out.endswith("); + share double; - each double\n")


def test_a_changed_file_beside_a_script_is_a_change_and_is_told(repo, store):
    script = ETL.replace("from etl_abc", "import _helpers\nfrom etl_abc")
    repo.commit({"defs/etls/shares.py": script, "defs/etls/_helpers.py": "# one\n"})
    first = apply(repo, "--store", store)
    assert (first.code, first.err) == (0, "")
    assert "same     etl    shares" in apply(repo, "--store", store, "--dry-run").out
    repo.commit({"defs/etls/_helpers.py": "# two\n"})
    assert (
        "(etls/shares.py): other files beside the script (_helpers.py)" in apply(repo, "--store", store).out
    )
    (etl,) = run("etls", "shares", "--store", store, "--json").rows
    assert (list(etl["neighbours"]), etl["names"]) == (["_helpers.py"], ["shares"])
    repo.write("defs/etls/_helpers.py", "# three\n")
    refused = apply(repo, "--store", store)
    assert (refused.code, "'_helpers.py', which it imports, differs" in refused.err) == (1, True)


def test_a_contract_that_was_unknown_in_the_plan_is_told_when_it_is_saved(repo, store):
    apply(repo, "--store", store)
    repo.commit(
        {
            "defs/queries/paid.sql": QUERY.replace("sum", "max"),
            "defs/etls/shares.py": ETL.replace('features["each"] =', 'features["share"] ='),
        }
    )
    (saved,) = (
        line for line in apply(repo, "--store", store).out.splitlines() if line.startswith("saved etl")
    )
    assert saved.endswith(": + share double; - each double")


def test_what_is_worth_knowing_of_a_query_is_told_with_the_plan(repo, shared):
    repo.commit({"defs/queries/paid.sql": "SELECT user_id FROM feature_store.payments LIMIT 1"})
    ran = apply(repo, "--store", shared, "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert [line.partition(": ")[0] for line in ran.out.splitlines()[2:]] == ["warning"]
    assert "warning: queries/paid.sql: " in ran.out
    (warning,) = (
        row for row in apply(repo, "--store", shared, "--dry-run", "--json").rows if "warning" in row
    )
    assert warning["file"] == "queries/paid.sql"


def test_layout_and_notes_are_no_change_and_kept_notes_are_told(repo, store):
    apply(repo, "--store", store)
    repo.commit(
        {"defs/queries/paid.sql": QUERY.replace("payments team", "sales").replace("SELECT", "select  ")}
    )
    (line, _) = apply(repo, "--store", store, "--dry-run").out.splitlines()
    assert line.startswith("same     query  paid  (queries/paid.sql): ")
    assert line.endswith("the store keeps the owner of the first save, 'payments team'")


def test_an_index_key_added_later_is_declared_under_the_same_id(repo, store):
    repo.commit({"defs/queries/paid.sql": QUERY.replace("-- index_key: user_id\n", "")})
    first = apply(repo, "--store", store, "--json")
    repo.commit({"defs/queries/paid.sql": QUERY.replace("user_id\n--", "payments\n--")})
    second = apply(repo, "--store", store, "--json")
    assert told(second, "planned")["paid"]["changes"] == ["+ index key payments"]
    assert ids(second) == {"paid": ids(first)["paid"]}
    assert told(second, "planned")["shares"]["planned"] == "same"
    (query,) = run("queries", "--store", store, "--json").rows
    assert sorted(query["index_keys"]) == [["payments"], ["user_id"]]


def test_what_was_saved_by_hand_is_adopted_under_its_id(repo, store):
    repo.commit({"defs/queries/paid.sql": QUERY.replace("index_key: user_id", "index_key: payments")})
    run(
        "query",
        "train",
        f"@{repo.folder}/defs/queries/paid.sql",
        "--save",
        "--name",
        "paid",
        "--store",
        store,
    )
    script = repo.folder / "defs/etls/shares.py"
    (by_hand,) = run(
        "extract", "train", "paid", script, "--save", "--name", "shares", "--store", store, "--json"
    ).rows
    ran = apply(repo, "--store", store, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert told(ran, "planned")["paid"]["changes"] == ["+ index key payments"]
    assert told(ran, "planned")["shares"]["changes"] == ["+ index key user_id"]
    assert ids(ran) == {"paid": by_hand["query_id"], "shares": by_hand["etl_id"]}
    assert len(run("etls", "--store", store, "--json").rows) == 1


def test_a_contract_that_the_data_has_broken_since_is_a_change(repo, store):
    """The same script on the same query: told apart from `same` by running it."""
    script = ETL.replace('self.df["paid"] / self.df["payments"]', 'self.df["paid"].max() > 100')
    script = script.replace(
        "return", 'return features.rename(columns={"each": "big"}) if self.df["paid"].max() > 100 else'
    )
    repo.commit({"defs/etls/shares.py": script})
    apply(repo, "--store", store)
    with featurestore.local(store) as client:
        client.publish("payments", [{"payment_id": 9, "user_id": "cy", "amount": 1000.0}])
    ran = apply(repo, "--store", store, "--dry-run")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[1].startswith(
        "changed  etl    shares  (etls/shares.py): + big bool; - each bool"
    )
