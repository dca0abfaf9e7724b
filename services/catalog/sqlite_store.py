"""Documents in SQLite: WAL, synchronous=FULL, one connection owned by one thread.

A table per collection: a column for every field that is searched, and the document as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from featurestore.model import deadline
from featurestore.model.errors import FailedPrecondition, Unavailable
from services.catalog.documents import COLLECTIONS, Document
from services.catalog.store import D, Value, Where, format_error

FORMAT_VERSION = 1
_BUSY_MS = 1000

T = TypeVar("T")
log = logging.getLogger(__name__)


class SqliteStore:
    """See `services.catalog.store.Store`. The loop never waits: all of SQLite runs in the store's one thread."""

    backend = "sqlite"

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="catalog-sqlite")
        self._connection: sqlite3.Connection | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, path: str, timeout_seconds: float) -> AsyncIterator[SqliteStore]:
        """Open the file, made if missing; its folder must exist. Errors: see `open_store`."""
        store = cls(Path(path), timeout_seconds)
        try:
            await store._run("opening the catalogue", store._prepare)
            yield store
        finally:
            closed = store._thread.submit(store._close)
            store._thread.shutdown(wait=False)
            await asyncio.wrap_future(closed)

    async def insert(self, document: Document) -> bool:
        """See `Store.insert`."""
        return await self._write(document, "DO NOTHING")

    async def replace(self, document: Document) -> None:
        """See `Store.replace`."""
        kind = type(document)
        changed = ", ".join(f"{column} = excluded.{column}" for column in (*_columns(kind), "document"))
        await self._write(document, f"({', '.join(kind.unique[0])}) DO UPDATE SET {changed}")

    async def find(
        self,
        kind: type[D],
        where: Where,
        *,
        before: tuple[Value, ...] | None = None,
        limit: int | None = None,
    ) -> list[D]:
        """See `Store.find`."""
        # A list goes in as one JSON parameter, so its length has no limit.
        terms = [f"{column} IN (SELECT value FROM json_each(?))" for column in where]
        values: list[Value] = [json.dumps(list(allowed)) for allowed in where.values()]
        if before is not None:
            marks = ", ".join("?" * len(before))
            terms.append(f"({', '.join(kind.newest_first)}) < ({marks})")
            values.extend(before)
        sql = f"SELECT document FROM {kind.collection}"
        if terms:
            sql += f" WHERE {' AND '.join(terms)}"
        sql += f" ORDER BY {', '.join(f'{column} DESC' for column in kind.newest_first)} LIMIT ?"
        values.append(-1 if limit is None else limit)

        def work(connection: sqlite3.Connection) -> list[D]:
            rows = connection.execute(sql, values).fetchall()
            try:
                return [kind.model_validate_json(document) for (document,) in rows]
            except ValidationError as error:
                raise format_error(kind, error) from error

        return await self._run(f"reading {kind.collection}", work)

    async def count(self, kind: type[Document]) -> int:
        """See `Store.count`."""

        def work(connection: sqlite3.Connection) -> int:
            (number,) = connection.execute(f"SELECT count(*) FROM {kind.collection}").fetchone()
            return int(number)

        return await self._run(f"counting {kind.collection}", work)

    async def _write(self, document: Document, on_conflict: str) -> bool:
        """Whether a row was written."""
        kind = type(document)
        columns = _columns(kind)
        row = (*(getattr(document, column) for column in columns), document.model_dump_json())
        marks = ", ".join("?" * len(row))
        sql = (
            f"INSERT INTO {kind.collection} ({', '.join(columns)}, document) VALUES ({marks}) "
            f"ON CONFLICT {on_conflict}"
        )

        def work(connection: sqlite3.Connection) -> bool:
            return connection.execute(sql, row).rowcount == 1

        return await self._run(f"saving into {kind.collection}", work)

    async def _run(self, doing: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the store's thread, within the call's deadline."""
        deadline.check(doing)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline.remaining_or(self._timeout_seconds)):
                return await loop.run_in_executor(self._thread, lambda: work(self._connected()))
        except TimeoutError as error:
            raise _unavailable(doing, error) from error
        except sqlite3.OperationalError as error:  # busy, disk full, read-only, can't open
            log.warning("catalogue: %s failed: %s", doing, error)
            raise _unavailable(doing, error) from error
        except sqlite3.DatabaseError as error:
            log.exception("catalogue: %s failed", doing)
            raise FailedPrecondition(
                "CATALOG_DAMAGED",
                f"the catalogue's file {self._path.name} is damaged ({error}): restore it from a backup",
                file=self._path.name,
                problem=error,
            ) from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            # Autocommit: a save is one statement, so a transaction of its own.
            self._connection = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_MS / 1000)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: without it fsync stops at the drive's cache
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, FORMAT_VERSION):
            raise FailedPrecondition(
                "CATALOG_FORMAT",
                f"the catalogue's file {self._path.name} has format {version}, this release knows "
                f"{FORMAT_VERSION}: upgrade featurestore",
                file=self._path.name,
                found=version,
                known=FORMAT_VERSION,
            )
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        for kind in COLLECTIONS:
            self._prepare_collection(connection, kind)
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")

    def _prepare_collection(self, connection: sqlite3.Connection, kind: type[Document]) -> None:
        columns = "".join(f"{column} NOT NULL, " for column in _columns(kind))
        connection.execute(f"CREATE TABLE IF NOT EXISTS {kind.collection} ({columns}document TEXT NOT NULL)")
        for fields in kind.lookups:
            name = f"{kind.collection}_{'_'.join(fields)}"
            connection.execute(
                f"CREATE INDEX IF NOT EXISTS {name} ON {kind.collection} ({', '.join(fields)})"
            )
        for fields in kind.unique:
            name = f"{kind.collection}_unique_{'_'.join(fields)}"
            problem = "another index has its name"
            try:
                connection.execute(
                    f"CREATE UNIQUE INDEX IF NOT EXISTS {name} ON {kind.collection} ({', '.join(fields)})"
                )
            except sqlite3.IntegrityError as error:
                problem = f"it can't be built: {error}"
            if fields not in _unique_indexes(connection, kind.collection):
                raise FailedPrecondition(
                    "CATALOG_INDEX",
                    f"the catalogue is not ready: the unique index on {kind.collection} ({', '.join(fields)}) is "
                    f"missing and {problem}; restore {self._path.name} from a backup or repair it",
                    collection=kind.collection,
                    fields=", ".join(fields),
                    problem=problem,
                )


def _columns(kind: type[Document]) -> tuple[str, ...]:
    """The searched fields, each once."""
    indexed = (field for fields in (*kind.unique, *kind.lookups, kind.newest_first) for field in fields)
    return tuple(dict.fromkeys(indexed))


def _unique_indexes(connection: sqlite3.Connection, table: str) -> set[tuple[str, ...]]:
    found = set()
    for _, name, unique, _, partial in connection.execute(f"PRAGMA index_list({table})").fetchall():
        if unique and not partial:
            fields = connection.execute(f"PRAGMA index_info({name})").fetchall()
            found.add(tuple(field for _, _, field in fields))
    return found


def _unavailable(doing: str, error: Exception) -> Unavailable:
    cause = type(error).__name__
    return Unavailable(
        "CATALOG_UNAVAILABLE",
        f"the catalogue did not answer while {doing} ({cause}); the same call may work in a moment",
        doing=doing,
        cause=cause,
    )
