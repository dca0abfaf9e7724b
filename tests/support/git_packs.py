"""Packs made byte by byte, honest and otherwise, and a git server that sends them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from hashlib import sha1
from typing import Any

from tests.support.git_repos import App

BLOB, OFS_DELTA, REF_DELTA = 3, 6, 7
_LINE_BYTES = 65_000


def number(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def entry(kind: int, content: bytes, *, announced: int | None = None, base: bytes = b"") -> bytes:
    """One object of a pack, with a size that may be a lie."""
    size = len(content) if announced is None else announced
    first = kind << 4 | size & 15 | (0x80 if size > 15 else 0)
    return bytes([first]) + (number(size >> 4) if size > 15 else b"") + base + zlib.compress(content)


def pack(*entries: bytes, count: int | None = None) -> bytes:
    """A pack of these objects, which may announce another number of them."""
    announced = len(entries) if count is None else count
    body = b"PACK" + (2).to_bytes(4) + announced.to_bytes(4) + b"".join(entries)
    return body + sha1(body).digest()  # noqa: S324 - git's own


def delta(result_bytes: int, source_bytes: int = 1) -> bytes:
    """A delta that says it makes so many bytes."""
    return number(source_bytes) + number(result_bytes) + b"\x00" * 3


def tampering(app: App, change: Callable[[bytes], Iterable[bytes]]) -> App:
    """A git server's application whose packs are what `change` makes of them, in pieces."""

    def changed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "POST":
            return app(environ, start_response)
        answer: list[bytes] = []

        def started(status: str, headers: Any, *rest: Any) -> Callable[[bytes], object]:
            start_response(status, headers, *rest)
            return answer.append

        answer.extend(app(environ, started))
        return _answer_with(b"".join(answer), change)

    return changed


def _answer_with(answer: bytes, change: Callable[[bytes], Iterable[bytes]]) -> Iterable[bytes]:
    before, sent, at = b"", b"", 0
    while at < len(answer):
        size = int(answer[at : at + 4], 16)
        line = answer[at : at + max(size, 4)]
        at += len(line)
        if line[4:5] == b"\1":
            sent += line[5:]
        elif not sent:
            before += line
    yield before
    for piece in change(sent):
        for start in range(0, len(piece), _LINE_BYTES):
            part = piece[start : start + _LINE_BYTES]
            yield b"%04x\1%s" % (len(part) + 5, part)
    yield b"0000"
