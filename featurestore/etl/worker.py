"""The program of an ETL worker that is not sealed: `python -P -s -m featurestore.etl.worker`, for `SANDBOX=unsafe` only.

It reads requests from standard input and writes replies to standard output, one at a time, until its input ends.
What a script prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pyarrow as pa

from featurestore.etl.answering import Answering, libraries, warm_up
from featurestore.etl.syscalls import die_with_the_parent
from featurestore.etl.wire import PREFIX, encode_tables, pack

_PIECE = 65536


def main() -> None:
    """Serve requests until the service closes the connection or dies."""
    if sys.platform == "linux":  # elsewhere, and if it is dead already, the end of the input is the sign
        die_with_the_parent()
    incoming, outgoing = _keep_the_script_off_the_wire()
    warm_up()
    _send(outgoing, {"libraries": libraries()}, None)
    answering = Answering(sealed=False)
    while (message := _receive(incoming)) is not None:
        reply, results = answering.answer(*message)
        features = encode_tables(results, results[0].schema)[1] if results else None
        _send(outgoing, {**reply, "loaded": answering.loaded}, features)


def _keep_the_script_off_the_wire() -> tuple[int, int]:
    """Standard input and output under other numbers; the script meets /dev/null and standard error instead."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return incoming, outgoing


def _receive(fd: int) -> tuple[dict[str, Any], pa.Buffer] | None:
    start = _at_least(fd, b"", PREFIX.size)
    if len(start) < PREFIX.size:
        return None
    header_bytes, body_bytes = PREFIX.unpack_from(start)
    ends = PREFIX.size + header_bytes
    start = _at_least(fd, start, ends)
    body = pa.allocate_buffer(body_bytes)
    view = memoryview(body).cast("B")
    already = start[ends:]
    view[: len(already)] = already
    view = view[len(already) :]
    while view:
        count = os.readv(fd, [view])
        if not count:
            return None
        view = view[count:]
    return json.loads(start[PREFIX.size : ends]), body


def _at_least(fd: int, start: bytes, count: int) -> bytes:
    """At least so many bytes of a message, if it does not end before; more than it are never on the way."""
    while len(start) < count:
        piece = os.read(fd, _PIECE)
        if not piece:
            break
        start += piece
    return start


def _send(fd: int, header: dict[str, Any], body: pa.Buffer | None) -> None:
    views = [memoryview(pack(header, body.size if body is not None else 0))]
    if body is not None:
        views.append(memoryview(body).cast("B"))
    while views:
        sent = os.writev(fd, views)
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if views:
            views[0] = views[0][sent:]


if __name__ == "__main__":
    main()
