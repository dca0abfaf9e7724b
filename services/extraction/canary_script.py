"""The canary's script. It is handed to a sealed worker as text, as any script is; nothing imports it.

Every act that a script must not do is tried; those that succeed are the answer's rows.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable

import pandas as pd

from featurestore.etl import AbstractEtl

_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: int) -> None:
    """A system call by number, for what the standard library does not offer."""
    if _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(each) for each in arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _libc_call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _change_a_limit() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    except ValueError as error:  # as which Python shows EPERM here
        raise PermissionError from error


_ACTS: dict[str, Callable[[], object]] = {
    "read /etc/passwd": lambda: open("/etc/passwd", "rb"),
    "read another process's environment": lambda: open(f"/proc/{os.getppid()}/environ", "rb"),
    "list the root folder": lambda: os.listdir("/"),
    "make a temporary file": lambda: os.open("/tmp", os.O_TMPFILE | os.O_RDWR),
    "write into shared memory": lambda: os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR),
    "write beside the installed packages": lambda: open(pd.__file__, "ab"),
    "remove a file": lambda: os.unlink(pd.__file__ + ".canary"),
    "open a TCP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "open a UDP socket": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
    "open a UNIX socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "open a netlink socket": lambda: socket.socket(16, socket.SOCK_RAW),
    "run a program": lambda: subprocess.Popen([sys.executable, "-V"]),
    "fork": lambda: os.fork() or os._exit(0),
    "become another user": lambda: os.setuid(0),
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "trace a process": lambda: _libc_call("ptrace", 0x4206, os.getppid(), 0, 0),
    "leave its namespaces": lambda: _libc_call("unshare", 0x10000000),
    "change its limits": _change_a_limit,
    "make a memory file": lambda: os.memfd_create("canary"),
    "share memory anonymously": lambda: mmap.mmap(-1, 4096),
    "set up an io_uring": lambda: _call(425, 1, 0),
    "load a kernel program": lambda: _call({"x86_64": 321}.get(os.uname().machine, 280), 0, 0, 0),
    "get hold of another process": lambda: os.pidfd_open(os.getppid()),
}

_REFUSED = (PermissionError, subprocess.SubprocessError)


class Etl(AbstractEtl):
    """Tries every act."""

    def extract(self) -> pd.DataFrame:
        """The names of what could be done, and how many were tried."""
        done = []
        for name, act in _ACTS.items():
            try:
                act()
            except _REFUSED:
                continue
            except OSError:
                pass  # the kernel looked into it: that much must be refused too
            done.append(name)
        return pd.DataFrame({"done": [*done, f"{len(_ACTS)} tried"]}, dtype="str")
