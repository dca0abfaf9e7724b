"""The floor: a bare grpc.aio server that answers any call with a given number of bytes, in a process of its own.

It decodes nothing and does nothing: what a call to it costs is what gRPC in Python costs with this reply.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import uvloop

from benchmarks.servers import Server, free_port, process
from featurestore.api.gateway.v1.gateway_pb2_grpc import FeatureStoreServiceStub

_SET_SIZE = "/bench.Echo/SetSize"
_FIELD = (
    b"\x12"  # of QueryRealtimeResponse: bytes, so that the caller's stub decodes the reply as it decodes ours
)

if TYPE_CHECKING:  # grpc's own classes take no parameters when the program runs
    _Handler = grpc.RpcMethodHandler[bytes, bytes]
    _Context = grpc.aio.ServicerContext[bytes, bytes]


class _Echo(grpc.GenericRpcHandler):
    """Any method, one reply; `_SET_SIZE` takes how many bytes it has from then on, in decimal."""

    def __init__(self) -> None:
        self._reply = b""
        self._answer: _Handler = grpc.unary_unary_rpc_method_handler(self._answered)
        self._set_size: _Handler = grpc.unary_unary_rpc_method_handler(self._sized)

    def service(self, details: grpc.HandlerCallDetails) -> _Handler:
        return self._set_size if details.method == _SET_SIZE else self._answer

    async def _answered(self, _: bytes, __: _Context) -> bytes:
        return self._reply

    async def _sized(self, request: bytes, _: _Context) -> bytes:
        self._reply = padded(int(request))
        return b""


class Echo:
    """A caller of the floor: the same generated stub as for ours, over the same kind of socket."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Use an open channel."""
        self.stub = FeatureStoreServiceStub(channel)
        self._set_size: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_SET_SIZE)

    def answers(self, size: int) -> None:
        """Have replies of so many bytes from now on."""
        self._set_size(str(size).encode(), timeout=10)


def padded(size: int) -> bytes:
    """A message of so many bytes, give or take a few: one field of zeroes."""
    length, content = bytearray(), max(0, size - 4)
    while content > 0x7F:
        length.append(content & 0x7F | 0x80)
        content >>= 7
    length.append(content)
    return _FIELD + bytes(length) + bytes(max(0, size - 4))


@contextmanager
def running(folder: Path) -> Iterator[Echo]:
    """An echo server on a UNIX socket in the folder, and a caller."""
    socket = folder / "echo.sock"
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.echo", f"unix:{socket}"])
    try:
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            grpc.channel_ready_future(channel).result(timeout=10)
            yield Echo(channel)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def over_tcp(folder: Path, size: int) -> Iterator[Server]:
    """An echo server on a port, whose replies have so many bytes."""
    target = f"127.0.0.1:{free_port()}"
    with process([sys.executable, "-m", "benchmarks.echo", target], folder / "echo.log", Path.cwd()) as pid:
        with grpc.insecure_channel(target) as channel:
            grpc.channel_ready_future(channel).result(timeout=10)
            Echo(channel).answers(size)
        yield Server(target, [pid])


async def serve(target: str) -> None:
    """Answer at `unix:/path` or `host:port` until the process ends."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Echo(),))
    server.add_insecure_port(target)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
