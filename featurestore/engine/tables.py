"""Table definitions: what may be defined, what counts as the same, and the DDL that makes it so."""

from __future__ import annotations

import re

import pyarrow as pa
from pyarrow import types

from featurestore.engine.column_types import duckdb_type, is_key_type, quoted, storage_type
from featurestore.engine.profile import SCHEMA
from featurestore.model.errors import AlreadyExists, InvalidArgument
from featurestore.model.table import TableDefinition

_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_MAX_NAME_LENGTH = 128
_RESERVED_PREFIX = "__fs"


def identity(table: str) -> str:
    """What two names of one table share: SQL does not tell cases apart."""
    return table.lower()


def qualified(table: str) -> str:
    """The table as SQL names it, quoted."""
    return f"{SCHEMA}.{quoted(table)}"


def checked(definition: TableDefinition) -> TableDefinition:
    """The definition as it is stored: storage types, keys not nullable, no metadata.

    Raises:
        InvalidArgument: `BAD_NAME`, `BAD_TABLE`, `UNSUPPORTED_TYPE`, naming every offending column.
    """
    table = definition.name
    _check_names(definition)
    columns = set(definition.schema.names)
    for column in definition.primary_key:
        if column not in columns or definition.primary_key.count(column) > 1:
            raise InvalidArgument(
                "BAD_TABLE",
                f"primary-key column {column!r} of table {table} is not a column of it, or is given twice",
                table=table,
                column=column,
            )
    schema = _storage_schema(definition)
    unfit = [name for name in definition.primary_key if not is_key_type(schema.field(name).type)]
    if unfit:
        raise InvalidArgument(
            "UNSUPPORTED_TYPE",
            f"{_types_of(schema, unfit)} can't be in the primary key of table {table}: a key column is a "
            "boolean, integer, decimal, string, binary, date or timestamp",
            table=table,
            column=unfit[0],
            columns=", ".join(unfit),
        )
    _check_event_time(definition, schema)
    return TableDefinition(table, schema, definition.primary_key, definition.event_time)


def altered(old: TableDefinition, new: TableDefinition) -> TableDefinition:
    """The table after it was defined again: the old definition itself, or one with more nullable columns.

    Both are as `checked` returned them. Added columns stand behind the old ones.

    Raises:
        AlreadyExists: `TABLE_DEFINED_OTHERWISE`, saying everything that differs.
    """
    differences = []
    if new.primary_key != old.primary_key:
        differences.append(f"its primary key is {_listed(old.primary_key)}, not {_listed(new.primary_key)}")
    if new.event_time != old.event_time:
        differences.append(f"its event time is {old.event_time or 'none'}, not {new.event_time or 'none'}")
    wanted = {field.name: field for field in new.schema}
    for field in old.schema:
        other = wanted.pop(field.name, None)
        if other is None:
            differences.append(f"it has a column {field.name}")
        elif not other.equals(field):
            differences.append(f"column {field.name} is {_described(field)}, not {_described(other)}")
    taken = {field.name.lower() for field in old.schema}
    for field in wanted.values():
        if field.name.lower() in taken:
            differences.append(f"column {field.name} is spelled in other cases there")
        elif not field.nullable:
            differences.append(f"column {field.name} would be new and is not nullable")
    if differences:
        raise AlreadyExists(
            "TABLE_DEFINED_OTHERWISE",
            f"table {old.name} is defined otherwise: {'; '.join(differences)}",
            table=old.name,
            differences="; ".join(differences),
        )
    if not wanted:
        return old
    schema = pa.schema([*old.schema, *wanted.values()])
    return TableDefinition(old.name, schema, old.primary_key, old.event_time)


def create_sql(definition: TableDefinition) -> str:
    """The statement that creates the table, without its primary key."""
    columns = ", ".join(f"{quoted(field.name)} {duckdb_type(field.type)}" for field in definition.schema)
    return f"CREATE TABLE {qualified(definition.name)} ({columns})"


