"""A training stream is never held: no server process grows with what a slow reader has not taken yet."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import featurestore
from featurestore.host.folder import StoreFolder
from tests.support import stores
from tests.support.figures import MIB, forget_peak, peak_bytes, serving_process
from tests.support.payments import count, publish

READER_PAUSE_SECONDS = 0.005
SETTLING_SECONDS = 2.0
MB = 10**6
SQL = "SELECT * FROM feature_store.payments"
LOCAL_SERVER = "local server"


def growth(store: featurestore.Store, pids: Mapping[str, int], rows: int) -> tuple[int, dict[str, int]]:
    """Read the table slowly: (bytes read, by how many bytes the peak of each process grew from just before)."""
    before = {name: forget_peak(pid) for name, pid in pids.items()}
    read, size = 0, 0
    for batch in store.query_train(SQL):
        read += batch.num_rows
        size += batch.nbytes
        time.sleep(READER_PAUSE_SECONDS)
    assert read == rows
    return size, {name: peak_bytes(pid) - before[name] for name, pid in pids.items()}


def described(state: str, size: int, grown: Mapping[str, int], pids: Mapping[str, int]) -> str:
    each = ", ".join(
        f"{name} by {grown[name] / MIB:.0f} to {peak_bytes(pids[name]) / MIB:.0f}" for name in grown
    )
    return f"{state}: {size / MIB:.0f} MiB streamed; peak MiB grew: {each}"


def measure_processes(folder: Path, rows: int, tell: Callable[[str], None]) -> dict[str, int]:
    """The most that each of the four grew: after the publish has settled, and after they were started anew."""
    with stores.processes(folder) as running:
        publish(running.client, rows)
        time.sleep(SETTLING_SECONDS)
        pids = {name: process.pid for name, process in running.processes.items()}
        size, settled = growth(running.client, pids, rows)
        tell(described("four processes, as the publish left them", size, settled, pids))
        for name in ("extraction", "gateway"):
            running.processes[name].stop()
            running.processes[name].start().wait_until_serving(running.addresses[name])
        assert count(running.client) == rows
        pids = {name: process.pid for name, process in running.processes.items()}
        size, fresh = growth(running.client, pids, rows)
        tell(described("four processes, extraction and gateway just started", size, fresh, pids))
    return {name: max(settled[name], fresh[name]) for name in settled}


def measure_local(folder: Path, rows: int, tell: Callable[[str], None]) -> int:
    """The same of local mode's one process."""
    unix_socket = StoreFolder(folder).socket
    with featurestore.local(folder) as store:
        publish(store, rows)
        time.sleep(SETTLING_SECONDS)
        pids = {LOCAL_SERVER: serving_process(unix_socket)}
        size, settled = growth(store, pids, rows)
        tell(described("local mode, as the publish left it", size, settled, pids))
        os.kill(pids[LOCAL_SERVER], signal.SIGKILL)
    with featurestore.local(folder) as store:
        assert count(store) == rows
        pids = {LOCAL_SERVER: serving_process(unix_socket)}
        size, fresh = growth(store, pids, rows)
        tell(described("local mode, just started", size, fresh, pids))
        os.kill(pids[LOCAL_SERVER], signal.SIGKILL)
    return max(settled[LOCAL_SERVER], fresh[LOCAL_SERVER])


@pytest.mark.slow
def test_ten_million_rows_stream_through_four_processes_without_piling_up(tmp_path, tell):
    grown = measure_processes(tmp_path, 10_000_000, tell)
    assert max(grown.values()) < 300 * MB, grown


@pytest.mark.slow
def test_ten_million_rows_stream_through_a_local_server_without_piling_up(tmp_path, tell):
    assert measure_local(tmp_path / "store", 10_000_000, tell) < 300 * MB
