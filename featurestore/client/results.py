"""What calls return: plain, printable, and well shown in notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from featurestore.client import frames
from featurestore.client.grids import grid, html_grid
from featurestore.client.verified import Verified
from featurestore.model.etl import Etl, Provenance
from featurestore.model.query import Query, Warned
from featurestore.model.serving import (
    AnswerInfo,
    Explanation,
    KeyAnswer,
    Occurrence,
)
from featurestore.model.table import TableInfo, Version
from featurestore.model.warming import CacheReport, CacheUse

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_SHOWN_ROWS = 10


class Rows:
    """Rows in Arrow, to be read as one likes."""

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table."""
        raise NotImplementedError

    def to_pandas(self) -> pd.DataFrame:
        """The rows as pandas; dtypes depend on the schema alone, never on the rows at hand."""
        return frames.to_pandas(self.to_arrow())

    def to_polars(self) -> pl.DataFrame:
        """The rows as polars."""
        return frames.to_polars(self.to_arrow())

    def to_pylist(self) -> list[dict[str, Any]]:
        """The rows as dicts."""
        rows: list[dict[str, Any]] = self.to_arrow().to_pylist()
        return rows


@dataclass(frozen=True, repr=False)
class KeyRows(Rows):
    """The answer for one index value.

    Attributes:
        key: as it was asked for.
        outcome: `found` or `absent`.
    """

    key: object
    outcome: str
    row_count: int
    table: pa.Table

    def to_arrow(self) -> pa.Table:
        """The rows of this value."""
        return self.table

    def __repr__(self) -> str:
        return f"KeyRows(key={self.key!r}, outcome={self.outcome!r}, row_count={self.row_count})"


@dataclass(frozen=True, repr=False)
class Served(Rows):
    """Live rows, or live features, for the asked index values.

    Attributes:
        answers: one per asked value, in the order asked, duplicates kept.
        info: which query, code, contract and data made them.
    """

    answers: tuple[KeyRows, ...]
    info: AnswerInfo
    schema: pa.Schema

    @classmethod
    def of(
        cls, keys: Sequence[object], found: Sequence[KeyAnswer], stream: bytes, info: AnswerInfo
    ) -> Served:
        """From a reply: one record batch per asked value."""
        with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
            schema = reader.schema
            tables = [pa.Table.from_batches([batch], schema) for batch in reader]
        answers = tuple(
            KeyRows(key, answer.outcome.value, answer.row_count, table)
            for key, answer, table in zip(keys, found, tables, strict=True)
        )
        return cls(answers, info, schema)

    def to_arrow(self) -> pa.Table:
        """The rows of all values, one after the other."""
        return pa.concat_tables([self.schema.empty_table(), *(answer.table for answer in self.answers)])

    def __repr__(self) -> str:
        return f"{grid(self.schema.names, _shown(self.to_arrow()))}\n{self._caption}"

    def _repr_html_(self) -> str:
        return html_grid(self.schema.names, _shown(self.to_arrow()), self._caption)

    @property
    def _caption(self) -> str:
        found = sum(answer.outcome == "found" for answer in self.answers)
        rows = sum(answer.row_count for answer in self.answers)
        return f"{rows} rows; {found} of {len(self.answers)} values found; version {self.info.data_version.sequence}"


def _shown(table: pa.Table) -> list[list[object]]:
    rows = [list(row.values()) for row in table.slice(0, _SHOWN_ROWS).to_pylist()]
    return rows if table.num_rows <= _SHOWN_ROWS else [*rows, ["..."] * table.num_columns]


@dataclass(frozen=True, repr=False)
class Explained:
    """How a query is served by an index key.

    Attributes:
        verdict: `indexed`, `partly indexed` or `scan`.
        occurrences: one per table occurrence.
        plan: the engine's own plan, as text.
        cache: how its kept answers fare, and whether it is kept warm; None if they are never kept.
    """

    query_id: str
    index_key: tuple[str, ...]
    verdict: str
    occurrences: tuple[Occurrence, ...]
    cacheable: bool
    not_cacheable_because: str
    plan: str
    warnings: tuple[Warned, ...]
    cache: CacheUse | None = None

    @classmethod
    def of(cls, found: Explanation) -> Explained:
        """From the model."""
        return cls(
            found.query_id,
            found.index_key,
            found.verdict.value,
            found.occurrences,
            found.cacheable,
            found.not_cacheable_because,
            found.plan,
            found.warnings,
            found.cache,
        )

    _HEADER = ("table", "alias", "narrowed on", "by", "index", "rows", "rules", "stopped because")

    def _rows(self) -> list[tuple[object, ...]]:
        return [
            (
                o.table,
                o.alias,
                o.narrowed_on or "-",
                o.narrowed_by or "-",
                o.index or "scan",
                o.estimated_rows,
                ", ".join(o.rules),
                o.stopped_by,
            )
            for o in self.occurrences
        ]

    def __repr__(self) -> str:
        warned = "".join(f"\nwarning: {warning.message}" for warning in self.warnings)
        kept = "" if self.cache is None else f"\ncache: {self.cache}"
        return f"{self._caption}\n{grid(self._HEADER, self._rows())}{kept}{warned}"

    def _repr_html_(self) -> str:
        return html_grid(self._HEADER, self._rows(), self._caption)

    @property
    def _caption(self) -> str:
        kept = "cacheable" if self.cacheable else f"not cacheable: {self.not_cacheable_because}"
        return f"{self.query_id} by {', '.join(self.index_key)}: {self.verdict}; {kept}"


