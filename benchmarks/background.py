"""What else a server may have to do: one training stream after another, and beside it one bulk publish after another."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import featurestore
from benchmarks import data

_TABLE = "transactions"
_WAIT_SECONDS = 120.0


@contextmanager
def running(target: str, users: int) -> Iterator[None]:
    """In a process of its own; the context opens when both are under way.

    Args:
        target: a store that holds `data.customers(users)`.
    """
    command = [sys.executable, "-m", "benchmarks.background", target, str(users)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError("the load in the background did not start")
        yield
        if process.poll() is not None:
            raise RuntimeError("the load in the background ended")
    finally:
        process.kill()
        process.wait()


def main(target: str, users: int) -> None:
    """Say so when both are under way, and go on until the process is ended."""
    rows = data.customers(users)[_TABLE]
    under_way = threading.Barrier(3)

    def again(work: Callable[[], object]) -> None:
        under_way.wait(_WAIT_SECONDS)
        while True:
            work()

    with featurestore.connect(target) as store:
        train = store.query_train(data.SQL)
        for work in (lambda: [len(batch) for batch in train], lambda: store.publish(_TABLE, rows)):
            threading.Thread(target=again, args=(work,), daemon=True).start()
        under_way.wait(_WAIT_SECONDS)
        print("under way", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
