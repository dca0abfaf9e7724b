"""What goes into an ETL run and what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

import pyarrow as pa

from featurestore.etl.control import HEADER_BYTES, Caps

_IPC_SLACK = 2**20  # what the Arrow stream adds to its columns: schema, padding, offsets
_CPU_PER_SECOND = 4  # a script may keep some threads busy


class Sandbox(Enum):
    """How ETL scripts are kept from harm."""

    SEALED = "sealed"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True)
class EtlCode:
    """A script's text, as pinned.

    Attributes:
        path: how it is named to people: its path in its repository.
        blob_sha256: of the text; workers are kept by it.
    """

    source: str = field(repr=False)
    path: str
    blob_sha256: str
    class_name: str = "Etl"


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
    """

    serving_seconds: float = 2.0
    training_seconds: float = 300.0
    output_bytes: int = 2 * 2**30
    memory_bytes: int = 4 * 2**30
    workers: int = 8
    workers_per_etl: int = 4
    calls_per_worker: int = 500
    idle_seconds: float = 300.0

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
    """

    tables: list[pa.Table]
    schema: pa.Schema
    undecided: tuple[str, ...] = ()
    libraries: dict[str, str] = field(default_factory=dict)
