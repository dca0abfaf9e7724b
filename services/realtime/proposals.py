"""What callers want written, and the judgement that turns it into operations: pure, in log order."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa

from featurestore.engine.apply import Tables
from featurestore.engine.casting import cast_exact, cast_keys
from featurestore.engine.column_types import duckdb_type
from featurestore.engine.key_values import convert
from featurestore.engine.tables import altered, checked, identity, key_schema
from featurestore.model import frames
from featurestore.model.errors import AlreadyExists, InvalidArgument, NotFound
from featurestore.model.query import Column
from featurestore.model.serving import Keys, KeyValue
from featurestore.model.table import Define, Drop, Operation, Put, Remove, TableDefinition, TableRows

_MAX_PUBLISH_ID_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Publish:
    """Rows for one or more tables, as one version."""

    publish_id: str
    tables: tuple[TableRows, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Rows to remove, by primary key."""

    publish_id: str
    table: str
    keys: bytes | Keys


@dataclass(frozen=True, slots=True)
class Create:
    """A table to create or alter."""

    table: TableDefinition
    publish_id: str = field(default_factory=lambda: f"create-{uuid.uuid4().hex}")


@dataclass(frozen=True, slots=True)
class DropTable:
    """A table to drop."""

    table: str
    publish_id: str = field(default_factory=lambda: f"drop-{uuid.uuid4().hex}")


Proposal: TypeAlias = Publish | Delete | Create | DropTable


def size(proposal: Proposal) -> int:
    """About how many bytes the proposal keeps in memory while it waits."""
    match proposal:
        case Publish(_, tables):
            return sum(len(each.arrow_stream) for each in tables)
        case Delete(_, _, bytes() as keys):
            return len(keys)
        case Delete(_, _, Keys() as keys):
            return 64 * len(keys.columns or keys.tuples[:1]) * len(keys.tuples)
        case _:
            return 0


def digest(proposal: Proposal) -> str:
    """A hash of what the client sent; tells a repeated publish from another one under its id."""
    match proposal:
        case Publish(_, tables):
            parts: list[bytes | str] = ["publish"]
            for each in tables:
                parts += [each.table, repr(each.primary_key), repr(each.event_time), each.arrow_stream]
            return frames.digest(parts)
        case Delete(_, table, bytes() as keys):
            return frames.digest(["delete", table, keys])
        case Delete(_, table, Keys() as keys):
            return frames.digest(["delete", table, repr(keys)])
        case _:
            return ""


def judge(proposal: Proposal, tables: Tables) -> tuple[tuple[Operation, ...], int]:
    """What the proposal does to the tables as they are: (operations, rows or keys that came in).

    No operations: there is nothing to do.

    Raises:
        FeatureStoreError: the verdict, as `peers.Realtime` documents it; nothing was changed.
    """
    check_publish_id(proposal)
    match proposal:
        case Publish():
            return _judge_publish(proposal, tables)
        case Delete():
            return _judge_delete(proposal, tables)
        case Create(table):
            wanted = checked(table)
            known = tables.get(identity(table.name))
            if known is None:
                return (Define(wanted),), 0
            new = altered(known, wanted)
            return (() if new is known else (Define(new),)), 0
        case DropTable(name):
            return (Drop(known_table(tables, name).name),), 0


def check_publish_id(proposal: Proposal) -> None:
    """See that the id can be kept.

    Raises:
        InvalidArgument: `PUBLISH_ID`.
    """
    if not proposal.publish_id or len(proposal.publish_id) > _MAX_PUBLISH_ID_LENGTH:
        raise InvalidArgument(
            "PUBLISH_ID", f"a publish_id has 1 to {_MAX_PUBLISH_ID_LENGTH} characters; use a UUID"
        )


def known_table(tables: Tables, name: str) -> TableDefinition:
    """The definition of the table of this name.

    Raises:
        NotFound: `UNKNOWN_TABLE`.
    """
    found = tables.get(identity(name))
    if found is None:
        raise NotFound("UNKNOWN_TABLE", f"there is no table {name!r}; publish to it or create it", table=name)
    return found


