"""The catalogue over a real store, without the RPC around it, and fixtures of one over each kind of store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from featurestore.model import names
from services.catalog.catalog import CatalogService
from services.catalog.store import DEFAULT_TIMEOUT_SECONDS, open_store
from tests.support.mongo import running_mongo


@asynccontextmanager
async def opened_catalog(
    url: str, *, id_key: bytes = names.DEFAULT_ID_KEY, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> AsyncIterator[CatalogService]:
    """A catalogue with a store of its own, as one process has it; any number may be open on one URL."""
    async with open_store(url, timeout_seconds) as store:
        yield CatalogService(store, id_key)


@pytest.fixture(scope="session")
def mongo(tmp_path_factory):
    """One server for all; each `url()` is of a new database. Whoever kills it needs one of his own."""
    with running_mongo(tmp_path_factory.mktemp("mongo")) as server:
        yield server


@pytest.fixture(params=["sqlite", "mongodb"])
def url(request, tmp_path):
    """Of an empty store."""
    if request.param == "mongodb":
        return request.getfixturevalue("mongo").url()
    return f"sqlite:///{tmp_path / 'catalog.sqlite'}"


@pytest.fixture
async def catalog(url):
    async with opened_catalog(url) as opened:
        yield opened
