"""Frames of the log as bytes: what realtime writes and the warehouse follows.

A frame's body is a JSON header, then the Arrow IPC streams that the header counts. Each part has its length before it and
is padded, so that every part begins at a multiple of 64 bytes, as Arrow's buffers want it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import pyarrow as pa

from featurestore.model.table import Define, Drop, Operation, Put, Remove, TableDefinition

FORMAT = 1
_LENGTH_BYTES = 8
_ALIGNMENT = 64


def encode(operations: Sequence[Operation]) -> bytes:
    """The body of a frame: all of its operations, in order."""
    entries: list[dict[str, object]] = []
    attachments: list[bytes] = []
    for operation in operations:
        match operation:
            case Define(table):
                entries.append(
                    {
                        "op": "define",
                        "table": table.name,
                        "primary_key": list(table.primary_key),
                        "event_time": table.event_time,
                    }
                )
                attachments.append(table_to_stream(table.schema.empty_table()))
            case Drop(name):
                entries.append({"op": "drop", "table": name})
            case Put(name, rows):
                entries.append({"op": "put", "table": name})
                attachments.append(table_to_stream(rows))
            case Remove(name, keys):
                entries.append({"op": "remove", "table": name})
                attachments.append(table_to_stream(keys))
    return _body(entries, attachments)


def put_as_it_came(table: str, stream: bytes) -> bytes:
    """The body of a frame that puts the rows of an Arrow IPC stream, which is kept as it is.

    Args:
        stream: of the columns and types that the table has; their nullability may be another.
    """
    return _body([{"op": "put", "table": table}], [stream])


def decode(body: bytes) -> tuple[Operation, ...]:
    """The operations of a frame's body.

    Raises:
        ValueError: the body is of another format; a log that a newer version wrote.
    """
    parts = iter(_split(body))
    header = json.loads(bytes(next(parts)))
    if header["format"] != FORMAT:
        raise ValueError(f"the log holds a frame of format {header['format']}; this version reads {FORMAT}")
    operations: list[Operation] = []
    for entry in header["operations"]:
        name = entry["table"]
        match entry["op"]:
            case "define":
                schema = table_from_stream(next(parts)).schema
                definition = TableDefinition(name, schema, tuple(entry["primary_key"]), entry["event_time"])
                operations.append(Define(definition))
            case "drop":
                operations.append(Drop(name))
            case "put":
                operations.append(Put(name, table_from_stream(next(parts))))
            case "remove":
                operations.append(Remove(name, table_from_stream(next(parts))))
            case unknown:
                raise ValueError(f"the log holds an operation {unknown!r}; this version does not know it")
    return tuple(operations)


def digest(parts: Iterable[bytes | str]) -> str:
    """A SHA-256, in hex, over length-prefixed parts: tells a repeated publish from another with its id."""
    sha = hashlib.sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        sha.update(len(encoded).to_bytes(_LENGTH_BYTES, "big"))
        sha.update(encoded)
    return sha.hexdigest()


def table_to_stream(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def table_from_stream(stream: bytes | memoryview) -> pa.Table:
    """The table in an Arrow IPC stream; zero copy, the table keeps the bytes alive.

    Raises:
        pa.ArrowInvalid: the bytes are no Arrow IPC stream.
    """
    with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
        return reader.read_all()


def _body(entries: list[dict[str, object]], attachments: list[bytes]) -> bytes:
    header = json.dumps({"format": FORMAT, "operations": entries}).encode()
    header += b" " * (-len(header) % _LENGTH_BYTES)  # Arrow wants the streams behind it aligned
    parts = [header, *attachments]
    return b"".join(
        piece for part in parts for piece in (_prefix(part), part, bytes(-len(part) % _ALIGNMENT))
    )


def _prefix(part: bytes) -> bytes:
    return len(part).to_bytes(_LENGTH_BYTES, "big") + bytes(_ALIGNMENT - _LENGTH_BYTES)


def _split(body: bytes) -> Iterable[memoryview]:
    view = memoryview(body)
    at = 0
    while at < len(view):
        length = int.from_bytes(view[at : at + _LENGTH_BYTES], "big")
        at += _ALIGNMENT
        yield view[at : at + length]
        at += length + -length % _ALIGNMENT
