"""Whether tables are still as they were, for what was found out about them before."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Mark: TypeAlias = "tuple[int, ...]"


class Marks:
    """Of each table a number that rises with every write. One thread writes; any reads.

    What was made and used between two equal marks met one state of the tables alone: a write takes the mark away before
    its commit, and gives another one behind it.
    """

    def __init__(self) -> None:
        """Begin with tables that nobody has written to."""
        self._lock = threading.Lock()
        self._of_table: dict[str, int] = {}
        self._of_all = 0
        self._writing: frozenset[str] | None = frozenset()

    def of(self, tables: Iterable[str]) -> Mark | None:
        """The mark of these tables; None while one of them is being written.

        Args:
            tables: as `tables.identity` has them; always in the same order.
        """
        with self._lock:
            if self._writing is None or not self._writing.isdisjoint(tables):
                return None
            return self._of_all, *(self._of_table.get(table, 0) for table in tables)

    @contextmanager
    def writing(self, tables: Iterable[str] | None) -> Iterator[None]:
        """Hold this around a commit.

        Args:
            tables: those that it changes; None if it changes definitions or indexes, which all plans are bound to.
        """
        with self._lock:
            self._writing = None if tables is None else frozenset(tables)
        try:
            yield
        finally:
            with self._lock:
                if self._writing is None:
                    self._of_all += 1
                else:
                    self._of_table.update(
                        {table: self._of_table.get(table, 0) + 1 for table in self._writing}
                    )
                self._writing = frozenset()
