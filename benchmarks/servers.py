"""Processes to be measured: started on free ports of this machine, asked for the processor time that they used, ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import featurestore

_START_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """What answers at a target, and the processes that it consists of."""

    target: str
    processes: Sequence[int]

    def cpu_seconds(self) -> float:
        """Processor time that its processes and their children have used so far."""
        return sum(_cpu_seconds(pid) for first in self.processes for pid in (first, *_descendants(first)))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _descendants(pid: int) -> Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from _descendants(child)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(
    command: Sequence[str], log: Path, folder: Path, extra: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a process in a folder as long as the context is open."""
    with log.open("ab") as out:
        running = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **(extra or {})}, stdout=out, stderr=out
        )
    try:
        yield running.pid
    finally:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def wait_for_port(port: int, log: Path, seconds: float = _START_SECONDS) -> None:
    """Wait until something listens.

    Raises:
        RuntimeError: nothing does; the end of the log is in the message.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise RuntimeError(f"nothing listens on port {port}: {log.read_text()[-2_000:]}") from None
            time.sleep(0.1)
        else:
            return


@contextmanager
def ours(folder: Path, *, cache_bytes: int = 2**28, apart: bool = False) -> Iterator[Server]:
    """The four services over TCP: in one process, or each in its own.

    Args:
        folder: of the store; made.
        cache_bytes: what kept answers may take; 0 keeps none.
        apart: four processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = ("catalog", "realtime", "extraction", "gateway")
    ports = {name: free_port() for name in names}
    extra = {
        "FEATURESTORE__REALTIME__CACHE_BYTES": str(cache_bytes),
        "FEATURESTORE__CATALOG__STORE_URL": f"sqlite:///{folder / 'catalog.sqlite'}",
        **{
            f"FEATURESTORE__{name.upper()}__FOLDER": str(folder / name)
            for name in ("realtime", "extraction", "gateway")
        },
        "FEATURESTORE__EXTRACTION__GIT_SCHEMES": "https,ssh,file",
        **{f"FEATURESTORE__PEERS__{name.upper()}": f"127.0.0.1:{ports[name]}" for name in names[:3]},
    }
    log = folder / "server.log"
    with ExitStack() as stack:
        running = []
        for group in [[name] for name in names] if apart else [list(names)]:
            listen = {"FEATURESTORE__LISTEN": f"127.0.0.1:{ports[group[-1]]}"}
            command = [str(Path(sys.executable).parent / "featurestore"), "serve", *group]
            running.append(stack.enter_context(process(command, log, folder, extra | listen)))
            wait_for_port(ports[group[-1]], log)
        target = f"127.0.0.1:{ports['gateway']}"
        with featurestore.connect(target) as store:
            _wait_until_ready(store)
        yield Server(target, running)


def _wait_until_ready(store: featurestore.Store) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            store.status()
        except featurestore.errors.Unavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return
