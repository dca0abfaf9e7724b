"""A lean caller of gRPC and of HTTP/1.1: frames as bytes, one call at a time on a connection, the same for both.

A generated stub in Python costs as much as the server that it calls. Where servers are compared, both get this caller,
which costs some tens of microseconds a call whatever it calls, so that the keys can differ from call to call.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Protocol, Self

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _RESET = 0, 1, 4, 6, 7, 3
_END_STREAM, _ACK = 1, 1
_WINDOW = 2**31 - 1
_INITIAL_WINDOW = 65_535


class FailedCallError(Exception):
    """The server did not answer with what was asked for."""


class Caller(Protocol):
    """One connection."""

    async def call(self, path: str, body: bytes) -> bytes:
        """Send a body; returns the body of the answer.

        Raises:
            FailedCallError: it was answered with an error.
        """
        ...

    def close(self) -> None:
        """Close it."""
        ...


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _literal(name: bytes, value: str) -> bytes:
    """A header that neither side keeps; `name` is an index of the static table, or a zero, a length and the name."""
    return name + bytes((len(value),)) + value.encode()


class GrpcCaller:
    """A connection with prior knowledge of HTTP/2, over which messages go as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say hello: windows that never close."""
        self._reader, self._writer = reader, writer
        self._stream = -1
        self._heads: dict[str, bytes] = {}
        writer.write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, struct.pack("!HI", 4, _WINDOW))
            + _frame(8, 0, 0, struct.pack("!I", _WINDOW - _INITIAL_WINDOW))
        )

    @classmethod
    async def open(cls, target: str) -> Self:
        """Connect to `host:port` or `unix:/path`."""
        if target.startswith("unix:"):
            return cls(*await asyncio.open_unix_connection(target.removeprefix("unix:")))
        host, _, port = target.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def call(self, path: str, body: bytes) -> bytes:
        """Send one message, and take one. A refusal of gRPC's carries no message, and is an error here."""
        self._stream += 2
        head = self._heads.get(path) or self._heads.setdefault(path, self._head(path))
        message = b"\0" + len(body).to_bytes(4) + body
        self._writer.write(
            _frame(_HEADERS, 4, self._stream, head) + _frame(_DATA, _END_STREAM, self._stream, message)
        )
        received = bytearray()
        while True:
            start = await self._reader.readexactly(9)
            length, kind, flags = int.from_bytes(start[:3]), start[3], start[4]
            payload = await self._reader.readexactly(length) if length else b""
            if kind == _DATA:
                received += payload
            elif kind == _SETTINGS and not flags & _ACK:
                self._writer.write(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._writer.write(_frame(_PING, _ACK, 0, payload))
            elif kind in {_GOAWAY, _RESET}:
                raise FailedCallError(f"{path}: the server ended the call")
            if kind in {_DATA, _HEADERS} and flags & _END_STREAM:
                break
        if not received:
            raise FailedCallError(f"{path}: no message")
        return bytes(received[5:])

    def close(self) -> None:
        """Close it."""
        self._writer.close()

    @staticmethod
    def _head(path: str) -> bytes:
        return (
            b"\x83\x86"  # POST, http
            + _literal(b"\x04", path)
            + _literal(b"\x01", "localhost")
            + _literal(b"\x0f\x10", "application/grpc")
            + _literal(b"\x00\x02te", "trailers")
            + _literal(b"\x00\x0cgrpc-timeout", "60S")  # a call that is slow is to be seen as slow
        )


class HttpCaller:
    """A connection of HTTP/1.1 that is kept alive, over which JSON goes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use an open connection."""
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, target: str) -> Self:
        """Connect to `host:port`."""
        host, _, port = target.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def call(self, path: str, body: bytes) -> bytes:
        """Send one body, and take one."""
        self._writer.write(
            b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (path.encode(), len(body), body)
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if not head.startswith(b"http/1.1 200"):
            raise FailedCallError(f"{path}: {head[:40]!r} {answer[:300]!r}")
        return answer

    def close(self) -> None:
        """Close it."""
        self._writer.close()
