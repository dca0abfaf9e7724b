"""A server whose service does as it is told, and the adapters of its remote peers."""

import asyncio

import pytest

from featurestore.api.catalog.v1.catalog_pb2_grpc import add_CatalogServiceServicer_to_server
from featurestore.api.extraction.v1.extraction_pb2_grpc import add_ExtractionServiceServicer_to_server
from featurestore.api.realtime.v1.realtime_pb2_grpc import add_RealtimeServiceServicer_to_server
from featurestore.rpc.channels import open_channel
from featurestore.rpc.remote_catalog import RemoteCatalog
from featurestore.rpc.remote_extraction import RemoteExtraction
from featurestore.rpc.remote_realtime import RemoteRealtime
from featurestore.rpc.server import bind, create_server
from services.catalog.servicer import CatalogServicer
from services.extraction.servicer import ExtractionServicer
from services.realtime.servicer import RealtimeServicer


class Service:
    """Stands for all three services: does what it was told to, and remembers how it was called."""

    def __init__(self):
        self.told = None
        self.asked = []
        self.closed = asyncio.Event()

    def __getattr__(self, name):
        async def method(*args, **kwargs):
            self.asked.append((name, args, kwargs))
            return await self.told()

        return method

    def follow(self, after):
        self.asked.append(("follow", (after,), {}))
        return self.told()

    def returns(self, result):
        async def told():
            return result

        self.told = told

    def raises(self, error):
        async def told():
            raise error

        self.told = told

    async def endless(self, first):
        """Yields without end; says when it is closed."""
        try:
            while True:
                yield first
                await asyncio.sleep(0.001)
        finally:
            self.closed.set()


@pytest.fixture
async def service():
    return Service()


@pytest.fixture
async def remote(service, tmp_path):
    server = create_server()
    add_CatalogServiceServicer_to_server(CatalogServicer(service), server)
    add_RealtimeServiceServicer_to_server(RealtimeServicer(service, asyncio.Event()), server)
    add_ExtractionServiceServicer_to_server(ExtractionServicer(service), server)
    address = bind(server, f"unix:{tmp_path}/s")
    await server.start()
    async with open_channel(address) as channel:
        yield adapters(channel, address)
    await server.stop(0)


def adapters(channel, target) -> dict[str, object]:
    return {
        "catalog": RemoteCatalog(channel, target),
        "realtime": RemoteRealtime(channel, target),
        "extraction": RemoteExtraction(channel, target),
    }


async def read_all(iterator):
    return [item async for item in iterator]
