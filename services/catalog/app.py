"""The catalogue as a part of a process: settings -> parts -> servicer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import grpc.aio

from featurestore.api.catalog.v1.catalog_pb2_grpc import add_CatalogServiceServicer_to_server
from featurestore.model.errors import InvalidArgument
from featurestore.model.names import DEFAULT_ID_KEY
from featurestore.model.peers import Catalog
from services.catalog.catalog import CatalogService
from services.catalog.servicer import CatalogServicer
from services.catalog.settings import CatalogSettings
from services.catalog.store import open_store

SERVICE = "featurestore.api.catalog.v1.CatalogService"


@asynccontextmanager
async def opened(settings: CatalogSettings) -> AsyncIterator[CatalogService]:
    """The catalogue, with its store open and its indexes in place."""
    id_key = settings.id_key.get_secret_value().encode() if settings.id_key else DEFAULT_ID_KEY
    async with open_store(store_url(settings), settings.timeout_seconds) as store:
        yield CatalogService(store, id_key)


def add_to(server: grpc.aio.Server, catalog: Catalog) -> str:
    """Answer the catalogue's service on `server`; returns the service's name."""
    add_CatalogServiceServicer_to_server(CatalogServicer(catalog), server)
    return SERVICE


def store_url(settings: CatalogSettings) -> str:
    """The store's URL, with the password from its file if there is one."""
    url = settings.store_url.get_secret_value()
    if settings.store_password_file is None:
        return url
    scheme, _, rest = url.partition("://")
    user, at, place = rest.partition("@")
    if not at or ":" in user:
        raise InvalidArgument(
            "BAD_SETTING",
            "store_password_file needs a store_url that names a user and no password, such as mongodb://user@host/database",
            setting="store_url",
        )
    try:
        password = settings.store_password_file.read_text().strip()
    except OSError as error:
        raise InvalidArgument(
            "BAD_SETTING",
            f"store_password_file {settings.store_password_file} can't be read: {error.strerror}",
            setting="store_password_file",
        ) from error
    return f"{scheme}://{user}:{quote(password, safe='')}@{place}"
