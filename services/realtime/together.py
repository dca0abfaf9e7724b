"""Small publishes that are alike, judged together: what Arrow does once for all of them it need not do for each.

Publishes are alike if they bring rows of one table in the very same Arrow schema, byte by byte. Their record batches are
put behind one schema, read as one stream, checked and cast as one table, and taken apart again. Whatever is not plain to
see (several batches in a publish, a value that is refused) is left to be judged one by one, whose verdict
counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from featurestore.engine.apply import Tables
from featurestore.engine.casting import cast_exact
from featurestore.engine.tables import identity
from featurestore.model import frames
from featurestore.model.errors import FeatureStoreError
from featurestore.model.table import Put, TableDefinition, TableRows
from services.realtime.proposals import Proposal, Publish, check_as_defined

_SMALL_BYTES: Final = 2**16
_MARK: Final = b"\xff\xff\xff\xff"
_END: Final = _MARK + bytes(4)


@dataclass(frozen=True, slots=True)
class Small:
    """What one of them does.

    Attributes:
        body: of its frame; None if its rows are not stored as they came, so that it has to be encoded.
    """

    put: Put
    body: bytes | None


def together(proposals: Sequence[Proposal], tables: Tables) -> Mapping[int, Small]:
    """What those of the proposals do that can be judged together, by their position.

    Args:
        tables: the definitions when they are judged.
    """
    alike: dict[tuple[object, ...], list[tuple[int, TableRows]]] = {}
    for position, proposal in enumerate(proposals):
        match proposal:
            case Publish(_, (rows,)) if len(rows.arrow_stream) <= _SMALL_BYTES:
                schema = rows.arrow_stream[: _schema_bytes(rows.arrow_stream)]
                same = (identity(rows.table), rows.primary_key, rows.event_time, schema)
                alike.setdefault(same, []).append((position, rows))
    found: dict[int, Small] = {}
    for publishes in alike.values():
        definition = tables.get(identity(publishes[0][1].table))
        if len(publishes) > 1 and definition is not None:
            judged = _judged([rows for _, rows in publishes], definition)
            found.update(zip((position for position, _ in publishes), judged, strict=False))
    return found


def _judged(publishes: Sequence[TableRows], definition: TableDefinition) -> Iterator[Small]:
    """What each does; nothing if any needs a look of its own."""
    try:
        check_as_defined(publishes[0], definition)
        batches = _batches([publish.arrow_stream for publish in publishes])
        rows = cast_exact(pa.Table.from_batches(batches), definition) if batches else None
    except (pa.ArrowException, OSError, StopIteration, FeatureStoreError):
        return
    if rows is None:
        return
    came = batches[0].schema
    as_stored = came.metadata is None and [*zip(came.names, came.types, strict=True)] == [
        (field.name, field.type) for field in definition.schema
    ]
    start = 0
    for publish, batch in zip(publishes, batches, strict=True):
        put = Put(definition.name, rows.slice(start, batch.num_rows))
        start += batch.num_rows
        yield Small(put, frames.put_as_it_came(put.table, publish.arrow_stream) if as_stored else None)


def _batches(streams: Sequence[bytes]) -> list[pa.RecordBatch]:
    """The record batch of each stream; none if any stream has not exactly one.

    Raises:
        pa.ArrowException, OSError, StopIteration: the streams can't be read as one.
    """
    schema = _schema_bytes(streams[0])
    bodies = [stream[schema : -len(_END)] if stream.endswith(_END) else stream[schema:] for stream in streams]
    source = pa.BufferReader(b"".join((streams[0][:schema], *bodies, _END)))
    batches: list[pa.RecordBatch] = []
    end = schema
    with pa.ipc.open_stream(source) as reader:
        for body in bodies:
            batches.append(reader.read_next_batch())
            end += len(body)
            if source.tell() != end:  # it has another number of batches, or its own end looked like Arrow's
                return []
    return batches


def _schema_bytes(stream: bytes) -> int:
    """How long its first message is, which is the schema: a mark, a length, and so many bytes."""
    return 8 + int.from_bytes(stream[4:8], "little") if stream.startswith(_MARK) else 0
