"""The log: every accepted publish, in order, durable before it is acknowledged. SQLite, no format of our own."""

from __future__ import annotations

import sqlite3
import threading
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from featurestore.model.errors import FailedPrecondition

FILE_NAME = "log.sqlite"
FORMAT = 1

_CREATE = """
CREATE TABLE log (log_id TEXT NOT NULL);
CREATE TABLE frames (
    sequence INTEGER PRIMARY KEY,
    publish_id TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    row_count INTEGER NOT NULL,
    body BLOB NOT NULL,
    body_crc32 INTEGER NOT NULL
);
"""
# Not a fact of the data but of how it is served, so it is no frame: the warehouse has no use for it.
_CREATE_INDEXED = """
CREATE TABLE IF NOT EXISTS indexed_columns (
    table_name TEXT NOT NULL,
    column_name TEXT NOT NULL,
    PRIMARY KEY (table_name, column_name)
)
"""
# Checkpoints copy pages a second time; with room for bulk frames they come rarely.
_CHECKPOINT_PAGES = 16_384


@dataclass(frozen=True, slots=True)
class Record:
    """A frame on its way into the log.

    Attributes:
        digest: of what the client sent, to tell a repeat from a reused `publish_id`.
        row_count: rows or keys that came in; the answer to a repeat.
        body: `frames.encode` of the operations.
    """

    publish_id: str
    digest: str
    row_count: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the log knows of a publish that it holds."""

    sequence: int
    digest: str
    row_count: int


@dataclass(frozen=True, slots=True)
class Logged:
    """A frame as the log holds it."""

    sequence: int
    publish_id: str
    body: bytes


class AppendFailedError(Exception):
    """The log did not take a group.

    Attributes:
        certain: it is known that nothing of the group will be there after a restart.
    """

    def __init__(self, cause: sqlite3.Error, *, certain: bool) -> None:
        super().__init__(str(cause))
        self.certain = certain


class Log:
    """The writing side. Used by one thread at a time; opened before that thread starts."""

    def __init__(self, folder: Path) -> None:
        """Open the log in the folder, or begin one.

        Raises:
            FailedPrecondition: `FORMAT`: a newer version wrote it.
        """
        self._connection = _connect(folder / FILE_NAME)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self.log_id = self._open_or_create()
        self._connection.execute(_CREATE_INDEXED)
        self.last_sequence: int = self._connection.execute(
            "SELECT coalesce(max(sequence), 0) FROM frames"
        ).fetchone()[0]

    def find(self, publish_ids: Sequence[str]) -> dict[str, Receipt]:
        """What became of these publishes, as far as they are in the log, by their id."""
        asked = ", ".join("?" * len(publish_ids))
        rows = self._connection.execute(
            f"SELECT publish_id, sequence, digest, row_count FROM frames WHERE publish_id IN ({asked})",
            publish_ids,
        )
        return {publish_id: Receipt(*receipt) for publish_id, *receipt in rows}

    def append(self, records: Sequence[Record]) -> None:
        """Append the records as the next sequences, all or none; durable when this returns.

        Raises:
            AppendFailedError: none is in the log, or (not `certain`) nobody can say.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (sequence, r.publish_id, r.digest, r.row_count, r.body, zlib.crc32(r.body))
                    for sequence, r in enumerate(records, self.last_sequence + 1)
                ),
            )
        except sqlite3.Error as error:
            raise AppendFailedError(error, certain=self._rolled_back()) from error
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            # A full disk stops before the commit record is whole. After any other failure, such as one of
            # fsync, the record may or may not be found at the next start.
            full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
            raise AppendFailedError(error, certain=self._rolled_back() and full) from error
        self.last_sequence += len(records)

    def indexed_columns(self) -> list[tuple[str, str]]:
        """The columns that are to be indexed: (table, column)."""
        return self._connection.execute("SELECT table_name, column_name FROM indexed_columns").fetchall()

    def remember_indexed(self, table: str, column: str) -> None:
        """Have a column indexed after every start.

        Raises:
            sqlite3.Error: it is not remembered.
        """
        self._connection.execute("INSERT OR IGNORE INTO indexed_columns VALUES (?, ?)", (table, column))

    def close(self) -> None:
        """Close; what was appended stays."""
        self._connection.close()

    def _rolled_back(self) -> bool:
        if not self._connection.in_transaction:  # SQLite did it itself, or never began
            return True
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            return False
        return True

    def _open_or_create(self) -> str:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT):
            raise FailedPrecondition(
                "FORMAT",
                f"the log has format {version}, this version reads {FORMAT}; start a newer version",
                found=version,
                known=FORMAT,
            )
        if version == 0:
            log_id = f"log_{uuid.uuid4().hex}"
            self._connection.executescript(
                f"BEGIN; {_CREATE} INSERT INTO log VALUES ('{log_id}'); PRAGMA user_version = {FORMAT}; COMMIT"
            )
        found: str = self._connection.execute("SELECT log_id FROM log").fetchone()[0]
        return found


class LogReader:
    """The reading side, with a connection of its own: replay and followers. Any thread; calls wait for each other."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._connection = _connect(folder / FILE_NAME)
        self._connection.execute("PRAGMA query_only = 1")

    def read_after(self, sequence: int, max_bytes: int) -> list[Logged]:
        """The next frames after this sequence, in order: at least one if there is one, about `max_bytes` in all.

        Raises:
            FailedPrecondition: `LOG_DAMAGED`, naming the frame.
        """
        found: list[Logged] = []
        size = 0
        with self._lock, self._rows_after(sequence) as rows:
            for number, publish_id, body, crc in rows:
                if zlib.crc32(body) != crc:
                    raise FailedPrecondition(
                        "LOG_DAMAGED",
                        f"frame {number} of the log does not match its checksum; restore the log from a copy",
                        sequence=number,
                    )
                found.append(Logged(number, publish_id, body))
                size += len(body)
                if size >= max_bytes:
                    break
        return found

    def last_sequence(self) -> int:
        """The end of the log."""
        with self._lock:
            row = self._connection.execute("SELECT coalesce(max(sequence), 0) FROM frames").fetchone()
        return int(row[0])

    def close(self) -> None:
        """Close."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _rows_after(self, sequence: int) -> Iterator[sqlite3.Cursor]:
        cursor = self._connection.execute(
            "SELECT sequence, publish_id, body, body_crc32 FROM frames WHERE sequence > ? ORDER BY sequence",
            (sequence,),
        )
        try:
            yield cursor
        finally:
            cursor.close()  # an open statement is a read transaction, which would keep the WAL from shrinking


def _connect(path: Path) -> sqlite3.Connection:
    # Each connection is used by one thread at a time, but not by the thread that made it.
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)
