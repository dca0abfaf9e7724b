"""A remote peer can't be told from the object behind it: same results, same errors, same deadlines, same ends."""

import asyncio
from inspect import signature

import grpc
import pytest

from featurestore.model import deadline, peers
from featurestore.model.errors import (
    BY_CODE,
    AlreadyExists,
    DeadlineExceeded,
    Internal,
    Unavailable,
)
from featurestore.rpc.channels import open_channel
from featurestore.rpc.remote_catalog import RemoteCatalog
from featurestore.rpc.remote_extraction import RemoteExtraction
from featurestore.rpc.remote_realtime import RemoteRealtime
from featurestore.rpc.server import bind, create_server
from tests.support.peer_calls import CALLS, FORM, UNARY, UNARY_IDS, VERSION
from tests.support.told_service import adapters


@pytest.mark.parametrize(
    ("protocol", "adapter"),
    [
        (peers.Catalog, RemoteCatalog),
        (peers.Realtime, RemoteRealtime),
        (peers.Extraction, RemoteExtraction),
    ],
)
def test_an_adapter_has_the_protocols_methods_and_signatures_and_each_is_tested_here(protocol, adapter):
    methods = {name for name in vars(protocol) if not name.startswith("_")}
    for name in methods:
        assert signature(getattr(adapter, name)) == signature(getattr(protocol, name))
    tested = {name for name, *_ in CALLS[protocol.__name__.lower()]}
    assert methods == tested | ({"follow"} if protocol is peers.Realtime else set()) | (
        {"query_train", "extract_train"} if protocol is peers.Extraction else set()
    )


@pytest.mark.parametrize(("name", "method", "args", "kwargs", "result"), UNARY, ids=UNARY_IDS)
async def test_a_remote_call_is_the_same_call_with_the_same_result(
    service, remote, name, method, args, kwargs, result
):
    service.returns(result)
    assert await getattr(remote[name], method)(*args, **kwargs) == result
    assert service.asked == [(method, args, kwargs)]


@pytest.mark.parametrize(("name", "method", "args", "kwargs", "_result"), UNARY, ids=UNARY_IDS)
async def test_every_remote_call_raises_what_the_service_raised(
    service, remote, name, method, args, kwargs, _result
):
    service.raises(
        AlreadyExists("TABLE_DEFINED_OTHERWISE", "it exists, 100 % otherwise: ü", table="ü", was=3)
    )
    with pytest.raises(AlreadyExists) as refused:
        await getattr(remote[name], method)(*args, **kwargs)
    assert refused.value.reason == "TABLE_DEFINED_OTHERWISE"
    assert refused.value.message == "it exists, 100 % otherwise: ü"
    assert refused.value.details == {"table": "ü", "was": "3"}


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=BY_CODE)
async def test_every_class_of_error_arrives_as_itself(service, remote, kind):
    service.raises(kind("REASON", "message", detail="x"))
    with pytest.raises(kind) as refused:
        await remote["realtime"].version()
    assert type(refused.value) is kind
    assert (refused.value.reason, refused.value.details) == ("REASON", {"detail": "x"})


async def test_a_bug_of_the_service_leaks_nothing(service, remote):
    service.raises(RuntimeError("secret"))
    with pytest.raises(Internal) as failed:
        await remote["realtime"].version()
    assert failed.value.reason == "INTERNAL"
    assert failed.value.details.keys() == {"correlation_id"}
    assert "secret" not in repr((str(failed.value), failed.value.__cause__))


async def test_a_reply_that_lacks_what_it_must_have_is_the_peers_fault_and_not_the_callers(tmp_path):
    async def empty(_request, _context):
        return b""

    async def nothing(_request, _context):
        return
        yield

    server = create_server()
    for name, methods in (
        ("realtime.v1.RealtimeService", {"GetVersion": grpc.unary_unary_rpc_method_handler(empty)}),
        ("extraction.v1.ExtractionService", {"QueryTrain": grpc.unary_stream_rpc_method_handler(nothing)}),
    ):
        handler = grpc.method_handlers_generic_handler(f"featurestore.api.{name}", methods)
        server.add_generic_rpc_handlers([handler])
    address = bind(server, f"unix:{tmp_path}/s")
    await server.start()
    async with open_channel(address) as channel:
        remote = adapters(channel, address)
        for call in (remote["realtime"].version(), remote["extraction"].query_train(FORM, VERSION)):
            with pytest.raises(Internal, match="BAD_REPLY"):
                await call
    await server.stop(0)


# Deadlines


async def test_the_deadline_travels_and_shrinks_on_the_way(service, remote):
    seen = []

    async def told():
        seen.append(deadline.remaining())
        return VERSION

    service.told = told
    with deadline.within(2.0):
        await remote["realtime"].version()
    await remote["realtime"].version()
    assert 1.0 < seen[0] <= 1.81  # the hop and the margin are taken off
    assert seen[1] > 5  # nobody set one: the default


async def test_a_call_without_time_left_is_not_made(service, remote):
    service.returns(VERSION)
    with deadline.within(0.0), pytest.raises(DeadlineExceeded, match="DEADLINE"):
        await remote["realtime"].version()
    with deadline.within(0.0), pytest.raises(DeadlineExceeded, match="DEADLINE"):
        await remote["extraction"].query_train(FORM, VERSION)
    assert service.asked == []


async def test_a_peer_that_works_too_long_answers_before_its_callers_time_ends(service, remote):
    cancelled = asyncio.Event()

    async def told():
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.set()

    service.told = told
    with deadline.within(0.5), pytest.raises(DeadlineExceeded) as ended:
        await remote["realtime"].version()
    assert ended.value.reason == "DEADLINE"
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_caller_that_gives_up_cancels_the_work_at_the_peer(service, remote):
    working, cancelled = asyncio.Event(), asyncio.Event()

    async def told():
        working.set()
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.set()

    service.told = told
    call = asyncio.create_task(remote["realtime"].version())
    await asyncio.wait_for(working.wait(), 5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(cancelled.wait(), 5)


# A peer that is not there


@pytest.mark.parametrize("name", CALLS)
async def test_a_peer_that_is_not_there_is_unavailable_and_named(tmp_path, name):
    async with open_channel(f"unix:{tmp_path}/nobody") as channel:
        with deadline.within(5), pytest.raises(Unavailable) as refused:
            await adapters(channel, "host:1")[name].status()
        assert refused.value.reason == "PEER_UNAVAILABLE"
        assert "host:1" in refused.value.message


@pytest.mark.parametrize("name", CALLS)
async def test_a_closed_connection_is_unavailable(tmp_path, name):
    channel = open_channel(f"unix:{tmp_path}/nobody")
    await channel.close()
    with pytest.raises(Unavailable, match="is closed"):
        await adapters(channel, "host:1")[name].status()
