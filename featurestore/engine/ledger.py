"""What an engine file remembers beside its rows: the definitions, and the last frame that was applied.

Written in the transaction that applies the frames, so that rows, definitions and position never disagree.
"""

from __future__ import annotations

import json

import duckdb

from featurestore.engine.apply import Tables
from featurestore.engine.tables import identity
from featurestore.model import schema
from featurestore.model.table import TableDefinition, Version

_SCHEMA = "fs_meta"


def prepare(cursor: duckdb.DuckDBPyConnection) -> None:
    """Make the ledger's tables, if they are not there."""
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}")
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {_SCHEMA}.position (log_id VARCHAR, sequence BIGINT)")
    cursor.execute(
        f"CREATE TABLE IF NOT EXISTS {_SCHEMA}.tables "
        "(name VARCHAR, arrow_schema BLOB, primary_key VARCHAR, event_time VARCHAR)"
    )


def load(cursor: duckdb.DuckDBPyConnection) -> tuple[Version | None, Tables]:
    """The last applied version, None for a new file, and the definitions as of it."""
    position = cursor.execute(f"SELECT log_id, sequence FROM {_SCHEMA}.position").fetchone()
    rows = cursor.execute(
        f"SELECT name, arrow_schema, primary_key, event_time FROM {_SCHEMA}.tables"
    ).fetchall()
    tables = {
        identity(name): TableDefinition(name, schema.from_bytes(message), tuple(json.loads(key)), event_time)
        for name, message, key, event_time in rows
    }
    return (Version(*position) if position else None), tables


def store(cursor: duckdb.DuckDBPyConnection, before: Tables, after: Tables, version: Version) -> None:
    """Remember the version, and whatever differs between the definitions, in the open transaction."""
    cursor.execute(f"DELETE FROM {_SCHEMA}.position")
    cursor.execute(f"INSERT INTO {_SCHEMA}.position VALUES (?, ?)", [version.log_id, version.sequence])
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old is new:
            continue
        if old is not None:
            cursor.execute(f"DELETE FROM {_SCHEMA}.tables WHERE name = ?", [old.name])
        if new is not None:
            cursor.execute(
                f"INSERT INTO {_SCHEMA}.tables VALUES (?, ?, ?, ?)",
                [new.name, schema.to_bytes(new.schema), json.dumps(list(new.primary_key)), new.event_time],
            )
