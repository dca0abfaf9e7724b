"""What the warehouse keeps in memory of the blocks that were read.

DuckDB keeps every block of a table that it reads until its memory limit is reached, so one long training stream
would make the process grow by the whole limit. Its only way to let blocks go is a lower limit: so the limit is
lowered to what is wanted and raised again, while no call runs that could need memory. (An open result fills its
small buffer between calls; for that there is room in what is kept.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

_EVERY_SECONDS = 0.05  # some 15 MB of blocks at the speed at which they are read
_COMPUTING_SHARE = (
    4  # a statement that holds more than this part of the limit computes: it may need all of it
)

_USED = """
    SELECT coalesce(sum(memory_usage_bytes) FILTER (WHERE tag = 'BASE_TABLE'), 0)::BIGINT,
      coalesce(sum(memory_usage_bytes) FILTER (WHERE tag <> 'BASE_TABLE'), 0)::BIGINT
    FROM duckdb_memory()
"""


class BlockCache:
    """Counts the calls into the engine and lets blocks go at the end of one."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, *, limit: str, keep: str) -> None:
        """Watch an engine.

        Args:
            cursor: of its own, on a connection opened with `changing_memory`.
            limit: the engine's memory limit, such as `1GB`.
            keep: how much of the blocks that were read may stay, such as `128MB`.

        Raises:
            duckdb.Error: a size without a unit.
        """
        self._cursor = cursor
        self._limit = self._bytes(limit)
        self._keep = self._bytes(keep)
        self._calls = 0
        self._next = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def call(self) -> Iterator[None]:
        """For the length of one call into the engine; at its end blocks are let go if it is time."""
        with self._lock:  # held while blocks are let go, so that no call begins under a lowered limit
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                if not self._calls and time.monotonic() >= self._next:
                    self._trim()
                    self._next = time.monotonic() + _EVERY_SECONDS

    def close(self) -> None:
        """Let go of the engine."""
        self._cursor.close()

    def _trim(self) -> None:
        blocks, others = self._cursor.execute(_USED).fetchall()[0]
        if blocks <= self._keep or others > self._limit // _COMPUTING_SHARE:
            return
        lower = f"SET GLOBAL memory_limit = '{others + self._keep}B'"
        try:
            self._cursor.execute(f"{lower}; SET GLOBAL memory_limit = '{self._limit}B'")
        except duckdb.OutOfMemoryException:
            return  # more is in use than could be let go: what could went, and the limit was not lowered

    def _bytes(self, size: str) -> int:
        return int(self._cursor.execute("SELECT parse_formatted_bytes($1)", [size]).fetchall()[0][0])
