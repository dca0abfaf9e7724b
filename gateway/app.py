"""The gateway as a part of a process: settings -> parts -> servicer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
from pydantic import BaseModel, Field

from featurestore.api.gateway.v1.gateway_pb2_grpc import add_FeatureStoreServiceServicer_to_server
from featurestore.model.peers import Catalog, Extraction, Realtime
from gateway.flight import servicer as flight
from gateway.front import Front
from gateway.known import KnownDefinitions
from gateway.lease import Leases
from gateway.resolver import Resolver
from gateway.servicer import GatewayServicer
from gateway.verifying import Verifications

SERVICES = ("featurestore.api.gateway.v1.FeatureStoreService", flight.SERVICE)


class GatewaySettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of the gateway."""

    folder: Path = Field(
        Path(".featurestore/gateway"),
        description="Where the copy of resolved ids and names is kept, for outages of the catalogue.",
    )
    verify_saves: bool = Field(
        True,
        description="Verify what is saved with an index key, in the background, and keep the report with it.",
    )
    demo: bool = Field(False, description="Let callers publish simulated customers (PublishDemo).")


@asynccontextmanager
async def mount(
    server: grpc.aio.Server,
    settings: GatewaySettings,
    *,
    catalog: Catalog,
    realtime: Realtime,
    extraction: Extraction,
    leases: Leases | None = None,
) -> AsyncIterator[Front]:
    """Answer the public service, and Arrow Flight, on `server` as long as the context is open.

    Args:
        leases: set in local mode: who is attached.
    """
    async with (
        KnownDefinitions(settings.folder / "known.sqlite") as known,
        Verifications(catalog, extraction, verify_saves=settings.verify_saves) as verifications,
    ):
        front = Front(catalog, realtime, extraction, Resolver(catalog, known), verifications)
        add_FeatureStoreServiceServicer_to_server(
            GatewayServicer(front, demo=settings.demo, leases=leases), server
        )
        server.add_generic_rpc_handlers((flight.handler(front),))
        yield front
