"""Tables, and the frames of the log that define, fill and change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Version:
    """A moment in the life of the data: the log, and the last frame of it that is visible."""

    log_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """What a table is.

    Attributes:
        schema: Arrow types of the columns; a field that is not nullable must be given in every row.
        primary_key: its columns; empty for a table that is only appended to.
        event_time: the column that says when a row became true; None if there is none.
    """

    name: str
    schema: pa.Schema
    primary_key: tuple[str, ...] = ()
    event_time: str | None = None


@dataclass(frozen=True, slots=True)
class Define:
    """Create the table, or alter it to a superset of its columns."""

    table: TableDefinition


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove the table and its rows."""

    table: str


@dataclass(frozen=True, slots=True)
class Put:
    """Upsert whole rows by primary key, or append where there is none.

    Attributes:
        rows: exactly the table's columns and types, in its order.
    """

    table: str
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the rows with these primary keys; keys without a row are no error.

    Attributes:
        keys: exactly the primary-key columns and types, in the key's order.
    """

    table: str
    keys: pa.Table


Operation: TypeAlias = Define | Drop | Put | Remove


@dataclass(frozen=True, slots=True)
class Frame:
    """One entry of the log: what one accepted publish did, all of it or nothing.

    Attributes:
        sequence: its place in the log, from 1.
        publish_id: made by the client, unique in the log.
        operations: in the order in which they apply.
    """

    sequence: int
    publish_id: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class TableRows:
    """What a caller wants published into one table, not yet judged.

    Attributes:
        arrow_stream: the rows as they came, an Arrow IPC stream, not decoded on the way: realtime decodes,
            validates and casts them off the event loop.
        primary_key: None means "as the table has it", or none for a new table.
        event_time: likewise.
    """

    table: str
    arrow_stream: bytes
    primary_key: tuple[str, ...] | None = None
    event_time: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """The acknowledgement of a publish or delete: durable in the log and visible in realtime.

    Attributes:
        rows: how many rows came in (for a delete: keys).
        version: a read at or after this version sees them.
    """

    rows: int
    version: Version


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table as it is now.

    Attributes:
        row_count: rows in realtime at `version`.
    """

    definition: TableDefinition
    row_count: int
    version: Version