def check_as_defined(wanted: TableRows, definition: TableDefinition) -> None:
    """See that the publish says nothing else of the table than its definition.

    Raises:
        AlreadyExists: `TABLE_DEFINED_OTHERWISE`.
    """
    for what, given, there in (
        ("primary key", wanted.primary_key, definition.primary_key),
        ("event time", wanted.event_time, definition.event_time),
    ):
        if given is not None and given != there:
            raise AlreadyExists(
                "TABLE_DEFINED_OTHERWISE",
                f"table {definition.name} has the {what} {there!r}, not {given!r}; leave it out to publish",
                table=definition.name,
                differences=f"{what} is {there!r}, not {given!r}",
            )


def _judge_publish(publish: Publish, tables: Tables) -> tuple[tuple[Operation, ...], int]:
    if not publish.tables:
        raise InvalidArgument("BAD_TABLE", "the publish names no table; give rows for at least one")
    operations: list[Operation] = []
    named: set[str] = set()
    row_count = 0
    for wanted in publish.tables:
        if identity(wanted.table) in named:
            raise InvalidArgument(
                "BAD_TABLE",
                f"the publish names table {wanted.table} twice; put its rows together",
                table=wanted.table,
            )
        named.add(identity(wanted.table))
        rows = _decoded(wanted.arrow_stream, wanted.table)
        row_count += rows.num_rows
        definition = tables.get(identity(wanted.table))
        if definition is None:
            definition = checked(
                TableDefinition(wanted.table, rows.schema, wanted.primary_key or (), wanted.event_time)
            )
            operations.append(Define(definition))
        else:
            check_as_defined(wanted, definition)
        operations.append(Put(definition.name, cast_exact(rows, definition)))
    return tuple(operations), row_count


def _judge_delete(delete: Delete, tables: Tables) -> tuple[tuple[Operation, ...], int]:
    definition = known_table(tables, delete.table)
    if not definition.primary_key:
        raise InvalidArgument(
            "NO_PRIMARY_KEY",
            f"table {definition.name} has no primary key, so its rows can't be deleted one by one; "
            "drop the table instead",
            table=definition.name,
        )
    keys = (
        _keys_as_table(delete.keys, definition)
        if isinstance(delete.keys, Keys)
        else cast_keys(_decoded(delete.keys, definition.name), definition)
    )
    return (Remove(definition.name, keys),), keys.num_rows


def _decoded(stream: bytes, table: str) -> pa.Table:
    try:
        return frames.table_from_stream(stream)
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgument(
            "BAD_ARROW", f"the bytes for table {table} are no Arrow IPC stream: {error}", table=table
        ) from error


def _keys_as_table(keys: Keys, definition: TableDefinition) -> pa.Table:
    given = keys.columns or definition.primary_key
    if sorted(given) != sorted(definition.primary_key):
        raise InvalidArgument(
            "MISSING_COLUMN",
            f"keys of table {definition.name} have the columns {', '.join(definition.primary_key)}, "
            f"not {', '.join(given)}",
            table=definition.name,
            columns=", ".join(definition.primary_key),
        )
    types = [definition.schema.field(name).type for name in given]
    columns = [Column(name, type_, duckdb_type(type_)) for name, type_ in zip(given, types, strict=True)]
    values: list[list[KeyValue]] = [[] for _ in columns]
    for position, key in enumerate(keys.tuples, 1):
        if len(key) != len(columns):
            raise InvalidArgument(
                "KEY_WIDTH",
                f"key {position} has {len(key)} parts; the primary key of table {definition.name} has "
                f"{len(columns)}: {', '.join(given)}",
                table=definition.name,
                position=position,
            )
        for column, value, into in zip(columns, key, values, strict=True):
            into.append(convert(value, column, position))
    arrays = [pa.array(each, type_) for each, type_ in zip(values, types, strict=True)]
    return (
        pa.table(arrays, names=list(given)).select(list(definition.primary_key)).cast(key_schema(definition))
    )
