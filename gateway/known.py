"""The gateway's on-disk copy of what it resolved, so that a restart during an outage of the catalogue serves on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

_SCHEMA = "CREATE TABLE IF NOT EXISTS known (kind TEXT, key TEXT, content BLOB, PRIMARY KEY (kind, key)) WITHOUT ROWID"


class KnownDefinitions:
    """Bytes by (kind, key) in one SQLite file with one owning thread.

    Losing it loses nothing: it is filled again from the catalogue. So it is not synced on every write.
    """

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is opened before the context is entered.

        Args:
            path: the SQLite file; its folder is made if need be.
        """
        self._path = path
        self._owner = ThreadPoolExecutor(1, thread_name_prefix="known-definitions")
        self._connection: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        await self._run(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._run(self._close)
        self._owner.shutdown()

    async def get(self, kind: str, key: str) -> bytes | None:
        """What was put, or None."""
        return await self._run(lambda: self._get(kind, key))

    async def put(self, kind: str, key: str, content: bytes) -> None:
        """Keep it, in place of what was there."""
        await self._run(lambda: self._put(kind, key, content))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._owner, work)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(_SCHEMA)

    def _close(self) -> None:
        self._opened.close()
        self._connection = None

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the known definitions are used outside their context")
        return self._connection

    def _get(self, kind: str, key: str) -> bytes | None:
        row = self._opened.execute(
            "SELECT content FROM known WHERE kind = ? AND key = ?", (kind, key)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def _put(self, kind: str, key: str, content: bytes) -> None:
        self._opened.execute("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", (kind, key, content))
