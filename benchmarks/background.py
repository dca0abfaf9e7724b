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
    """In a process of its own; the context opens when both are under way, and closes when both have ended.

    Args:
        target: a store that holds `data.customers(users)`.
    """
    command = [sys.executable, "-m", "benchmarks.background", target, str(users)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError("the load in the background did not start")
        yield
        if process.poll() is not None:
            raise RuntimeError("the load in the background ended")
        process.communicate(timeout=_WAIT_SECONDS)  # closes its input, and waits: idle is to be idle
    finally:
        process.kill()
        process.wait()


def main(target: str, users: int) -> None:
    """Say so when both are under way, and go on until nobody listens any more."""
    rows = data.customers(users)[_TABLE]
    under_way, ended = threading.Barrier(3), threading.Event()

    def again(work: Callable[[], object]) -> None:
        under_way.wait(_WAIT_SECONDS)
        while not ended.is_set():
            work()

    with featurestore.connect(target) as store:
        train = store.query_train(data.SQL)
        works = (lambda: [len(batch) for batch in train], lambda: store.publish(_TABLE, rows))
        threads = [threading.Thread(target=again, args=(work,), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        under_way.wait(_WAIT_SECONDS)
        print("under way", flush=True)
        sys.stdin.read()
        ended.set()
        for thread in threads:
            thread.join(_WAIT_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
