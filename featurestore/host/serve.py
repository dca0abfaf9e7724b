"""Run services in this process: some of them, or all four behind the gateway's port."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc.aio

import gateway.app
import services.catalog.app
import services.extraction.app
import services.realtime.app
from featurestore.host.settings import Settings, git_environment
from featurestore.model.peers import Catalog, Extraction, Realtime
from featurestore.rpc.channels import open_channel
from featurestore.rpc.remote_catalog import RemoteCatalog
from featurestore.rpc.remote_extraction import RemoteExtraction
from featurestore.rpc.remote_realtime import RemoteRealtime
from featurestore.rpc.server import bind, create_server, serve_health, serve_reflection
from gateway.lease import Leases

log = logging.getLogger(__name__)

_SWITCH_SECONDS = 0.0005
"""After so long a thread that has the interpreter is asked for it. Whoever comes back from the engine waits that long for a
busy event loop, several times a write; with Python's own 5 ms, 32 callers had an eighth fewer rows a second written."""

CATALOG, REALTIME, EXTRACTION, GATEWAY = "catalog", "realtime", "extraction", "gateway"
SERVICES = (CATALOG, REALTIME, EXTRACTION, GATEWAY)
"""In the order in which they start: each needs those before it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers.

    Attributes:
        address: what it is bound to, with the port that the system chose where 0 was asked for.
        lost: ends, with an error, when a part that runs here can't go on.
    """

    server: grpc.aio.Server
    address: str


@asynccontextmanager
async def serving(
    names: Iterable[str], settings: Settings, leases: Leases | None = None
) -> AsyncIterator[Running]:
    """Run these services and answer on `settings.listen` as long as the context is open.

    When it closes: no new calls, those under way have `drain_seconds` to end, then the stores close.

    Args:
        names: some of `SERVICES`; a peer that is not among them is called over the network.
        leases: set in local mode.
    """
    wanted = [name for name in SERVICES if name in set(names)]
    sys.setswitchinterval(_SWITCH_SECONDS)
    async with AsyncExitStack() as stack:
        server = create_server(stream_idle_seconds=settings.stream_idle_seconds)
        peers = await _open_peers(wanted, settings, stack)
        draining = asyncio.Event()
        mounted: list[str] = []
        for name in wanted:
            if name != GATEWAY and GATEWAY in wanted:
                continue  # behind the gateway of the same process they are no one else's business
            if name == CATALOG:
                mounted.append(services.catalog.app.add_to(server, peers.catalog))
            elif name == REALTIME:
                mounted.append(services.realtime.app.add_to(server, peers.realtime, draining))
            elif name == EXTRACTION:
                mounted.append(services.extraction.app.add_to(server, peers.extraction))
            else:
                await stack.enter_async_context(
                    gateway.app.mount(
                        server,
                        settings.gateway,
                        catalog=peers.catalog,
                        realtime=peers.realtime,
                        extraction=peers.extraction,
                        leases=leases,
                    )
                )
                mounted.extend(gateway.app.SERVICES)
        health = serve_health(server, mounted)
        serve_reflection(server, mounted)
        address = bind(server, settings.listen, insecure=settings.insecure)
        await server.start()
        stack.push_async_callback(server.stop, settings.drain_seconds)
        await health.set_serving()
        stack.callback(draining.set)
        stack.push_async_callback(health.set_not_serving)
        log.info("%s answers on %s", ", ".join(wanted), address)
        yield Running(server, address)
        log.info("draining: calls under way have %g s to end", settings.drain_seconds)


def started() -> None:
    """Say that this process is for nothing but serving, and has started.

    What was loaded until now stays until it ends: the collector of garbage is not to look through it again and again, for
    70 ms in which nobody is answered.
    """
    gc.collect()
    gc.freeze()


@dataclass(frozen=True, slots=True)
class _Peers:
    catalog: Catalog
    realtime: Realtime
    extraction: Extraction


async def _open_peers(wanted: list[str], settings: Settings, stack: AsyncExitStack) -> _Peers:
    async def channel(target: str) -> grpc.aio.Channel:
        return await stack.enter_async_context(open_channel(target))

    catalog: Catalog
    if CATALOG in wanted:
        catalog = await stack.enter_async_context(services.catalog.app.opened(settings.catalog))
    else:
        catalog = RemoteCatalog(await channel(settings.peers.catalog), settings.peers.catalog)
    realtime: Realtime
    if REALTIME in wanted:
        realtime = await stack.enter_async_context(services.realtime.app.opened(settings.realtime))
    else:
        realtime = RemoteRealtime(await channel(settings.peers.realtime), settings.peers.realtime)
    extraction: Extraction
    if EXTRACTION in wanted:
        extraction = await stack.enter_async_context(
            services.extraction.app.opened(settings.extraction, realtime, git_environment())
        )
    else:
        extraction = RemoteExtraction(await channel(settings.peers.extraction), settings.peers.extraction)
    return _Peers(catalog, realtime, extraction)


async def serve_until_told(names: Iterable[str], settings: Settings) -> None:
    """Run these services until SIGTERM or SIGINT, then drain."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with serving(names, settings):
        started()
        await told.wait()
