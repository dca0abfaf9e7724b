"""Extraction as a part of a process: settings -> parts -> servicer."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import grpc.aio
from pydantic import BaseModel, Field, field_validator

from featurestore.api.extraction.v1.extraction_pb2_grpc import add_ExtractionServiceServicer_to_server
from featurestore.etl import packages
from featurestore.model.peers import Extraction, Realtime
from services.extraction.extraction import ExtractionService
from services.extraction.git_settings import GitSettings
from services.extraction.servicer import ExtractionServicer
from services.extraction.warehouse import WarehouseSettings
from services.extraction.worker_types import Sandbox, WorkerLimits

SERVICE = "featurestore.api.extraction.v1.ExtractionService"


class ExtractionSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of extraction."""

    folder: Path = Field(
        Path(".featurestore/warehouse"),
        description="Where the warehouse and the cache of pinned scripts lie.",
    )
    warehouse_memory: str = Field(
        "1GB", description="What the warehouse may use for buffers, with its unit; more spills."
    )
    warehouse_cache: str = Field(
        "128MB",
        description="Of the warehouse's memory, what rows that were read may keep; the rest is for joins, sorts and aggregates.",
    )
    warehouse_threads: int = Field(2, ge=1, description="Worker threads of the warehouse.")
    git_schemes: str = Field(
        "https,ssh", description="How scripts may be fetched, comma-separated: https, ssh, file, http."
    )
    git_hosts: str = Field(
        "", description="The only hosts that scripts are fetched from, comma-separated; empty for any."
    )
    git_networks: str = Field(
        "",
        description="Networks that are not public and that scripts may be fetched from all the same, comma-separated, such as "
        "`10.0.0.0/8`. Public addresses always may, and in a local store every address.",
    )
    git_secrets: str = Field(
        "",
        description="A folder with a token (`<host>.token`) or an ssh key (`<host>.key`) for each host with private "
        "repositories; each file of this service's user or root, readable for no others.",
    )
    git_ca_file: str = Field(
        "",
        description="Authorities that sign the certificates of git servers, in PEM; empty for the well-known ones.",
    )
    git_seconds: float = Field(30.0, gt=0, description="For one fetch.")
    git_pack_bytes: int = Field(
        256 * 2**20, gt=0, description="What a server may send for one fetch, compressed."
    )
    git_objects: int = Field(200_000, gt=0, description="How many files, folders and commits that may be.")
    git_inflated_bytes: int = Field(
        2 * 2**30, gt=0, description="What they may have uncompressed, all together."
    )
    git_memory_bytes: int = Field(
        512 * 2**20, gt=0, description="What the process of one fetch may use; at most four run at a time."
    )
    etl_serving_seconds: float = Field(2.0, gt=0, description="What an ETL has in serving.")
    etl_training_seconds: float = Field(300.0, gt=0, description="What an ETL has in training.")
    etl_workers: int = Field(
        8, ge=1, description="Warm ETL processes, over all ETLs; one spare is kept besides."
    )
    etl_workers_per_etl: int = Field(
        4,
        ge=1,
        description="How many of them one ETL may have, so that a slow one does not block the others.",
    )
    etl_idle_seconds: float = Field(
        300.0, gt=0, description="An ETL process that was not asked for so long ends."
    )
    etl_memory_bytes: int = Field(
        4 * 2**30, gt=0, description="What one ETL process may allocate, beside the rows that it is given."
    )
    etl_output_bytes: int = Field(2 * 2**30, gt=0, description="The largest result of one ETL call.")
    etl_input_bytes: int = Field(
        2 * 2**30, gt=0, description="The most training rows, in bytes, that one ETL gets."
    )
    etl_cache_bytes: int = Field(
        64 * 2**20,
        ge=0,
        description="What features of single keys may take that are kept for ETLs which declare themselves pure; 0 keeps none.",
    )
    etl_packages: str = Field(
        "",
        description="What ETL scripts may import beside numpy, pandas, pyarrow, polars, duckdb and what these require: "
        "packages as pip calls them, comma-separated, installed beside this service.",
    )
    sandbox: Literal["sealed", "unsafe"] = Field(
        "sealed",
        description="`sealed`: ETL scripts run without files, network and other processes, or, where the kernel can't do "
        "that, not at all. `unsafe`: they run in plain processes and may do whatever this service may.",
    )

    @field_validator("git_networks")
    @classmethod
    def _readable_networks(cls, listed: str) -> str:
        for network in _parts(listed):
            ipaddress.ip_network(network)  # whose error names what it can't read
        return listed

    @field_validator("etl_packages")
    @classmethod
    def _installed(cls, listed: str) -> str:
        packages.allowed(tuple(_parts(listed)))
        return listed


def opened(
    settings: ExtractionSettings, realtime: Realtime, git_environment: Mapping[str, str]
) -> ExtractionService:
    """Extraction, to be entered: it follows realtime's log from then on.

    Args:
        git_environment: what the processes that read git see of the environment.
    """
    return ExtractionService(
        settings.folder,
        realtime,
        warehouse=WarehouseSettings(
            memory_limit=settings.warehouse_memory,
            cache_limit=settings.warehouse_cache,
            threads=settings.warehouse_threads,
        ),
        git=GitSettings(
            schemes=frozenset(_parts(settings.git_schemes)),
            hosts=frozenset(host.lower() for host in _parts(settings.git_hosts)) or None,
            networks=frozenset(_parts(settings.git_networks)),
            secrets=_absolute(settings.git_secrets),
            ca_file=_absolute(settings.git_ca_file),
            fetch_timeout_seconds=settings.git_seconds,
            max_pack_bytes=settings.git_pack_bytes,
            max_objects=settings.git_objects,
            max_inflated_bytes=settings.git_inflated_bytes,
            memory_bytes=settings.git_memory_bytes,
            environment=frozenset(git_environment.items()),
        ),
        workers=WorkerLimits(
            serving_seconds=settings.etl_serving_seconds,
            training_seconds=settings.etl_training_seconds,
            output_bytes=settings.etl_output_bytes,
            workers=settings.etl_workers,
            workers_per_etl=settings.etl_workers_per_etl,
            idle_seconds=settings.etl_idle_seconds,
            memory_bytes=settings.etl_memory_bytes,
            packages=tuple(_parts(settings.etl_packages)),
        ),
        sandbox=Sandbox(settings.sandbox),
        etl_input_bytes=settings.etl_input_bytes,
        etl_cache_bytes=settings.etl_cache_bytes,
    )


def add_to(server: grpc.aio.Server, extraction: Extraction) -> str:
    """Answer extraction's service on `server`; returns the service's name."""
    add_ExtractionServiceServicer_to_server(ExtractionServicer(extraction), server)
    return SERVICE


def _absolute(path: str) -> str:
    """For a program that works elsewhere; empty stays empty."""
    return str(Path(path).resolve()) if path else ""


def _parts(listed: str) -> list[str]:
    return [part.strip() for part in listed.split(",") if part.strip()]