def add_key_sql(definition: TableDefinition) -> str:
    """The statement that gives the table its primary key, once its rows have each key once."""
    columns = ", ".join(map(quoted, definition.primary_key))
    return f"ALTER TABLE {qualified(definition.name)} ADD PRIMARY KEY ({columns})"


def alter_sql(old: TableDefinition, new: TableDefinition) -> tuple[str, ...]:
    """The statements that add the columns that only `new` has."""
    known = set(old.schema.names)
    return tuple(
        f"ALTER TABLE {qualified(old.name)} ADD COLUMN {quoted(field.name)} {duckdb_type(field.type)}"
        for field in new.schema
        if field.name not in known
    )


def drop_sql(table: str) -> str:
    """The statement that drops the table."""
    return f"DROP TABLE {qualified(table)}"


def key_schema(definition: TableDefinition) -> pa.Schema:
    """The primary-key columns, in the key's order."""
    return pa.schema([definition.schema.field(name) for name in definition.primary_key])


def _check_names(definition: TableDefinition) -> None:
    _check_name(definition.name, "table name")
    if not definition.schema.names:
        raise InvalidArgument(
            "BAD_TABLE", f"table {definition.name} has no columns; give at least one", table=definition.name
        )
    seen: set[str] = set()
    for column in definition.schema.names:
        _check_name(column, f"column name of table {definition.name}")
        if column.lower() in seen:
            raise InvalidArgument(
                "BAD_TABLE",
                f"table {definition.name} has the column {column!r} twice (SQL does not tell cases apart); "
                "rename one",
                table=definition.name,
                column=column,
            )
        seen.add(column.lower())


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME_LENGTH:
        raise InvalidArgument(
            "BAD_NAME",
            f"{name!r} is no {what}: a letter or '_' first, then letters, digits or '_', "
            f"at most {_MAX_NAME_LENGTH} in all",
            name=name,
        )
    if name.lower().startswith(_RESERVED_PREFIX):
        raise InvalidArgument(
            "BAD_NAME", f"{name!r} is no {what}: names that begin with {_RESERVED_PREFIX} are ours", name=name
        )


def _storage_schema(definition: TableDefinition) -> pa.Schema:
    keys = set(definition.primary_key)
    fields, refused = [], []
    for field in definition.schema:
        stored = storage_type(field.type)
        if stored is None:
            refused.append(field.name)
        else:
            fields.append(pa.field(field.name, stored, nullable=field.nullable and field.name not in keys))
    if refused:
        hint = (
            "; a column of nulls has no type yet, so give the table a schema or leave the column out"
            if any(types.is_null(definition.schema.field(name).type) for name in refused)
            else "; cast them before publishing"
        )
        raise InvalidArgument(
            "UNSUPPORTED_TYPE",
            f"table {definition.name} can't hold {_types_of(definition.schema, refused)}{hint}",
            table=definition.name,
            column=refused[0],
            columns=", ".join(refused),
        )
    return pa.schema(fields)


def _check_event_time(definition: TableDefinition, schema: pa.Schema) -> None:
    column = definition.event_time
    if column is None:
        return
    if column not in schema.names:
        raise InvalidArgument(
            "BAD_TABLE",
            f"event-time column {column!r} is not a column of table {definition.name}",
            table=definition.name,
            column=column,
        )
    type_ = schema.field(column).type
    if not types.is_timestamp(type_) and not types.is_date(type_):
        raise InvalidArgument(
            "BAD_TABLE",
            f"event-time column {column!r} of table {definition.name} is {type_}; "
            "it has to be a timestamp or a date",
            table=definition.name,
            column=column,
        )


def _types_of(schema: pa.Schema, columns: list[str]) -> str:
    return ", ".join(f"{name} ({schema.field(name).type})" for name in columns)


def _described(field: pa.Field) -> str:
    return f"{field.type}{'' if field.nullable else ' not null'}"


def _listed(columns: tuple[str, ...]) -> str:
    return f"({', '.join(columns)})" if columns else "none"
