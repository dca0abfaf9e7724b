"""The floor: a bare grpc.aio server that answers with a given number of bytes, on a UNIX socket, in a process of its own."""

from __future__ import annotations

import asyncio
import sys

import grpc
import uvloop


async def serve(socket: str) -> None:
    """Answer any call with as many bytes as its request says in decimal."""

    async def answer(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        return b"x" * int(request)

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler}),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
