"""A connection that only waits stays open: our channels ping, and our servers allow it."""

import asyncio

from featurestore.rpc import channels, server
from tests.unit.test_rpc_server import handlers, serving, stream

FASTER = 60
"""The test runs at 60 times the pace: half a second stands for the 30 between two pings."""


def faster(options, *names):
    assert {name for name, _ in options} >= set(names), "the option that matters is set"
    return tuple((name, value // FASTER if name in names else value) for name, value in options)


async def test_a_stream_without_a_message_outlives_many_pings(tmp_path, monkeypatch):
    monkeypatch.setattr(channels, "_OPTIONS", faster(channels._OPTIONS, "grpc.keepalive_time_ms"))
    monkeypatch.setattr(
        server,
        "_OPTIONS",
        faster(server._OPTIONS, "grpc.http2.min_ping_interval_without_data_ms", "grpc.keepalive_time_ms"),
    )

    async def silent(_request, _context):
        yield b"hello"
        await asyncio.sleep(60)

    async with serving(tmp_path, handlers(Stream=silent)) as channel:
        held = stream(channel, "Stream")
        assert await held.read() == b"hello"
        ended = asyncio.ensure_future(held.read())
        done, _ = await asyncio.wait([ended], timeout=4)
        assert not done, "the server took the pings for an attack"
        held.cancel()
        await asyncio.gather(ended, return_exceptions=True)
