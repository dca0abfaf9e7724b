"""Documents in MongoDB through Motor; the only file that knows either.

Motor is past its announced end of life; the exit is PyMongo's `AsyncMongoClient`, which has the same methods.
Every write is acknowledged by a majority and journalled; every read is of majority-committed data. There are no
transactions, and what is inserted once is never upserted: the unique indexes alone decide races, so without them the store
does not open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pymongo
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from pydantic import ValidationError
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    DuplicateKeyError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from featurestore.model import deadline
from featurestore.model.errors import FailedPrecondition, InvalidArgument, Unavailable
from services.catalog.documents import COLLECTIONS, Document
from services.catalog.store import D, Value, Where, format_error

DEFAULT_DATABASE = "featurestore"
_REACH_SERVER_MS = 1000
_INDEX_EXISTS_OTHERWISE = (85, 86)  # IndexOptionsConflict, IndexKeySpecsConflict

T = TypeVar("T")
log = logging.getLogger(__name__)


class MotorStore:
    """See `services.catalog.store.Store`."""

    backend = "mongodb"

    def __init__(self, client: AsyncIOMotorClient[dict[str, Any]], timeout_seconds: float) -> None:
        self._database = client.get_default_database(
            DEFAULT_DATABASE,
            write_concern=WriteConcern(w="majority", j=True),
            read_concern=ReadConcern("majority"),
            read_preference=pymongo.ReadPreference.PRIMARY,
        )
        self._timeout_seconds = timeout_seconds

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, timeout_seconds: float) -> AsyncIterator[MotorStore]:
        """Connect, and create and check the unique indexes. Errors: see `open_store`."""
        try:
            client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
                url,
                appname="featurestore-catalog",
                serverSelectionTimeoutMS=_REACH_SERVER_MS,
                connectTimeoutMS=_REACH_SERVER_MS,
            )
        except (InvalidURI, ConfigurationError, ValueError) as error:
            # The driver's message may quote the URL, and with it a password: it is not passed on.
            raise InvalidArgument(
                "STORE_URL",
                f"the catalogue's mongodb URL can't be used ({type(error).__name__}): "
                "write mongodb://user:password@host:port/database, with special characters percent-encoded",
            ) from None
        try:
            store = cls(client, timeout_seconds)
            for kind in COLLECTIONS:
                await store._prepare(kind)
            yield store
        finally:
            client.close()

    async def insert(self, document: Document) -> bool:
        """See `Store.insert`."""
        kind = type(document)
        collection = self._collection(kind)

        async def work() -> bool:
            try:
                await collection.insert_one(document.model_dump())
            except DuplicateKeyError:
                return False
            return True

        return await self._call(f"saving into {kind.collection}", work)

    async def replace(self, document: Document) -> None:
        """See `Store.replace`."""
        kind = type(document)
        collection = self._collection(kind)
        content = document.model_dump()
        same = {field: content[field] for field in kind.unique[0]}

        async def work() -> None:
            try:
                await collection.replace_one(same, content, upsert=True)
            except DuplicateKeyError:  # another one was inserted meanwhile: now there is one to replace
                await collection.replace_one(same, content)

        await self._call(f"saving into {kind.collection}", work)

    async def find(
        self,
        kind: type[D],
        where: Where,
        *,
        before: tuple[Value, ...] | None = None,
        limit: int | None = None,
    ) -> list[D]:
        """See `Store.find`."""
        query: dict[str, Any] = {field: {"$in": list(allowed)} for field, allowed in where.items()}
        if before is not None:
            query["$or"] = _after(kind.newest_first, before)
        order = [(field, pymongo.DESCENDING) for field in kind.newest_first]

        async def work() -> list[dict[str, Any]]:
            cursor = self._collection(kind).find(query, {"_id": 0}).sort(order)
            if limit is not None:
                cursor = cursor.limit(limit)
            return list(await cursor.to_list(None))

        found = await self._call(f"reading {kind.collection}", work)
        try:
            return [kind.model_validate(document) for document in found]
        except ValidationError as error:
            raise format_error(kind, error) from error

    async def count(self, kind: type[Document]) -> int:
        """See `Store.count`."""

        async def work() -> int:
            return int(await self._collection(kind).count_documents({}))

        return await self._call(f"counting {kind.collection}", work)

    def _collection(self, kind: type[Document]) -> AsyncIOMotorCollection[dict[str, Any]]:
        return self._database[kind.collection]

    async def _prepare(self, kind: type[Document]) -> None:
        collection = self._collection(kind)

        async def ensure(fields: tuple[str, ...], *, unique: bool) -> str:
            """Create one index; what stood in the way, or nothing."""
            try:
                await collection.create_index([(field, pymongo.ASCENDING) for field in fields], unique=unique)
            except DuplicateKeyError:
                return "it can't be built over documents that share a key"
            except OperationFailure as error:
                if error.code not in _INDEX_EXISTS_OTHERWISE:
                    raise
                return "another index on these fields, or of its name, is in its place"
            return ""

        async def work() -> None:
            for fields in kind.lookups:
                await ensure(fields, unique=False)
            problems = {fields: await ensure(fields, unique=True) for fields in kind.unique}
            existing = _unique_indexes(await collection.index_information())
            for fields, problem in problems.items():
                if fields not in existing:
                    raise FailedPrecondition(
                        "CATALOG_INDEX",
                        f"the catalogue is not ready: the unique index on {kind.collection} "
                        f"({', '.join(fields)}) is missing and {problem or 'the server does not show it'}; "
                        "repair the collection or restore it from a backup",
                        collection=kind.collection,
                        fields=", ".join(fields),
                        problem=problem,
                    )

        await self._call(f"preparing {kind.collection}", work)

    async def _call(self, doing: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` within the call's deadline, once more after a dropped connection."""
        deadline.check(doing)
        seconds = deadline.remaining_or(self._timeout_seconds)
        try:
            # The driver's own clock frees its thread, ours frees the caller even when no thread is free.
            with pymongo.timeout(seconds):
                async with asyncio.timeout(seconds):
                    try:
                        return await work()
                    except ServerSelectionTimeoutError:
                        raise  # no server was found within the time; asking again takes as long
                    except AutoReconnect:
                        # The first use of a pooled connection after the server restarted. A standalone server
                        # is not retried by the driver; every insert of ours may be repeated.
                        return await work()
        except (PyMongoError, TimeoutError) as error:
            cause = type(error).__name__
            log.warning("catalogue: %s failed: %s", doing, cause)
            raise Unavailable(
                "CATALOG_UNAVAILABLE",
                f"the catalogue did not answer while {doing} ({cause}); the same call may work in a moment",
                doing=doing,
                cause=cause,
            ) from error


def _after(fields: tuple[str, ...], values: tuple[Value, ...]) -> list[dict[str, Any]]:
    """What comes after `values` in descending order: for each field, equal before it and lower in it."""
    return [
        {**dict(zip(fields[:at], values[:at], strict=True)), fields[at]: {"$lt": values[at]}}
        for at in range(len(fields))
    ]


def _unique_indexes(information: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, ...]]:
    """The fields of the unique indexes that hold for every document."""
    return {
        tuple(field for field, _ in index["key"])
        for index in information.values()
        if index.get("unique") and "partialFilterExpression" not in index and not index.get("sparse")
    }
