"""Which reads are under way: an index may only be built once nobody can see rows from before the last write.

A read that began earlier keeps the engine from cleaning up what was deleted since. Built beside it, an index lacks the
deleted rows that the engine then wants to remove from it, which ends the whole database ("Failed to delete all rows
from index", DuckDB 1.5.5). Reads that begin later see no such rows and may go on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class OpenReads:
    """Counts reads in the order in which they began. Any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._begun = 0
        self._open: set[int] = set()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold this for as long as the read may have a transaction."""
        with self._changed:
            self._begun += 1
            number = self._begun
            self._open.add(number)
        try:
            yield
        finally:
            with self._changed:
                self._open.discard(number)
                self._changed.notify_all()

    def drained(self, seconds: float) -> bool:
        """Whether all reads that are under way now have ended; waits so long for them, not for newer ones."""
        with self._changed:
            last = self._begun
            return self._changed.wait_for(lambda: not any(number <= last for number in self._open), seconds)
