"""How a service and its ETL worker talk: length-prefixed messages of a JSON header and Arrow bytes. Never a pickle.

The service sends a request and reads one reply; a worker's first message says that it is ready.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa

PREFIX = struct.Struct(">IQ")
"""Bytes of the header, bytes of the body."""


def pack(header: dict[str, Any], body_bytes: int) -> bytes:
    """Prefix and header of a message; its body follows."""
    text = json.dumps(header).encode()
    return PREFIX.pack(len(text), body_bytes) + text


def encode_tables(tables: Sequence[pa.Table], schema: pa.Schema) -> tuple[list[int], pa.Buffer]:
    """Tables of one schema as one Arrow IPC stream, and how many of its batches belong to each."""
    sink = pa.BufferOutputStream()
    counts = write_tables(sink, tables, schema)
    return counts, sink.getvalue()


def write_tables(sink: Any, tables: Sequence[pa.Table], schema: pa.Schema) -> list[int]:
    """Write them so into an Arrow or binary file; the number of batches of each is returned."""
    counts: list[int] = []
    with pa.ipc.new_stream(sink, schema) as writer:
        for table in tables:
            batches = table.to_batches()
            counts.append(len(batches))
            for batch in batches:
                writer.write_batch(batch)
    return counts


def decode_tables(counts: Sequence[int], stream: pa.Buffer) -> list[pa.Table]:
    """The inverse of `encode_tables`; zero copy.

    Raises:
        pa.ArrowInvalid: the bytes are no such stream.
    """
    with pa.ipc.open_stream(stream) as reader:
        batches = list(reader)
        schema = reader.schema
    if len(batches) != sum(counts) or any(count < 0 for count in counts):
        raise pa.ArrowInvalid(f"{len(batches)} batches where {counts} were announced")
    tables: list[pa.Table] = []
    at = 0
    for count in counts:
        tables.append(pa.Table.from_batches(batches[at : at + count], schema))
        at += count
    return tables


def schema_to_text(schema: pa.Schema) -> str:
    """A schema as text for a JSON header."""
    return base64.b64encode(schema.serialize()).decode()


@lru_cache(maxsize=64)
def schema_from_text(text: str) -> pa.Schema:
    """The inverse of `schema_to_text`."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
