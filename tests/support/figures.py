"""Figures that a proof comes to: what a process had resident, and how they are shown."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

MIB = 2**20
_CREDENTIALS = struct.Struct("3i")  # process, user, group


@pytest.fixture
def tell(capfd: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print one line for whoever runs the proofs, passing or not, with the load of the machine beside it."""

    def show(line: str) -> None:
        with capfd.disabled():
            print(f"\n{line} [load {os.getloadavg()[0]:.1f}]", flush=True)  # noqa: T201 - that is what it is for

    return show


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had resident, or had since `forget_peak` (`VmHWM`)."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def forget_peak(pid: int) -> int:
    """Let the peak begin at what is resident now, and return that."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_bytes(pid)


def worked_seconds(pid: int) -> float:
    """The processor time that a process has used since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serving_process(unix_socket: Path) -> int:
    """The process that listens on a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(unix_socket))
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    return pid
