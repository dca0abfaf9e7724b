"""Queries: what a data scientist saves, and what it takes to run it on either side."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import pyarrow as pa

from featurestore.model.verifying import KeptReport


@dataclass(frozen=True, slots=True)
class Column:
    """One output column of a query.

    Attributes:
        name: as the query returns it.
        type: the Arrow type in which it leaves the store.
        engine_type: DuckDB's own type inside the query, such as `HUGEINT`, `UUID` or `DECIMAL(10,2)`.
    """

    name: str
    type: pa.DataType
    engine_type: str


@dataclass(frozen=True, slots=True)
class OrderTerm:
    """One term of an ORDER BY that may be repeated outside the wrapper: a bare output column."""

    column: str
    descending: bool
    nulls_first: bool


@dataclass(frozen=True)
class QueryForm:
    """All that is needed to run a query on either side, and to get the same columns there.

    Attributes:
        sql: the text as saved, without a trailing semicolon.
        columns: the stored output columns; both sides select exactly these.
        order: repeated outside the wrapper on both sides; empty when no order is promised.
    """

    sql: str
    columns: tuple[Column, ...]
    order: tuple[OrderTerm, ...] = ()

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of every answer: all fields nullable, no metadata."""
        return pa.schema([pa.field(column.name, column.type) for column in self.columns])

    @cached_property
    def nested(self) -> bool:
        """Whether a column's type has types inside, whose names Arrow's equality takes no notice of."""
        return any(map(pa.types.is_nested, self.schema.types))

    def column(self, name: str) -> Column | None:
        """The output column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the saver should know and that does not stop the save."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Notes:
    """What people write beside a saved query or ETL. Not part of its identity."""

    owner: str = ""
    description: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueryDraft:
    """A checked query on its way into the catalogue.

    Attributes:
        form: what runs.
        canonical: the text without layout, comments and keyword case; part of the content key.
        tables: the tables that it reads, without the schema, sorted.
        name: the label to save it under; empty for none.
        index_key: the declared index key; empty for none.
        uses_clock: it calls now() or the like, so that its answers change with time alone.
        served: how the index key serves it, `Explanation.summary`; empty if it is not known.
    """

    form: QueryForm
    canonical: str
    tables: tuple[str, ...]
    name: str = ""
    index_key: tuple[str, ...] = ()
    served: str = ""
    notes: Notes = field(default_factory=Notes)
    warnings: tuple[Warned, ...] = ()
    uses_clock: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A saved query. Immutable, but for what is collected beside it.

    Attributes:
        names: the labels that point at it now, such as `demo_query` or `demo_query@2`.
        index_keys: every index key that a save declared.
        served: of each of them, how it served the query when it was declared; empty if that is not known.
        reports: the last one of each index key by which it was verified, the newest first.
    """

    query_id: str
    form: QueryForm
    canonical: str
    tables: tuple[str, ...]
    notes: Notes
    warnings: tuple[Warned, ...]
    uses_clock: bool
    created_at: datetime
    names: tuple[str, ...] = ()
    index_keys: tuple[tuple[str, ...], ...] = ()
    served: tuple[str, ...] = ()
    reports: tuple[KeptReport, ...] = ()
