"""A sealed worker's loop: requests come in sealed memfds, answers leave in others, only their sizes in messages.

A request's memfd holds a JSON header, padded to Arrow's alignment, and an Arrow stream; an answer's the stream and then
the header, because what is said of the stream is known when it is written.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import socket
from typing import Any

import pyarrow as pa

from featurestore.etl import control
from featurestore.etl.answering import Answering, as_json, output_too_large
from featurestore.etl.wire import write_tables

_INLINE_BYTES = 2**20
_PIECE = 2**30  # one read or write moves less than 2 GiB


def serve(wire: socket.socket) -> None:
    """Answer until the service closes the connection."""
    answering = Answering(sealed=True)
    control.send(wire, {"header": 0, "body": 0})  # ready: what comes now is sealed
    while (asked := control.receive(wire, control.REQUEST, descriptors=2)) is not None:
        message, (request, reply) = asked
        try:
            header, body = _read(request, message["header"], message["body"])
            sizes = _answer(answering, header, body, reply)
        finally:
            os.close(request)
            os.close(reply)
        control.send(wire, dict(zip(control.ANSWER, sizes, strict=True)))


def _answer(answering: Answering, header: dict[str, Any], body: pa.Buffer, reply: int) -> tuple[int, int]:
    about, results = answering.answer(header, body)
    try:
        size = _write_tables(reply, results)
    except (MemoryError, OSError) as error:
        limit = header["output_bytes"]
        if not isinstance(error, MemoryError) and error.errno != errno.EFBIG:
            raise
        about, size = {"failed": as_json(output_too_large(limit))}, 0
    text = json.dumps({**about, "loaded": answering.loaded}).encode()
    if len(text) > control.HEADER_BYTES:
        raise ValueError("an answer's header is over the limit")
    os.lseek(reply, size, os.SEEK_SET)
    _write_all(reply, memoryview(text))
    return len(text), size


def _read(request: int, header_bytes: int, body_bytes: int) -> tuple[dict[str, Any], pa.Buffer]:
    total = header_bytes + body_bytes
    if total <= _INLINE_BYTES:
        whole = pa.py_buffer(os.pread(request, total, 0))
    else:
        whole = pa.py_buffer(
            mmap.mmap(request, total, prot=mmap.PROT_READ)
        )  # dies with the last column over it
    return json.loads(whole.slice(0, header_bytes).to_pybytes()), whole.slice(header_bytes, body_bytes)


def _write_tables(reply: int, results: list[pa.Table]) -> int:
    if not results:
        return 0
    if sum(table.nbytes for table in results) <= _INLINE_BYTES:
        sink = pa.BufferOutputStream()
        write_tables(sink, results, results[0].schema)
        stream = sink.getvalue()
        _write_all(reply, memoryview(stream).cast("B"))
        return int(stream.size)
    with os.fdopen(reply, "wb", buffering=_INLINE_BYTES, closefd=False) as file:
        write_tables(file, results, results[0].schema)
        return file.tell()


def _write_all(reply: int, view: memoryview) -> None:
    while view:
        view = view[os.write(reply, view[:_PIECE]) :]
