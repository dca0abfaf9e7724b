"""A flight under way: it ends with its reader, with its time, and with a part that is no batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from pyarrow import flight

from featurestore.model.serving import Progress, TrainHead
from featurestore.model.table import Version
from featurestore.rpc.server import bind, create_server
from gateway.flight.servicer import handler
from gateway.front import Front, QueryTraining

SCHEMA = pa.schema([("text", pa.string())])
BATCH = bytes(pa.record_batch({"text": ["x" * 2**20]}, SCHEMA).serialize())
TICKET = flight.Ticket(b"1/query/qry_" + b"a" * 26)


class Endless:
    """A front whose only query has rows without end, and knows what became of them."""

    def __init__(self, message: bytes = BATCH, pause: float = 0.0) -> None:
        self.message = message
        self.pause = pause
        self.made = 0
        self.closed = asyncio.Event()

    async def query_train(self, **_: Any) -> QueryTraining:
        return QueryTraining(TrainHead(SCHEMA, Version("log", 0)), self._batches(), "", (), None, Progress())

    async def _batches(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                self.made += 1
                yield self.message
                await asyncio.sleep(self.pause)
        finally:
            self.closed.set()


@asynccontextmanager
async def serving(front: Endless, folder: Path, **how: Any) -> AsyncIterator[flight.FlightClient]:
    """pyarrow's client on a server of ours; its calls block, so they belong into threads."""
    server = create_server(**how)
    server.add_generic_rpc_handlers((handler(cast("Front", front)),))
    address = bind(server, f"unix:{folder / 'socket'}")
    await server.start()
    client = flight.connect(f"grpc+{address}")
    try:
        yield client
    finally:
        await asyncio.to_thread(client.close)
        await server.stop(None)


async def test_the_work_stops_when_the_reader_goes(tmp_path):
    front = Endless()
    async with serving(front, tmp_path) as client:
        reader = await asyncio.to_thread(client.do_get, TICKET)
        await asyncio.to_thread(reader.read_chunk)
        assert not front.closed.is_set()
        await asyncio.to_thread(reader.cancel)
        await asyncio.wait_for(front.closed.wait(), 5)


async def test_a_slow_reader_piles_up_nothing_and_ends_after_its_idle_time(tmp_path):
    front = Endless()
    async with serving(front, tmp_path, stream_idle_seconds=0.3) as client:
        reader = await asyncio.to_thread(client.do_get, TICKET)
        await asyncio.wait_for(front.closed.wait(), 10)
        assert front.made < 30  # what HTTP/2 takes in on both sides
        with pytest.raises(flight.FlightTimedOutError, match=r"took nothing for 0\.3 s"):
            await asyncio.to_thread(reader.read_all)


async def test_a_call_without_a_deadline_gets_the_server_s(tmp_path):
    front = Endless(pause=0.05)
    asked = []

    def half_a_second(method):
        asked.append(method)
        return 0.5

    async with serving(front, tmp_path, default_seconds=half_a_second) as client:
        with pytest.raises(flight.FlightTimedOutError, match="time ended before its work was done"):
            await asyncio.to_thread(lambda: client.do_get(TICKET).read_all())
    assert front.closed.is_set()
    assert asked == ["/arrow.flight.protocol.FlightService/DoGet"]


async def test_a_part_that_is_no_arrow_message_ends_the_flight_with_an_error(tmp_path):
    front = Endless(b"no arrow")
    async with serving(front, tmp_path) as client:
        with pytest.raises(flight.FlightInternalError, match="no Arrow IPC message"):
            await asyncio.to_thread(lambda: client.do_get(TICKET).read_all())
    assert front.closed.is_set()
