"""The program that sealed ETL workers are forked from: `python -P -s -m featurestore.etl.zygote`, started by extraction.

It is executed afresh, with an environment of ours and one open descriptor, loads pandas and pyarrow, and then forks a
worker for each request that brings it one end of a worker's wire. No script ever runs in it. When its connection ends, it
does, and its workers with it.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
from typing import Any

import numpy as np

from featurestore.etl import control
from featurestore.etl.answering import libraries, warm_up
from featurestore.etl.control import Caps
from featurestore.etl.seal import WIRE, Seal
from featurestore.etl.sealed_worker import serve
from featurestore.etl.syscalls import CannotSeal

# What scripts like to import and what needs files that a worker may not read, or may not read any more.
_LOADED_EARLY = (
    "bisect", "bz2", "calendar", "collections", "copy", "csv", "ctypes", "dataclasses", "datetime", "decimal",
    "difflib", "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "html", "io", "itertools", "json",
    "lzma", "math", "numbers", "operator", "random", "re", "sqlite3", "statistics", "string", "textwrap",
    "threading", "time", "typing", "unicodedata", "urllib.parse", "uuid", "zlib", "zoneinfo",
    "concurrent.futures.thread",
)  # fmt: skip

_CLOSED = -1


def main() -> int:
    """Serve until the service's end of the connection is closed; returns the exit code."""
    channel = socket.socket(fileno=os.dup(0))
    _lead_standard_files_nowhere(keep_errors=True)
    try:
        seal = Seal.prepare()
    except CannotSeal as error:
        control.send(channel, {"cannot_seal": str(error)})
        return 1
    for name in _LOADED_EARLY:
        try:
            importlib.import_module(name)
        except ImportError as error:  # an interpreter built without it
            print(f"{name} can't be loaded: {error}", file=sys.stderr)  # noqa: T201 - to the service's log
    warm_up()
    gc.collect()
    gc.freeze()  # else a worker's first collection would copy every page that it looks at
    control.send(channel, {"libraries": libraries()})
    children = _Children(channel)
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(children.wakeup, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if children.wakeup in ready:
            children.reap()
        if channel.fileno() in ready:
            asked = control.receive(channel, control.FORK, descriptors=1)
            if asked is None:
                return 0  # what still runs dies with us
            message, (wire,) = asked
            children.fork(seal, Caps(**message), wire)


class _Children:
    """The workers: forked, and their ends told."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.wakeup, self._woken = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def fork(self, seal: Seal, caps: Caps, wire: int) -> None:
        """Fork a worker that holds `wire`, and send its pid and pidfd."""
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            _be_a_worker(seal, caps, wire, zygote)
        os.close(wire)
        handle = os.pidfd_open(pid)
        try:
            self._send({"pid": pid}, [handle])
        finally:
            os.close(handle)

    def reap(self) -> None:
        """Collect those that ended and tell how."""
        os.read(self.wakeup, 4096)  # that many children never end at once; what stays wakes us again
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._send({"ended": pid, "status": os.waitstatus_to_exitcode(status)})

    def _send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        try:
            control.send(self._channel, message, descriptors or [])
        except BrokenPipeError:
            os._exit(0)  # the service is gone


def _be_a_worker(seal: Seal, caps: Caps, wire: int, zygote: int) -> None:
    """Be sealed, then serve. Never returns: what a worker does must not go on as the zygote would."""
    try:
        signal.set_wakeup_fd(_CLOSED)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _lead_standard_files_nowhere(keep_errors=False)
        np.random.seed(None)  # noqa: NPY002 - else every worker draws the same numbers; `random` sees to itself
        try:
            seal.apply(caps, wire)
        except OSError as error:
            control.send(_wire(), {"cannot_seal": f"a worker can't be sealed: {error}"})
            os._exit(1)
        if os.getppid() == zygote:  # else it died before we asked to die with it
            serve(_wire())
    finally:
        os._exit(0)


def _wire() -> socket.socket:
    return socket.socket(
        socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=WIRE
    )  # said, since asking is forbidden


def _lead_standard_files_nowhere(*, keep_errors: bool) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1) if keep_errors else (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
