"""From the log to tables: what a start does before it answers."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from featurestore.engine import apply as engine
from featurestore.engine.apply import Tables
from featurestore.model import frames
from featurestore.model.table import Frame
from services.realtime.log import Logged, LogReader

# Large groups: an upsert costs per statement, and a group is reduced before the engine sees it.
_PIECE_BYTES = 64 * 2**20


def replay(cursor: duckdb.DuckDBPyConnection, reader: LogReader) -> Tables:
    """Apply the whole log to an empty engine; returns the definitions at its end.

    Raises:
        FailedPrecondition: `LOG_DAMAGED`.
        ValueError: a newer version wrote the log.
    """
    tables: Tables = {}
    for piece in _pieces(reader):
        for group in engine.in_groups(map(decoded, piece)):
            cursor.begin()
            operations = [operation for frame in group for operation in frame.operations]
            tables = engine.apply(cursor, tables, operations, indexed=False)
            cursor.commit()
    engine.index(cursor, tables)
    return tables


def decoded(logged: Logged) -> Frame:
    """The frame in a row of the log."""
    return Frame(logged.sequence, logged.publish_id, frames.decode(logged.body))


def _pieces(reader: LogReader) -> Iterator[list[Logged]]:
    sequence = 0
    while piece := reader.read_after(sequence, _PIECE_BYTES):
        sequence = piece[-1].sequence
        yield piece
