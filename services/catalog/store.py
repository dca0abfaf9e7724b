"""Where documents are kept: one Protocol, two stores, chosen by URL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeAlias, TypeVar

from pydantic import ValidationError

from featurestore.model.errors import FailedPrecondition, InvalidArgument
from services.catalog.documents import Document

DEFAULT_TIMEOUT_SECONDS = 5.0
"""For a call without a deadline."""

D = TypeVar("D", bound=Document)
Value: TypeAlias = str | int
Where: TypeAlias = Mapping[str, Sequence[Value]]
"""Per field, the values of which it has one."""


class Store(Protocol):
    """A store of documents, insert-only but for `replace`.

    Every method raises `Unavailable` (`CATALOG_UNAVAILABLE`) when the store can't be reached within the call's
    deadline, and `DeadlineExceeded` when that is over already. An insert that failed so may have happened;
    every insert may be repeated.
    """

    @property
    def backend(self) -> str:
        """What it is kept in: `sqlite` or `mongodb`."""
        ...

    async def insert(self, document: Document) -> bool:
        """Insert durably. False, and nothing changed, when a unique index holds one of its keys already."""
        ...

    async def replace(self, document: Document) -> None:
        """Insert durably, in place of the document with the same values in the first of its unique indexes."""
        ...

    async def find(
        self,
        kind: type[D],
        where: Where,
        *,
        before: tuple[Value, ...] | None = None,
        limit: int | None = None,
    ) -> list[D]:
        """The documents that match, in descending order of `kind.newest_first`.

        Args:
            kind: the class, and so the collection.
            where: all of these hold; empty matches all.
            before: values of `kind.newest_first`; only documents that come after these in that order.
            limit: at most so many; None for all.

        Raises:
            FailedPrecondition: `CATALOG_FORMAT`: a document is not of this release's form.
        """
        ...

    async def count(self, kind: type[Document]) -> int:
        """How many documents the collection holds."""
        ...


@asynccontextmanager
async def open_store(url: str, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> AsyncIterator[Store]:
    """Open a store with its unique indexes in place; it is closed at the end of the block.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path` (the rest is the path as it is, nothing is
            decoded) or `mongodb://host:port/database`, the database being
            `featurestore` by default.
        timeout_seconds: for calls without a deadline, and for opening.

    Raises:
        InvalidArgument: `STORE_URL`: another scheme, or malformed.
        Unavailable: `CATALOG_UNAVAILABLE`.
        FailedPrecondition: `CATALOG_INDEX` when a unique index is not there and can't be built,
            `CATALOG_DAMAGED`, `CATALOG_FORMAT`.
    """
    scheme, separator, rest = url.partition("://")
    # Each store loads its own driver: local mode must not pay for Mongo's at every start.
    if separator and scheme == "sqlite" and rest.startswith("/") and rest != "/":
        from services.catalog.sqlite_store import SqliteStore  # noqa: PLC0415 - loaded when chosen

        async with SqliteStore.open(rest[1:], timeout_seconds) as sqlite:
            yield sqlite
    elif separator and scheme == "mongodb":
        from services.catalog.motor_store import MotorStore  # noqa: PLC0415 - loaded when chosen

        async with MotorStore.open(url, timeout_seconds) as mongo:
            yield mongo
    else:
        # Only the scheme is named: the rest may hold a password.
        raise InvalidArgument(
            "STORE_URL",
            f"the catalogue's store can't be opened by a URL of scheme {scheme[:20]!r}: "
            "write sqlite:///path/to/file or mongodb://host:port/database",
            scheme=scheme[:20],
        )


def format_error(kind: type[Document], error: ValidationError) -> FailedPrecondition:
    """What a stored document that is not of this release's form means."""
    fields = ", ".join(sorted({".".join(str(part) for part in item["loc"]) for item in error.errors()}))
    return FailedPrecondition(
        "CATALOG_FORMAT",
        f"a document in the catalogue's collection {kind.collection} is not of this release's form "
        f"(fields: {fields}): it was written by a newer release or changed by hand; upgrade this service",
        collection=kind.collection,
        fields=fields,
    )
