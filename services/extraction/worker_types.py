"""What goes into an ETL run and what comes out."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

import pyarrow as pa

from featurestore.etl.control import HEADER_BYTES, Caps
from featurestore.etl.declarations import Declarations

_IPC_SLACK = 2**20  # what the Arrow stream adds to its columns: schema, padding, offsets
_CPU_PER_SECOND = 4  # a script may keep some threads busy


class Sandbox(Enum):
    """How ETL scripts are kept from harm."""

    SEALED = "sealed"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True)
class EtlModule:
    """A file beside a script that it imports.

    Attributes:
        path: below the script's folder.
        blob_sha256: of the text.
    """

    source: str = field(repr=False)
    path: str
    blob_sha256: str

    @classmethod
    def of(cls, path: str, source: str) -> Self:
        """From its text."""
        return cls(source, path, hashlib.sha256(source.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class EtlCode:
    """A script's text, as pinned.

    Attributes:
        path: how it is named to people: its path in its repository.
        blob_sha256: of the text.
        modules: the files beside it that it imports, by path.
    """

    source: str = field(repr=False)
    path: str
    blob_sha256: str
    class_name: str = "Etl"
    modules: tuple[EtlModule, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """What workers are kept by: all that decides what the script does, and how it is named."""
        beside = [part for module in self.modules for part in (module.path, module.blob_sha256)]
        return (self.blob_sha256, self.path, self.class_name, *beside)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What ETLs may use.

    Attributes:
        serving_seconds: the default deadline of a serving call; `training_seconds` of a training run.
        output_bytes: the size of one call's result.
        memory_bytes: of data that one worker may have, beside pandas itself and the rows that it was given.
        workers: processes with a script, over all ETLs; one spare is kept besides.
        workers_per_etl: how many of them one ETL may have, so that a slow one does not block the others.
        calls_per_worker: after so many a worker makes way for a fresh one; so it does after any error.
        idle_seconds: a worker that was not asked for so long ends.
        batch_rows: the most rows of a query that one call gets, where training runs in parts.
        batch_keys: the most keys whose rows one call gets, where it runs once per key.
        packages: what scripts may import beside the basic ones (`featurestore.etl.packages`), as pip calls them.
    """

    serving_seconds: float = 2.0
    training_seconds: float = 300.0
    output_bytes: int = 2 * 2**30
    memory_bytes: int = 4 * 2**30
    workers: int = 8
    workers_per_etl: int = 4
    calls_per_worker: int = 500
    idle_seconds: float = 300.0
    batch_rows: int = 2**17
    batch_keys: int = 1_000
    packages: tuple[str, ...] = ()

    @property
    def training_workers(self) -> int:
        """How many workers one training run keeps busy: a core each, and one of the ETL's is left for its serving."""
        return max(1, min(os.cpu_count() or 1, self.workers_per_etl - 1))

    @property
    def reply_bytes(self) -> int:
        """The most that the Arrow stream of a result may have."""
        return 2 * self.output_bytes + _IPC_SLACK

    @property
    def busy_seconds(self) -> float:
        """After so much work a worker makes way for a fresh one, so that it never gets near its CPU limit."""
        return max(self.training_seconds, self.serving_seconds)

    @property
    def caps(self) -> Caps:
        """What a sealed worker is held to by the kernel."""
        return Caps(
            memory_bytes=self.memory_bytes,
            file_bytes=self.reply_bytes + HEADER_BYTES,
            cpu_seconds=math.ceil(2 * _CPU_PER_SECOND * self.busy_seconds),
        )


@dataclass(frozen=True, slots=True)
class EtlResult:
    """What an ETL made.

    Attributes:
        tables: one per input, all of `schema`; checked in full.
        schema: the contract, or what training produced; every field nullable, no metadata.
        undecided: without a contract, the columns whose types the rows don't decide.
        libraries: versions of python, pandas, pyarrow, numpy, and of the other packages that the script imported; empty if
            there was nothing to run on.
        declared: by the script; None if there was nothing to run on.
    """

    tables: list[pa.Table]
    schema: pa.Schema
    undecided: tuple[str, ...] = ()
    libraries: dict[str, str] = field(default_factory=dict)
    declared: Declarations | None = None
