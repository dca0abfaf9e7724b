"""The catalogue over a real store, without the RPC around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from featurestore.model import names
from services.catalog.catalog import CatalogService
from services.catalog.store import DEFAULT_TIMEOUT_SECONDS, open_store


@asynccontextmanager
async def opened_catalog(
    url: str, *, id_key: bytes = names.DEFAULT_ID_KEY, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> AsyncIterator[CatalogService]:
    """A catalogue with a store of its own, as one process has it; any number may be open on one URL."""
    async with open_store(url, timeout_seconds) as store:
        yield CatalogService(store, id_key)
