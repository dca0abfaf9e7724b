"""Asking and answering: keys, answers, plans and reports."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

import pyarrow as pa

from featurestore.model.etl import PinnedScript
from featurestore.model.query import Column, Warned
from featurestore.model.table import Version
from featurestore.model.warming import CacheReport, CacheUse

KeyValue: TypeAlias = object
"""One part of an index value as a Python object: bool, int, float, Decimal, str, bytes, date, datetime, UUID."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The index values asked for, in the caller's order, duplicates kept.

    Attributes:
        columns: the index key's columns.
        tuples: 1 to 10,000, each as wide as `columns`.
    """

    columns: tuple[str, ...]
    tuples: tuple[tuple[KeyValue, ...], ...]


class AnswerFormat(Enum):
    """How the rows of an answer are encoded."""

    ARROW = "arrow"
    """One Arrow IPC stream: one schema message, one record batch per asked value, no dictionaries."""
    ROWS = "rows"
    """A serialised `featurestore.api.common.v1.RowSet`."""

    __hash__ = (
        object.__hash__
    )  # there is one object of each; Enum's own runs Python for every look into a dict


class Outcome(Enum):
    """Whether a key has rows."""

    FOUND = "found"
    ABSENT = "absent"

    __hash__ = object.__hash__  # as above


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """What was found for one asked value.

    Attributes:
        row_count: rows of this answer, after the ETL if there is one.
    """

    outcome: Outcome
    row_count: int


@dataclass(frozen=True, slots=True)
class LibraryDifference:
    """A library that an ETL ran with, in another version than when it was saved.

    Attributes:
        name: as pip calls it; or `python`.
        saved: the version at the last save; empty if the ETL did not import it then.
        served: the version that ran.
    """

    name: str
    saved: str
    served: str

    def __str__(self) -> str:
        return f"{self.name} {self.served} (saved with {self.saved or 'none'})"


@dataclass(frozen=True, slots=True)
class AnswerInfo:
    """Which query, code, contract and data made an answer.

    Attributes:
        data_version: the answer shows at least this version; the lowest among the keys.
        from_cache: all of the query's rows came from the answer cache.
        features_from_cache: the ETL was not run, because it declares itself pure and what it made of these very rows
            was kept.
        library_differences: libraries that the ETL ran with in other versions than were recorded when it was saved.
    """

    query_id: str
    data_version: Version
    etl_id: str = ""
    blob_sha256: str = ""
    contract_sha256: str = ""
    from_cache: bool = False
    features_from_cache: bool = False
    library_differences: tuple[LibraryDifference, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows for the asked keys.

    Attributes:
        keys: one per asked value, in the order asked.
        payload: the rows in that order, opaque, in `format`.
    """

    keys: tuple[KeyAnswer, ...]
    format: AnswerFormat
    payload: bytes
    info: AnswerInfo


@dataclass(frozen=True, slots=True)
class EtlRun:
    """A pinned ETL, and what it takes to run it on served rows.

    Attributes:
        input_columns: the query's stored columns: what `self.df` is made from.
        contract: what the result is held to.
    """

    etl_id: str
    query_id: str
    script: PinnedScript
    input_columns: tuple[Column, ...]
    contract: pa.Schema


@dataclass(frozen=True, slots=True)
class TrainHead:
    """What comes before the rows of a training result.

    Attributes:
        version: the data that the rows show, at the least.
    """

    schema: pa.Schema
    version: Version


@dataclass(slots=True)
class Progress:
    """How far a training result is, while it is read.

    Attributes:
        done_share: the part of the work that is behind the batches taken so far, 0 to 1; None while that is not known.
    """

    done_share: float | None = None


@dataclass(slots=True)
class TrainStream:
    """A training result on its way: the head is known, the batches come as they are computed.

    Attributes:
        batches: encapsulated Arrow IPC record-batch messages; with the head's schema message before and an
            end-of-stream marker after they make an Arrow IPC stream. Whoever holds it reads to the end or closes it.
        script: for an ETL, what was run, ready to be pinned.
        undecided: for an ETL, output columns whose type its rows did not decide.
        progress: told anew with each batch.
    """

    head: TrainHead
    batches: AsyncGenerator[bytes, None]
    script: PinnedScript | None = None
    undecided: tuple[str, ...] = ()
    progress: Progress = field(default_factory=Progress)


class Verdict(Enum):
    """How a query is served by an index key."""

    INDEXED = "indexed"
    PARTLY_INDEXED = "partly indexed"
    SCAN = "scan"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One table occurrence in a query, and how it is read for a key.

    Attributes:
        narrowed_on: the columns it is narrowed on; empty if it is read whole.
        narrowed_by: whose values: `key user_id`, or `values of orders.o_orderkey`, which are fetched first.
        rules: the laws by which the key came here, such as `GROUP_BY`; or the one that stopped it.
        stopped_by: why it is not narrowed, and what to write instead; empty if it is.
        index: the index by which DuckDB finds the rows; empty for a scan.
        estimated_rows: the rows that are read for one key, as DuckDB found or estimates.
    """

    table: str
    alias: str
    narrowed_on: str = ""
    narrowed_by: str = ""
    rules: tuple[str, ...] = ()
    stopped_by: str = ""
    index: str = ""
    estimated_rows: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a query is served by an index key.

    Attributes:
        cache: how its kept answers fare; None if they are never kept, or it is not known.
    """

    query_id: str
    index_key: tuple[str, ...]
    verdict: Verdict
    occurrences: tuple[Occurrence, ...]
    cacheable: bool
    not_cacheable_because: str
    plan: str
    warnings: tuple[Warned, ...] = ()
    cache: CacheUse | None = None

    @property
    def summary(self) -> str:
        """In a line for each table that is not found by an index, behind a line with the verdict."""
        slow = [f"{warned.reason}: {warned.message}" for warned in self.warnings]
        return "\n".join([self.verdict.value, *slow])


@dataclass(frozen=True, slots=True)
class RealtimeStatus:
    """Realtime at a glance.

    Attributes:
        plans_dropped: since the start, because an answer by plan differed from the plain query's; 0, or report it.
    """

    version: Version
    tables: int
    rows: int
    writable: bool
    not_writable_because: str = ""
    plans_dropped: int = 0
    cache: CacheReport = field(default_factory=CacheReport)


@dataclass(frozen=True, slots=True)
class ExtractionStatus:
    """Extraction at a glance: how far the warehouse has followed the log, and whether ETLs are run."""

    warehouse_version: Version
    etl_workers: int
    following: bool
    last_error: str = ""
    etls_refused: str = ""


@dataclass(frozen=True, slots=True)
class CatalogStatus:
    """The catalogue at a glance."""

    queries: int
    etls: int
    backend: str = field(default="")
