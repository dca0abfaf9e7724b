"""`featurestore demo` as a newcomer runs it: a process of its own, again and again."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

LAST_LINE = re.compile(r"(\d+) of (\d+) keys agree \(query and ETL\)")


def demo(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "featurestore.cli", "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def agreed(done):
    """How many keys agree, by the last line; all of them must."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    last = LAST_LINE.fullmatch(done.stdout.splitlines()[-1])
    assert last is not None, done.stdout
    assert last[1] == last[2]
    return int(last[1])


@pytest.fixture(scope="module", autouse=True)
def temporary(tmp_path_factory):
    """The folder in which demos without `--store` make theirs."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("demo")
        patch.setenv("TMPDIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def twice():
    return demo("--flows", 160), demo("--flows", 160)


def test_it_agrees_on_at_least_100_keys_twice_in_a_row(twice, temporary):
    assert [agreed(done) >= 100 for done in twice] == [True, True]
    assert len(list(temporary.glob("featurestore-demo-*/store"))) == 2


def test_the_same_sql_and_script_have_the_same_ids_in_every_store(twice):
    first, second = (re.findall(r"the (?:query|ETL) is (\w+)", done.stdout) for done in twice)
    assert [name[:4] for name in first] == ["qry_", "etl_"]
    assert first == second


def test_every_verb_is_shown_as_its_python_call(twice):
    shown = re.findall(r">>> .*\bstore\.(\w+)\(", twice[0].stdout)
    assert list(dict.fromkeys(shown)) == [
        "publish_demo",
        "query_train",
        "extract_train",
        "query_realtime",
        "extract_realtime",
        "verify",
    ]


def test_every_table_of_the_demos_query_is_found_by_an_index(temporary):
    done = demo("--store", temporary / "indexed store", "--flows", 200)
    assert "served by user_id: indexed\n" in done.stdout


def test_it_works_on_one_store_again(temporary):
    store = temporary / "my store"
    for _ in range(2):
        assert agreed(demo("--store", store, "--flows", 20)) >= 10


@pytest.mark.slow
def test_the_flights_agree():
    done = demo("--dataset", "flights")
    assert agreed(done) >= 100
    assert re.search(r"flights +336776", done.stdout)
