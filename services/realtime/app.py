"""Realtime as a part of a process: settings -> parts -> servicer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc.aio
from pydantic import BaseModel, Field

from featurestore.api.realtime.v1.realtime_pb2_grpc import add_RealtimeServiceServicer_to_server
from featurestore.model.peers import Realtime
from services.realtime.realtime import RealtimeService
from services.realtime.servicer import RealtimeServicer

SERVICE = "featurestore.api.realtime.v1.RealtimeService"


class RealtimeSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of realtime."""

    folder: Path = Field(
        Path(".featurestore/realtime"),
        description="Where the log lies: what every acknowledged publish is safe in.",
    )
    readers: int = Field(4, ge=1, description="Queries that run at once.")
    threads: int = Field(2, ge=1, description="Worker threads of the engine.")
    memory: str = Field("4GB", description="What the engine may use, with its unit; the tables live in it.")
    cache_bytes: int = Field(
        256 * 2**20, ge=0, description="What answers that are kept may take beside that; 0 keeps none."
    )
    warm_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="A query whose misses took more than this share of the readers' time within 30 s is warmed by "
        "itself, and kept warm; 0 for none.",
    )


def opened(settings: RealtimeSettings) -> RealtimeService:
    """Realtime, to be entered: the log is replayed then."""
    return RealtimeService(
        settings.folder,
        readers=settings.readers,
        engine_threads=settings.threads,
        memory_limit=settings.memory,
        cache_bytes=settings.cache_bytes,
        warm_share=settings.warm_share,
    )


def add_to(server: grpc.aio.Server, realtime: Realtime, draining: asyncio.Event) -> str:
    """Answer realtime's service on `server`, letting followers go once `draining` is set; returns the service's name."""
    add_RealtimeServiceServicer_to_server(RealtimeServicer(realtime, draining), server)
    return SERVICE
