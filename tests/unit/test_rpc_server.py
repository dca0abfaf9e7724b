"""What a server of ours does around its handlers: deadlines, verdicts, streams, limits."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from featurestore.model import deadline
from featurestore.model.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from featurestore.rpc.channels import MAX_MESSAGE_BYTES, open_channel, open_sync_channel
from featurestore.rpc.deadlines import default_seconds, working_seconds
from featurestore.rpc.errors import from_rpc_error
from featurestore.rpc.server import bind, create_server

SERVICE = "featurestore.api.test.v1.TestService"


def handlers(**behaviours):
    """A service of raw bytes, without stubs: generators answer with streams, coroutines with one reply."""
    methods = {
        name: (
            grpc.unary_stream_rpc_method_handler(behaviour)
            if name.startswith("Stream")
            else grpc.unary_unary_rpc_method_handler(behaviour)
        )
        for name, behaviour in behaviours.items()
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)


@asynccontextmanager
async def serving(tmp_path, handler, **options):
    server = create_server(**options)
    server.add_generic_rpc_handlers([handler])
    address = bind(server, f"unix:{tmp_path}/s")
    await server.start()
    try:
        async with open_channel(address) as channel:
            yield channel
    finally:
        await server.stop(0)


async def call(channel, name, request=b"", timeout=None):  # noqa: ASYNC109 # the call's deadline
    try:
        return await channel.unary_unary(f"/{SERVICE}/{name}")(request, timeout=timeout)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


def stream(channel, name, timeout=None):
    return channel.unary_stream(f"/{SERVICE}/{name}")(b"", timeout=timeout)


async def read_all(replies):
    read = []
    try:
        while (reply := await replies.read()) is not grpc.aio.EOF:
            read.append(reply)
        return read  # noqa: TRY300 # all of it
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error


# Verdicts


async def test_an_error_of_ours_arrives_typed_from_a_call_and_from_the_midst_of_a_stream(tmp_path):
    async def refuse(_request, _context):
        raise NotFound("UNKNOWN_TABLE", "there is no table x", table="x")

    async def begin_and_refuse(request, context):
        yield b"1"
        await refuse(request, context)

    async with serving(tmp_path, handlers(Refuse=refuse, StreamRefuse=begin_and_refuse)) as channel:
        with pytest.raises(NotFound) as refused:
            await call(channel, "Refuse")
        assert (refused.value.reason, refused.value.details) == ("UNKNOWN_TABLE", {"table": "x"})
        replies = stream(channel, "StreamRefuse")
        assert await replies.read() == b"1"
        with pytest.raises(NotFound, match="there is no table x"):
            await read_all(replies)


async def test_an_unexpected_exception_leaks_nothing_and_is_logged_with_its_correlation_id(tmp_path, caplog):
    async def fail(_request, _context):
        raise KeyError("secret of /etc/passwd")

    async def begin_and_fail(request, context):
        yield b"1"
        await fail(request, context)

    async def answer_nonsense(_request, _context):
        return object()

    async with serving(
        tmp_path, handlers(Fail=fail, StreamFail=begin_and_fail, Nonsense=answer_nonsense)
    ) as channel:
        for attempt in (
            lambda: call(channel, "Fail"),
            lambda: read_all(stream(channel, "StreamFail")),
            lambda: call(channel, "Nonsense"),
        ):
            caplog.clear()
            with pytest.raises(Exception, match="INTERNAL") as failed:
                await attempt()
            assert failed.value.code == "INTERNAL"
            cause = failed.value.__cause__
            seen = f"{cause.details()} {cause.trailing_metadata()} {failed.value} {failed.value.details}"
            for leak in ("secret", "KeyError", "TypeError", "passwd", "Traceback", "object"):
                assert leak not in seen
            [record] = caplog.records
            assert failed.value.details["correlation_id"] in record.getMessage()
            assert record.exc_info


async def test_a_request_that_is_no_message_is_the_callers_mistake(tmp_path):
    async def never(_request, _context):
        raise AssertionError

    handler = grpc.unary_unary_rpc_method_handler(never, request_deserializer=BytesValue.FromString)
    async with serving(
        tmp_path, grpc.method_handlers_generic_handler(SERVICE, {"Never": handler})
    ) as channel:
        with pytest.raises(InvalidArgument, match="BAD_MESSAGE"):
            await call(channel, "Never", b"\xff\xff\xff")


async def test_a_peers_verdict_is_relayed_whole(tmp_path):
    async def refuse(_request, _context):
        raise NotFound("UNKNOWN_TABLE", "there is no table x", table="x")

    (tmp_path / "inner").mkdir()
    async with serving(tmp_path / "inner", handlers(Refuse=refuse)) as inner:

        async def typed(_request, _context):
            return await call(inner, "Refuse")

        async def untyped(_request, _context):
            return await inner.unary_unary(f"/{SERVICE}/Refuse")(b"")

        async with serving(tmp_path, handlers(Typed=typed, Untyped=untyped)) as channel:
            for name in ("Typed", "Untyped"):
                with pytest.raises(NotFound, match="there is no table x") as refused:
                    await call(channel, name)
                assert (refused.value.reason, refused.value.details) == ("UNKNOWN_TABLE", {"table": "x"})


async def test_a_handler_that_aborts_by_itself_is_let(tmp_path):
    async def abort(_request, context):
        await context.abort(grpc.StatusCode.DATA_LOSS, "as I say")

    async with serving(tmp_path, handlers(Abort=abort)) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            await channel.unary_unary(f"/{SERVICE}/Abort")(b"")
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.DATA_LOSS, "as I say")


# Deadlines


async def remaining(_request, _context):
    left = deadline.remaining()
    return b"none" if left is None else f"{left:.3f}".encode()


async def test_a_handler_sees_its_callers_deadline_less_the_margin(tmp_path):
    async with serving(tmp_path, handlers(Remaining=remaining)) as channel:
        # The margin is half a second; gRPC's own clock may be a tenth behind.
        assert 8.5 < float(await call(channel, "Remaining", timeout=10)) <= 9.7


async def test_a_call_without_a_deadline_gets_the_methods_default(tmp_path):
    asked = []

    def default(method):
        asked.append(method)
        return 7.0

    async with serving(tmp_path, handlers(Remaining=remaining), default_seconds=default) as channel:
        for _ in range(2):
            assert 6 < float(await call(channel, "Remaining")) <= 7
        assert asked == [f"/{SERVICE}/Remaining"]  # a method is wrapped once


async def test_a_call_may_have_no_end(tmp_path):
    async with serving(
        tmp_path, handlers(Remaining=remaining), default_seconds=lambda _method: None
    ) as channel:
        assert await call(channel, "Remaining") == b"none"


async def test_a_handler_that_works_too_long_is_cancelled_and_answered_in_time(tmp_path):
    cancelled = asyncio.Event()

    async def sleep(_request, _context):
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.set()

    async def slow_stream(request, context):
        yield b"1"
        await sleep(request, context)

    async with serving(tmp_path, handlers(Sleep=sleep, StreamSleep=slow_stream)) as channel:
        for attempt in (
            lambda: call(channel, "Sleep", timeout=0.5),
            lambda: read_all(stream(channel, "StreamSleep", timeout=0.5)),
        ):
            cancelled.clear()
            with pytest.raises(DeadlineExceeded, match="before its work was done") as ended:
                await attempt()
            assert ended.value.reason == "DEADLINE"
            await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_handler_whose_caller_leaves_is_cancelled(tmp_path):
    waiting, cancelled = asyncio.Event(), asyncio.Event()

    async def sleep(_request, _context):
        try:
            waiting.set()
            await asyncio.sleep(30)
        finally:
            cancelled.set()

    async with serving(tmp_path, handlers(Sleep=sleep)) as channel:
        asked = channel.unary_unary(f"/{SERVICE}/Sleep")(b"")
        await asyncio.wait_for(waiting.wait(), 5)
        asked.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_handler_goes_on_with_what_its_waiting_brought(tmp_path):
    async def wait(request, _context):
        brought = [request]
        for seconds in (0, 0.001):
            await asyncio.sleep(seconds)
            brought.append(await asyncio.to_thread(lambda: b"from a thread"))
        try:
            await asyncio.to_thread(int, "no number")
        except ValueError:
            brought.append(b"an error")
        return b", ".join(brought)

    async with serving(tmp_path, handlers(Wait=wait)) as channel:
        assert await call(channel, "Wait", b"asked") == b"asked, from a thread, from a thread, an error"


async def test_a_timeout_of_the_handlers_own_is_not_taken_for_the_deadline(tmp_path, caplog):
    async def inner_timeout(_request, _context):
        raise TimeoutError

    async with serving(tmp_path, handlers(Fail=inner_timeout)) as channel:
        with pytest.raises(Exception, match="INTERNAL"):
            await call(channel, "Fail", timeout=5)
    assert caplog.records


@pytest.mark.parametrize(
    ("given", "least", "most"), [(1.0, 0.9, 0.9), (300, 299.5, 299.5), (0.2, 0.15, 0.15), (0.06, 0.03, 0.03)]
)
def test_a_server_works_all_but_the_margin_and_at_least_half(given, least, most):
    assert least - 1e-9 <= working_seconds(given) <= most + 1e-9


def test_defaults_are_for_our_methods_and_endless_streams_have_none():
    ours = "/featurestore.api.gateway.v1.FeatureStoreService/"
    assert default_seconds(ours + "QueryRealtime") == 1
    assert default_seconds(ours + "QueryTrain") == 300
    assert default_seconds(ours + "GetQuery") == 10
    assert default_seconds(ours + "Attach") is None
    assert default_seconds("/arrow.flight.protocol.FlightService/DoGet") == 300
    assert default_seconds("/arrow.flight.protocol.FlightService/GetFlightInfo") == 10
    assert default_seconds("/grpc.health.v1.Health/Watch") is None


# Streams


async def test_a_stream_whose_reader_leaves_is_closed(tmp_path):
    closed = asyncio.Event()

    async def count(_request, _context):
        try:
            for number in range(10**9):
                yield str(number).encode()
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    async with serving(tmp_path, handlers(StreamCount=count)) as channel:
        replies = stream(channel, "StreamCount")
        assert await replies.read() == b"0"
        replies.cancel()
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_stream_that_waits_for_news_is_closed_when_its_reader_leaves(tmp_path):
    closed = asyncio.Event()

    async def wait(_request, _context):
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with serving(tmp_path, handlers(StreamWait=wait)) as channel:
        replies = stream(channel, "StreamWait")
        assert await replies.read() == b"first"
        replies.cancel()
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_stream_may_be_any_async_iterator(tmp_path):
    class Three:
        closed = False

        def __init__(self):
            self.left = 3

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return b"x"

        async def aclose(self):
            Three.closed = True

    async with serving(tmp_path, handlers(StreamThree=lambda _request, _context: Three())) as channel:
        assert await read_all(stream(channel, "StreamThree")) == [b"x"] * 3
    assert Three.closed


async def test_a_stream_whose_reader_takes_nothing_ends_and_its_generator_is_closed(tmp_path):
    closed = asyncio.Event()

    async def pour(_request, _context):
        try:
            while True:
                yield bytes(2**20)
        finally:
            closed.set()

    async with serving(tmp_path, handlers(StreamPour=pour), stream_idle_seconds=0.2) as channel:
        replies = stream(channel, "StreamPour")
        await asyncio.wait_for(closed.wait(), 10)
        with pytest.raises(DeadlineExceeded) as ended:
            await read_all(replies)
        assert ended.value.reason == "STREAM_IDLE"


async def test_a_stream_that_has_nothing_to_say_is_not_idle(tmp_path):
    async def late(_request, _context):
        await asyncio.sleep(0.5)
        yield b"late"

    async with serving(tmp_path, handlers(StreamLate=late), stream_idle_seconds=0.1) as channel:
        assert await read_all(stream(channel, "StreamLate")) == [b"late"]


# The transport


async def test_a_verdict_of_ours_is_not_repeated_by_the_transport(tmp_path):
    calls = []

    async def unavailable(_request, _context):
        calls.append(1)
        raise Unavailable("WAREHOUSE_BEHIND", "not yet")

    async with serving(tmp_path, handlers(Try=unavailable)) as channel:
        with pytest.raises(Unavailable, match="WAREHOUSE_BEHIND"):
            await call(channel, "Try")
        assert len(calls) == 1


async def test_a_call_that_no_server_answered_is_repeated(tmp_path):
    calls = []

    async def flaky(_request, context):
        calls.append(1)
        if len(calls) < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as a broken connection would")
        return b"third time lucky"

    async with serving(tmp_path, handlers(Try=flaky)) as channel:
        assert await call(channel, "Try") == b"third time lucky"


async def test_a_server_that_is_not_there_is_unavailable(tmp_path):
    async with open_channel(f"unix:{tmp_path}/nobody") as channel:
        with pytest.raises(Unavailable, match="PEER_UNAVAILABLE"):
            await call(channel, "Try", timeout=5)


async def test_64_mib_pass_and_more_than_80_are_refused(tmp_path):
    async def size(request, _context):
        return str(len(request)).encode()

    async with serving(tmp_path, handlers(Size=size)) as channel:
        assert await call(channel, "Size", bytes(64 * 2**20)) == str(64 * 2**20).encode()
        with pytest.raises(Exception, match="MESSAGE_TOO_LARGE") as refused:
            await call(channel, "Size", bytes(MAX_MESSAGE_BYTES + 1))
        assert refused.value.code == "RESOURCE_EXHAUSTED"


async def test_the_blocking_channel_gets_the_same_verdicts(tmp_path):
    async def refuse(_request, _context):
        raise NotFound("UNKNOWN_TABLE", "there is no table x", table="x")

    async with serving(tmp_path, handlers(Refuse=refuse)):

        def ask():
            with open_sync_channel(f"unix:{tmp_path}/s") as channel:
                channel.unary_unary(f"/{SERVICE}/Refuse")(b"", timeout=5)

        with pytest.raises(grpc.RpcError) as refused:
            await asyncio.to_thread(ask)
        assert from_rpc_error(refused.value).details == {"table": "x"}
