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


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def agreed(done):
    """How many keys agree, by the last line; all of them must."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    last = LAST_LINE.fullmatch(done.stdout.splitlines()[-1])
    assert last is not None, done.stdout
    assert last[1] == last[2]
    return int(last[1])


def test_it_agrees_on_at_least_100_keys_twice_in_a_row(temporary):
    first, second = demo("--flows", 160), demo("--flows", 160)
    assert agreed(first) >= 100
    assert agreed(second) >= 100
    assert len(list(temporary.glob("featurestore-demo-*/store"))) == 2
    # The same SQL and script on the same input have the same ids, wherever they are saved.
    ids = [re.findall(r"the (?:query|ETL) is (\w+)", done.stdout) for done in (first, second)]
    assert len(ids[0]) == 2
    assert ids[0] == ids[1]


def test_it_works_on_one_store_again(temporary):
    store = temporary / "my store"
    for _ in range(2):
        assert agreed(demo("--store", store, "--flows", 20)) >= 10


def test_every_verb_is_shown_as_its_python_call(temporary):
    shown = re.findall(r">>> .*\bstore\.(\w+)\(", demo("--flows", 20).stdout)
    assert list(dict.fromkeys(shown)) == [
        "publish_demo",
        "query_train",
        "extract_train",
        "query_realtime",
        "extract_realtime",
        "verify",
    ]


@pytest.mark.slow
def test_the_flights_agree(temporary):
    done = demo("--dataset", "flights")
    assert agreed(done) >= 100
    assert re.search(r"flights +336776", done.stdout)
