"""Sealing a worker: everything that a process can give up, given up for good, before a script is seen.

The layers are independent: rlimits bound what is used, the user and the lack of new privileges what may be asked for,
Landlock which files are read, seccomp which system calls there are. See docs/adr/0008-sealed-workers.md.
"""

from __future__ import annotations

import fcntl
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from featurestore.etl import landlock, seccomp
from featurestore.etl.control import Caps
from featurestore.etl.syscalls import (
    CLOSE_RANGE,
    call,
    die_with_the_parent,
    keep_capabilities,
    machine,
    prctl,
)

NOBODY = 65534
"""Whom a worker of root becomes."""

WIRE = 3
"""The one descriptor that a worker keeps, after three that lead nowhere."""

_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 4, 8, 38
_CAP_DAC_READ_SEARCH = 1 << 2
_OPEN_FILES = 64
_LAST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Seal:
    """What is prepared once, for all workers.

    Attributes:
        rules: a descriptor of Landlock's rules.
        private: the libraries lie where only root may read.
    """

    rules: int
    private: bool

    @classmethod
    def prepare(cls) -> Seal:
        """Raises CannotSeal: this kernel or machine lacks something; the text says what."""
        machine()
        folders = list(landlock.readable())
        return cls(landlock.ruleset(folders), private=not all(map(_anybody_may_read, folders)))

    def apply(self, caps: Caps, wire: int) -> None:
        """Seal this process, which was just forked and has one thread; `wire` becomes descriptor 3.

        Raises:
            OSError: the kernel refuses a part; the process must end then.
        """
        rules = _kept((wire, self.rules))
        _limit(caps)
        if os.getuid() == 0:
            _become_nobody(who_reads_all=self.private)
        die_with_the_parent()  # after the user, whose change forgets it
        prctl(_PR_SET_DUMPABLE, 0)
        prctl(_PR_SET_NO_NEW_PRIVS, 1)
        landlock.apply(rules)
        os.close(rules)
        seccomp.apply(seccomp.program(os.getpid()))


def _anybody_may_read(folder: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))


def _become_nobody(*, who_reads_all: bool) -> None:
    """Give up root.

    Args:
        who_reads_all: may still read files whatever their modes, since otherwise no script could import anything.
            Landlock decides which files.
    """
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    if who_reads_all:
        prctl(_PR_SET_KEEPCAPS, 1)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    if who_reads_all:
        keep_capabilities(_CAP_DAC_READ_SEARCH)


def _kept(descriptors: tuple[int, int]) -> int:
    """Put these two at 3 and 4 and close all above; returns the second."""
    out_of_the_way = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in descriptors]
    for place, descriptor in enumerate(out_of_the_way, start=WIRE):
        os.dup2(descriptor, place, inheritable=False)
    last = WIRE + len(descriptors) - 1
    call(CLOSE_RANGE, last + 1, _LAST, 0)
    return last


def _limit(caps: Caps) -> None:
    for what, most in (
        (resource.RLIMIT_DATA, _data_bytes() + caps.memory_bytes),
        (resource.RLIMIT_CPU, caps.cpu_seconds),
        (resource.RLIMIT_FSIZE, caps.file_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))


def _data_bytes() -> int:
    """The data that this process has now, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel does not say how much data this process has")
