"""The processes that a process started, and those that these started, as the kernel lists them."""

import asyncio
import os
from pathlib import Path


def children(pid):
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        listed = [number for task in tasks for number in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return {int(number) for number in listed}


def descendants(pid=None):
    """All of them, those that ended and were not collected yet included."""
    found = set()
    todo = {os.getpid() if pid is None else pid}
    while todo:
        todo = set().union(*map(children, todo)) - found
        found |= todo
    return found


def descriptors():
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the length is all that is wanted


def resident_bytes():
    """The memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_ticks(pid):
    """The hundredths of a second that it has computed; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
    except (FileNotFoundError, ProcessLookupError):
        return 0


async def busy_grandchild(pid=None):
    """The pid of a worker that computes, as soon as there is one: a child of a zygote that is a child of this process."""
    pid = os.getpid() if pid is None else pid
    async with asyncio.timeout(30):
        while True:
            workers = set().union(*map(children, children(pid)))
            before = {worker: cpu_ticks(worker) for worker in workers}
            await asyncio.sleep(0.2)
            for worker, ticks in before.items():
                if cpu_ticks(worker) - ticks >= 4:
                    return worker


async def gone(pid):
    """Wait until the process has ended; one that nobody collects stays as Z."""
    async with asyncio.timeout(10):
        while state_of(pid) not in {"gone", "Z"}:  # noqa: ASYNC110 - a stranger's end
            await asyncio.sleep(0.02)


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
