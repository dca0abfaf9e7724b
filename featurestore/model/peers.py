"""What the services offer each other.

Each protocol has two implementations: the service's own object, when it runs in the same process, and a thin
adapter over its generated stub (`featurestore.rpc.remote_*`) when it does not. A caller can't tell which.
Every method may raise `Unavailable` (the peer can't be reached) and `DeadlineExceeded`; the deadline is the one of
`featurestore.model.deadline`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import pyarrow as pa

from featurestore.model.etl import Etl, EtlDraft, EtlSource
from featurestore.model.names import Kind
from featurestore.model.query import Column, Query, QueryDraft, QueryForm
from featurestore.model.serving import (
    Answer,
    AnswerFormat,
    CatalogStatus,
    EtlRun,
    Explanation,
    ExtractionStatus,
    Keys,
    RealtimeStatus,
    TrainStream,
)
from featurestore.model.table import Frame, Published, TableDefinition, TableInfo, TableRows, Version
from featurestore.model.verifying import KeptReport, VerifyReport
from featurestore.model.warming import Warmed


class Catalog(Protocol):
    """What is known: queries, ETLs, names. An id means the same for ever; only reports are replaced."""

    async def save_query(self, draft: QueryDraft) -> Query:
        """Save a query; saving the same content again returns the same query.

        Raises:
            InvalidArgument: `BAD_NAME`.
        """
        ...

    async def save_etl(self, draft: EtlDraft) -> Etl:
        """Save an ETL; the same code, query and contract again is the same ETL, with one more provenance.

        Raises:
            InvalidArgument: `BAD_NAME`.
            NotFound: `UNKNOWN_QUERY`.
        """
        ...

    async def save_report(self, public_id: str, report: KeptReport) -> None:
        """Keep the report of verifying a query or an ETL by an index key, in place of an earlier one.

        Raises:
            NotFound: `UNKNOWN_QUERY`, `UNKNOWN_ETL`.
        """
        ...

    async def get_query(self, query_id: str) -> Query:
        """The saved query with this id.

        Raises:
            NotFound: `UNKNOWN_QUERY`.
        """
        ...

    async def get_etl(self, etl_id: str) -> Etl:
        """The saved ETL with this id.

        Raises:
            NotFound: `UNKNOWN_ETL`.
        """
        ...

    async def name_versions(self, kind: Kind, name: str) -> tuple[str, ...]:
        """The ids that the name has stood for, oldest first: version N is the N-th. Empty for an unknown name."""
        ...

    async def list_queries(self, page_size: int, page_token: str) -> tuple[tuple[Query, ...], str]:
        """Queries by age, newest first, and the next page's token; empty on the last page.

        Raises:
            InvalidArgument: `BAD_PAGE`.
        """
        ...

    async def list_etls(self, page_size: int, page_token: str) -> tuple[tuple[Etl, ...], str]:
        """ETLs by age, newest first, and the next page's token; empty on the last page.

        Raises:
            InvalidArgument: `BAD_PAGE`.
        """
        ...

    async def status(self) -> CatalogStatus:
        """How much is known."""
        ...


class Realtime(Protocol):
    """What is hot: the log, the tables in memory, answers by key."""

    async def create_table(self, table: TableDefinition) -> TableInfo:
        """Create a table, or alter it to a superset with nullable additions; the same again changes nothing.

        Raises:
            InvalidArgument: `BAD_NAME`, `BAD_TABLE`, `UNSUPPORTED_TYPE`.
            AlreadyExists: `TABLE_DEFINED_OTHERWISE`.
        """
        ...

    async def drop_table(self, table: str) -> Version:
        """Drop a table and its rows.

        Raises:
            NotFound: `UNKNOWN_TABLE`.
        """
        ...

    async def publish(self, publish_id: str, tables: Sequence[TableRows]) -> Published:
        """Apply rows of one or more tables as one version: durable and visible when this returns.

        Raises:
            InvalidArgument: `UNKNOWN_COLUMN`, `MISSING_COLUMN`, `COLUMN_TYPE`, `NULL_IN_KEY`, `NULL_VALUE`,
                `PUBLISH_ID_REUSED`, `UNSUPPORTED_TYPE`, `BAD_TABLE`, `BAD_NAME`, `BAD_ARROW`.
            AlreadyExists: `TABLE_DEFINED_OTHERWISE`.
            Unavailable: `READ_ONLY` after the log failed.
        """
        ...

    async def delete(self, publish_id: str, table: str, keys: bytes | Keys) -> Published:
        """Delete rows by primary key, given as an Arrow IPC stream with the key's columns or as values.

        Raises:
            NotFound: `UNKNOWN_TABLE`.
            InvalidArgument: `NO_PRIMARY_KEY`, `KEY_VALUE`, `KEY_NULL`, `MISSING_COLUMN`, `PUBLISH_ID_REUSED`.
        """
        ...

    async def get_table(self, table: str) -> TableInfo:
        """One table.

        Raises:
            NotFound: `UNKNOWN_TABLE`.
        """
        ...

    async def list_tables(self) -> tuple[TableInfo, ...]:
        """All tables by name."""
        ...

    async def describe(self, sql: str) -> tuple[Column, ...]:
        """Bind a checked query and return its output columns.

        Raises:
            InvalidArgument: `UNKNOWN_TABLE`, `UNKNOWN_COLUMN`, `UNKNOWN_FUNCTION`, `SQL_BIND`,
                `DUPLICATE_COLUMN`, `UNSUPPORTED_TYPE`.
        """
        ...

    async def query(self, query_id: str, form: QueryForm, keys: Keys, answer_format: AnswerFormat) -> Answer:
        """The rows that the query would show for each key.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`, `KEY_VALUE`, `KEY_NULL`, `KEY_WIDTH`,
                `KEYS_EMPTY`, `KEYS_TOO_MANY`, `SQL_VALUE`.
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
            ResourceExhausted: `ANSWER_TOO_LARGE`.
        """
        ...

    async def explain(self, query_id: str, form: QueryForm, index_key: tuple[str, ...]) -> Explanation:
        """How the query is served by this index key.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`.
        """
        ...

    async def warm(
        self,
        query_id: str,
        form: QueryForm,
        index_key: tuple[str, ...],
        keys: Keys | None,
        *,
        keep: bool | None,
        answer_format: AnswerFormat,
    ) -> Warmed:
        """Have answers kept before anybody asks, within the cache's bytes and behind everything else.

        Args:
            keys: None for all that the query shows; else 1 to 10,000, whose columns count instead of `index_key`.
            keep: True to have answers of the query that writes spoil computed again behind them, until realtime ends;
                False to have that no longer (without keys, nothing is computed then); None leaves it as it is.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`, `KEY_VALUE`, `KEY_NULL`, `KEY_WIDTH`,
                `KEYS_EMPTY`, `KEYS_TOO_MANY`, `SQL_VALUE`.
            FailedPrecondition: `NOT_CACHEABLE`, `QUERY_SCHEMA_CHANGED`.
        """
        ...

    async def declare(self, query_id: str, form: QueryForm, index_key: tuple[str, ...]) -> Explanation:
        """Have the query served by this index key for good: index the columns that its plan narrows on, then explain.

        An index that can't be built within the call, because old reads are in its way, is built later.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`.
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
        """
        ...

    async def sample_keys(self, form: QueryForm, index_key: tuple[str, ...], count: int) -> pa.Table:
        """Up to `count` distinct keys without nulls that the query shows now; columns as in the answers."""
        ...

    async def version(self) -> Version:
        """The version that a read which starts now sees, at the least."""
        ...

    def follow(self, after: Version | None) -> AsyncIterator[tuple[str, Sequence[Frame]]]:
        """Frames after the given version, in order, for ever: (log id, the next frames in one piece).

        Raises:
            FailedPrecondition: `OTHER_LOG`: the version is of another log.
        """
        ...

    async def status(self) -> RealtimeStatus:
        """How it is."""
        ...


class Extraction(Protocol):
    """What is computed: training results from the warehouse, ETLs, contracts, verification."""

    async def describe(self, sql: str, at_least: Version) -> tuple[Column, ...]:
        """Bind a checked query on the warehouse; see `Realtime.describe`.

        Raises:
            Unavailable: `WAREHOUSE_BEHIND`.
        """
        ...

    async def query_train(
        self, form: QueryForm, at_least: Version, *, head_only: bool = False
    ) -> TrainStream:
        """Run the query on the warehouse.

        Raises:
            InvalidArgument: `SQL_VALUE`.
            Unavailable: `WAREHOUSE_BEHIND` near the deadline, with both versions.
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
        """
        ...

    async def extract_train(
        self,
        form: QueryForm,
        at_least: Version,
        source: EtlSource | EtlRun,
        *,
        pin: bool,
        index_key: tuple[str, ...] = (),
    ) -> TrainStream:
        """Run the query on the warehouse, then the ETL over all of its rows.

        An ETL that declares granularity `rows` gets them in batches, in the query's order; one that declares `key` gets
        the rows of one index value at a time, in the values' order, rows with a null in the key left out. Both run while
        the result is read: what they raise then comes out of `batches`.

        Args:
            source: a script that is not saved, or a saved ETL.
            pin: the result is to be saved: the script must be committed and every output type decided.
            index_key: columns of the query; needed for granularity `key`.

        Raises:
            InvalidArgument: `ETL_ADDRESS`, `ETL_SOURCE`, `SQL_VALUE`; for granularity `key` `MISSING_INDEX_KEY`,
                `UNKNOWN_KEY_COLUMN`, `KEY_COLUMN_TWICE`, `KEY_TYPE`.
            NotFound: `ETL_SOURCE`.
            FailedPrecondition: `ETL_EXCEPTION`, `ETL_NO_FRAME`, `ETL_NOT_COMMITTED`, `ETL_OUTPUT_TYPE`,
                `CONTRACT_UNDECIDED`, `CONTRACT_BROKEN`, `ETL_SOURCE`.
            DeadlineExceeded: `ETL_TIMEOUT`.
            ResourceExhausted: `ETL_OUTPUT`; `ETL_INPUT`: more rows than an ETL may get at once.
            PermissionDenied: `GIT_SCHEME`.
            Unavailable: `GIT_UNREACHABLE`, `WAREHOUSE_BEHIND`.
        """
        ...

    async def run_etl(self, run: EtlRun, answer: Answer, answer_format: AnswerFormat) -> Answer:
        """Run a pinned ETL on served rows, once per found key, and hold the result against its contract.

        Args:
            answer: of the ETL's query, in Arrow.

        Raises:
            FailedPrecondition: `CONTRACT_BROKEN`, `ETL_EXCEPTION`, `ETL_NO_FRAME`, `ETL_SOURCE`.
            DeadlineExceeded: `ETL_TIMEOUT`.
            ResourceExhausted: `ETL_OUTPUT`, `ANSWER_TOO_LARGE`.
            Unavailable: `GIT_UNREACHABLE`.
        """
        ...

    async def verify(
        self,
        query_id: str,
        form: QueryForm,
        etl: EtlRun | None,
        index_key: tuple[str, ...],
        sample: int,
        *,
        exact: bool = False,
    ) -> VerifyReport:
        """Serve sampled keys through the real path, compare them with training, by value, and say why they differ.

        Args:
            sample: keys that are taken from training at random, besides those where things go wrong most.
            exact: floats must be equal to the last bit; else within 1e-9 relative.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`, `BAD_SAMPLE`.
            Unavailable: `WAREHOUSE_BEHIND`.
        """
        ...

    async def status(self) -> ExtractionStatus:
        """How it is."""
        ...
