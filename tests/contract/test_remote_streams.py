"""A remote peer's streams are those of the object behind it: whole, in order, and ended when their reader leaves."""

import asyncio
from contextlib import aclosing

import pyarrow as pa
import pytest

from featurestore.api.realtime.v1.realtime_pb2_grpc import add_RealtimeServiceServicer_to_server
from featurestore.model import deadline
from featurestore.model.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
)
from featurestore.model.serving import (
    Progress,
    TrainHead,
    TrainStream,
)
from featurestore.model.table import (
    Frame,
    Put,
)
from featurestore.rpc.channels import open_channel
from featurestore.rpc.remote_realtime import RemoteRealtime
from featurestore.rpc.server import bind, create_server
from services.realtime.servicer import RealtimeServicer
from tests.support.peer_calls import (
    FORM,
    FRAMES,
    SCHEMA,
    SCRIPT,
    STREAM_CALLS,
    VERSION,
)
from tests.support.told_service import read_all


@pytest.mark.parametrize(("method", "args", "kwargs"), STREAM_CALLS)
async def test_a_training_stream_arrives_whole(service, remote, method, args, kwargs):
    async def batches():
        for number in range(50):
            yield str(number).encode()

    service.returns(TrainStream(TrainHead(SCHEMA, VERSION), batches(), SCRIPT, ("odd",)))
    stream = await getattr(remote["extraction"], method)(*args, **kwargs)
    assert stream.head == TrainHead(SCHEMA, VERSION)
    if method == "extract_train":
        assert (stream.script, stream.undecided) == (SCRIPT, ("odd",))
    assert await read_all(stream.batches) == [str(number).encode() for number in range(50)]
    assert await read_all(stream.batches) == []
    assert service.asked == [(method, args, kwargs)]


@pytest.mark.parametrize(("method", "args", "kwargs"), STREAM_CALLS[:2])
async def test_how_far_a_training_stream_is_arrives_with_each_batch(service, remote, method, args, kwargs):
    progress = Progress()
    shares = [None, 0.25, 0.0, None, 1.0]

    async def batches():
        for share in shares:
            progress.done_share = share
            yield b"batch"

    service.returns(TrainStream(TrainHead(SCHEMA, VERSION), batches(), progress=progress))
    stream = await getattr(remote["extraction"], method)(*args, **kwargs)
    assert [stream.progress.done_share async for _ in stream.batches] == shares


async def test_a_training_stream_of_a_head_alone_has_no_batches(service, remote):
    async def batches():
        return
        yield

    service.returns(TrainStream(TrainHead(SCHEMA, VERSION), batches()))
    stream = await remote["extraction"].query_train(FORM, VERSION, head_only=True)
    assert await read_all(stream.batches) == []


@pytest.mark.parametrize(("method", "args", "kwargs"), STREAM_CALLS[:2])
async def test_an_error_before_the_head_is_raised_by_the_call(service, remote, method, args, kwargs):
    service.raises(InvalidArgument("SQL_RUNTIME", "division by zero"))
    with pytest.raises(InvalidArgument, match="SQL_RUNTIME"):
        await getattr(remote["extraction"], method)(*args, **kwargs)


async def test_an_error_in_the_midst_is_raised_where_the_batches_are_read(service, remote):
    async def batches():
        yield b"1"
        raise Unavailable("WAREHOUSE_BEHIND", "not yet", have=1)

    service.returns(TrainStream(TrainHead(SCHEMA, VERSION), batches()))
    stream = await remote["extraction"].query_train(FORM, VERSION)
    assert await anext(stream.batches) == b"1"
    with pytest.raises(Unavailable) as refused:
        await anext(stream.batches)
    assert (refused.value.reason, refused.value.details) == ("WAREHOUSE_BEHIND", {"have": "1"})
    with pytest.raises(StopAsyncIteration):
        await anext(stream.batches)


@pytest.mark.parametrize("read", [0, 1, 5])
async def test_a_training_stream_whose_reader_leaves_is_closed_at_the_peer(service, remote, read):
    service.returns(TrainStream(TrainHead(SCHEMA, VERSION), service.endless(b"batch")))
    stream = await remote["extraction"].query_train(FORM, VERSION)
    async with aclosing(stream.batches) as batches:
        for _ in range(read):
            assert await anext(batches) == b"batch"
        if not read:
            await asyncio.sleep(0.05)  # it has begun at the peer
    await asyncio.wait_for(service.closed.wait(), 5)
    assert await read_all(batches) == []


async def test_a_training_stream_ends_with_its_deadline(service, remote):
    service.returns(TrainStream(TrainHead(SCHEMA, VERSION), service.endless(b"batch")))
    with deadline.within(0.6):
        stream = await remote["extraction"].query_train(FORM, VERSION)
    with pytest.raises(DeadlineExceeded, match="DEADLINE"):
        await read_all(stream.batches)
    await asyncio.wait_for(service.closed.wait(), 5)


@pytest.mark.parametrize("after", [None, VERSION])
async def test_followed_frames_arrive_in_order(service, remote, after):
    async def pieces():
        yield "log", FRAMES
        yield "log", FRAMES[:1]

    service.told = pieces
    got = await read_all(remote["realtime"].follow(after))
    assert got == [("log", FRAMES), ("log", FRAMES[:1])]
    assert service.asked == [("follow", (after,), {})]


async def test_a_large_piece_of_frames_arrives_in_several(service, remote):
    big = pa.table({"x": pa.array([bytes(3 * 2**20)], pa.binary())})
    frames = tuple(Frame(number, f"p{number}", (Put("t", big),)) for number in range(1, 40))

    async def pieces():
        yield "log", frames

    service.told = pieces
    got = await read_all(remote["realtime"].follow(None))
    assert len(got) > 1  # together they are more than one message may hold
    assert tuple(frame.sequence for _, part in got for frame in part) == tuple(range(1, 40))


async def test_following_has_no_deadline_and_ends_at_the_peer_when_its_reader_leaves(service, remote):
    left = []

    async def pieces():
        left.append(deadline.remaining())
        async for piece in service.endless(("log", FRAMES)):
            yield piece

    service.told = pieces
    with deadline.within(0.5):
        followed = remote["realtime"].follow(None)
        assert await anext(followed) == ("log", FRAMES)
    assert left == [None]
    await followed.aclose()
    await asyncio.wait_for(service.closed.wait(), 5)


async def test_following_another_log_is_refused_by_its_reason(service, remote):
    async def pieces():
        raise FailedPrecondition("OTHER_LOG", "that is another log", log="x")
        yield

    service.told = pieces
    with pytest.raises(FailedPrecondition, match="OTHER_LOG"):
        await anext(remote["realtime"].follow(VERSION))


async def test_a_peer_that_goes_away_ends_its_streams_as_unavailable(service, tmp_path):
    server = create_server()
    add_RealtimeServiceServicer_to_server(RealtimeServicer(service, asyncio.Event()), server)
    address = bind(server, f"unix:{tmp_path}/s")
    await server.start()
    service.told = lambda: service.endless(("log", FRAMES))
    async with open_channel(address) as channel:
        followed = RemoteRealtime(channel, address).follow(None)
        await anext(followed)
        await server.stop(0)
        with pytest.raises((Unavailable, Cancelled)):
            await read_all(followed)