@dataclass(frozen=True)
class SavedQuery:
    """A saved query as the catalogue has it.

    Attributes:
        index_keys: those that saves declared.
        served: of each of them, how it served the query then: the verdict, then a line for each table without an index.
        verified: the last report by each index key; empty while it is not verified yet.
    """

    query_id: str
    names: tuple[str, ...]
    sql: str
    schema: pa.Schema
    tables: tuple[str, ...]
    index_keys: tuple[tuple[str, ...], ...]
    served: tuple[str, ...]
    created_at: datetime
    owner: str = ""
    description: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    warnings: tuple[Warned, ...] = ()
    verified: tuple[Verified, ...] = ()

    @classmethod
    def of(cls, query: Query) -> SavedQuery:
        """From the model."""
        return cls(
            query.query_id,
            query.names,
            query.form.sql,
            query.form.schema,
            query.tables,
            query.index_keys,
            query.served,
            query.created_at,
            query.notes.owner,
            query.notes.description,
            query.notes.labels,
            query.warnings,
            tuple(map(Verified.of_kept, query.reports)),
        )


@dataclass(frozen=True)
class SavedEtl:
    """A saved ETL as the catalogue has it.

    Attributes:
        granularity: what one result depends on, by the script's own word: `rows`, `key` or `frame`.
        pure: the same rows always give the same result, likewise, so that features of a key may be kept.
        kind: `pandas`, `arrow`, `polars` or `sql`.
        neighbours: (path below the script's folder, SHA-256) of the files beside it that it imports.
        verified: the last report by each index key; empty while it is not verified yet.
    """

    etl_id: str
    names: tuple[str, ...]
    query_id: str
    contract: pa.Schema
    blob_sha256: str
    provenances: tuple[Provenance, ...]
    created_at: datetime
    owner: str = ""
    description: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    granularity: str = "frame"
    pure: bool = False
    kind: str = "pandas"
    neighbours: tuple[tuple[str, str], ...] = ()
    verified: tuple[Verified, ...] = ()

    @classmethod
    def of(cls, etl: Etl) -> SavedEtl:
        """From the model."""
        return cls(
            etl.etl_id,
            etl.names,
            etl.query_id,
            etl.contract,
            etl.blob_sha256,
            etl.provenances,
            etl.created_at,
            etl.notes.owner,
            etl.notes.description,
            etl.notes.labels,
            etl.declared.granularity,
            etl.declared.pure,
            etl.declared.kind,
            etl.neighbours,
            tuple(map(Verified.of_kept, etl.reports)),
        )


@dataclass(frozen=True)
class TableShown:
    """A table as it is now."""

    name: str
    schema: pa.Schema
    primary_key: tuple[str, ...]
    event_time: str | None
    row_count: int
    version: Version

    @classmethod
    def of(cls, info: TableInfo) -> TableShown:
        """From the model."""
        table = info.definition
        return cls(
            table.name, table.schema, table.primary_key, table.event_time, info.row_count, info.version
        )


@dataclass(frozen=True)
class DemoPublished:
    """What a demo publish did."""

    flows: int
    rows: int
    version: Version


@dataclass(frozen=True)
class Status:
    """The store at a glance.

    Attributes:
        problems: what is not as it should be; empty when all is well.
        cache: how realtime's answer cache does, and which queries are kept warm; None while realtime does not answer.
    """

    package_version: str
    realtime_version: Version
    warehouse_version: Version
    tables: int
    rows: int
    queries: int
    etls: int
    etl_workers: int
    problems: tuple[str, ...]
    cache: CacheReport | None = None

    @property
    def lag(self) -> int:
        """Frames of the log that the warehouse does not hold yet."""
        return self.realtime_version.sequence - self.warehouse_version.sequence
