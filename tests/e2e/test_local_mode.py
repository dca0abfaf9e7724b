"""Local mode's promises: who starts the server, who keeps it, and what ends it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import featurestore as fs
from featurestore.host.folder import StoreFolder

ROWS = [{"user_id": 1, "amount": 2.5}, {"user_id": 2, "amount": 4.0}]
LONG = 15.0


def server_of(folder: Path) -> int | None:
    """The process that serves the folder, by its command line."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"featurestore.host.local_server" in words and os.fsencode(folder) in words:
                return int(process.name)
    return None


def wait_until(condition, seconds: float = LONG) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


@pytest.fixture(autouse=True)
def short_linger(monkeypatch):
    monkeypatch.setenv("FEATURESTORE__LINGER_SECONDS", "1")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "a store"
    yield path
    server = server_of(path)
    if server is not None:
        os.kill(server, signal.SIGKILL)


def run_python(code: str, *arguments: str, **popen) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, **popen
    )


def test_two_clients_share_one_server(folder):
    with fs.local(folder) as first, fs.local(folder) as second:
        published = first.publish("payments", ROWS, primary_key="user_id")
        assert second.list_tables()[0].row_count == 2
        assert second.list_tables()[0].version == published.version
    assert server_of(folder) is not None  # it lingers


def test_the_server_ends_some_seconds_after_its_last_client_and_the_data_are_there_again(folder):
    with fs.local(folder) as store:
        store.publish("payments", ROWS, primary_key="user_id")
        query = store.query_train(
            "SELECT * FROM feature_store.payments", save=True, index_key="user_id"
        ).query_id
    socket = StoreFolder(folder).socket
    assert wait_until(lambda: server_of(folder) is None)
    assert not socket.exists()
    with fs.local(folder) as store:
        assert store.query_realtime(query, index_key="user_id", index_value=2).to_pylist() == [ROWS[1]]
        assert store.query_train(query).to_arrow().num_rows == 2


def test_a_client_that_is_killed_lets_the_server_go(folder):
    code = "import featurestore as fs, sys, time\nstore = fs.local(sys.argv[1])\nprint('open', flush=True)\ntime.sleep(600)"
    with run_python(code, str(folder)) as client:
        assert client.stdout.readline() == "open\n"
        assert server_of(folder) is not None
        client.kill()
    assert wait_until(lambda: server_of(folder) is None)


def test_a_killed_server_is_started_anew_and_nothing_acknowledged_is_lost(folder):
    with fs.local(folder) as store:
        store.publish("payments", ROWS, primary_key="user_id")
        os.kill(server_of(folder), signal.SIGKILL)
    with fs.local(folder) as store:
        assert store.get_table("payments").row_count == 2


def test_eight_clients_that_open_a_store_at_once_get_one_server(folder, monkeypatch):
    monkeypatch.delenv("FEATURESTORE__LINGER_SECONDS")
    code = (
        "import featurestore as fs, sys\n"
        "with fs.local(sys.argv[1]) as store:\n"
        "    store.publish('payments', [{'user_id': int(sys.argv[2])}], primary_key='user_id')\n"
        "    print('done', flush=True)"
    )
    clients = [run_python(code, str(folder), str(number)) for number in range(8)]
    assert [client.communicate(timeout=60)[0] for client in clients] == ["done\n"] * 8
    with fs.local(folder) as store:
        assert store.get_table("payments").row_count == 8
    assert (folder / "server.log").read_text().count("answers on") == 1


def test_a_removed_folder_ends_the_server_which_writes_nothing(folder):
    with fs.local(folder) as store:
        store.publish("payments", ROWS, primary_key="user_id")
        shutil.rmtree(folder)
        assert wait_until(lambda: server_of(folder) is None)
        assert not folder.exists()


def test_a_path_too_long_for_a_socket_works_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "XDG_RUNTIME_DIR", str(tmp_path / ("r" * 100))
    )  # too long as well: the next one is taken
    deep = tmp_path / ("d" * 100) / "store"
    with fs.local(deep) as store:
        store.publish("payments", ROWS, primary_key="user_id")
        socket = StoreFolder(deep).socket
        assert socket.parent != deep
        assert socket.parent.stat().st_mode & 0o077 == 0
        os.kill(server_of(deep), signal.SIGTERM)
    assert wait_until(lambda: server_of(deep) is None)
    assert not socket.exists()


def test_a_package_that_shadows_ours_is_named(folder, tmp_path, monkeypatch):
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # the server must not see it
    with fs.local(folder) as store:
        assert store.list_tables() == []
    code = "import sys; sys.path.insert(0, sys.argv[1]); from featurestore.host.local_server import main; sys.exit(main(sys.argv[2]))"
    intruded = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "other")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert intruded.returncode == 1
    assert "PACKAGE_SHADOWED" in intruded.stderr
    assert str(tmp_path / "gateway") in intruded.stderr


def test_a_store_of_another_format_is_refused_with_the_reason(folder):
    folder.mkdir()
    (folder / "store.json").write_text('{"format": 99}')
    with pytest.raises(fs.errors.FailedPrecondition, match="format 99") as refused:
        fs.local(folder)
    assert refused.value.reason == "STORE_FORMAT"


def test_the_socket_and_the_log_are_for_this_user_alone(folder):
    with fs.local(folder):
        assert StoreFolder(folder).socket.stat().st_mode & 0o777 == 0o600
        assert (folder / "server.log").stat().st_mode & 0o777 == 0o600


async def test_the_async_twin_opens_the_same_store(folder):
    with fs.local(folder) as store:
        store.publish("payments", ROWS, primary_key="user_id")
    async with await fs.aio.local(folder) as store:
        trained = await store.query_train("SELECT * FROM feature_store.payments ORDER BY user_id")
        assert (await trained.to_arrow()).to_pylist() == ROWS
        assert [row["user_id"] async for batch in trained for row in batch.to_pylist()] == [1, 2]
