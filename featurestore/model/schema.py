"""Schemas as text: what goes into content keys and what contracts are compared by."""

from __future__ import annotations

import hashlib

import pyarrow as pa


def schema_text(schema: pa.Schema) -> tuple[tuple[str, str], ...]:
    """The ordered (name, type) pairs of a schema; no nullability, no metadata."""
    return tuple((field.name, str(field.type)) for field in schema)


def schema_sha256(schema: pa.Schema) -> str:
    """A hash of `schema_text`, in hex: two schemas with the same text have the same hash."""
    digest = hashlib.sha256()
    for name, type_text in schema_text(schema):
        for part in (name, type_text):
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def plain(schema: pa.Schema) -> pa.Schema:
    """The schema with every field nullable and no metadata."""
    return pa.schema([pa.field(field.name, field.type) for field in schema])


def to_bytes(schema: pa.Schema) -> bytes:
    """The schema as an encapsulated Arrow IPC message."""
    return bytes(schema.serialize())


def from_bytes(message: bytes) -> pa.Schema:
    """The schema in an encapsulated Arrow IPC message.

    Raises:
        pa.ArrowInvalid: the bytes hold no schema message.
    """
    return pa.ipc.read_schema(pa.BufferReader(message))
