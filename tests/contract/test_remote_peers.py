"""A remote peer can't be told from the object behind it: same results, same errors, same deadlines, same ends."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from inspect import signature

import grpc
import pyarrow as pa
import pytest

from featurestore.api.catalog.v1.catalog_pb2_grpc import add_CatalogServiceServicer_to_server
from featurestore.api.extraction.v1.extraction_pb2_grpc import add_ExtractionServiceServicer_to_server
from featurestore.api.realtime.v1.realtime_pb2_grpc import add_RealtimeServiceServicer_to_server
from featurestore.model import deadline, peers
from featurestore.model.errors import (
    BY_CODE,
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Unavailable,
)
from featurestore.model.etl import Declarations, Etl, EtlDraft, EtlSource, PinnedScript, Provenance
from featurestore.model.frames import table_to_stream
from featurestore.model.names import Kind
from featurestore.model.query import Column, Notes, OrderTerm, Query, QueryDraft, QueryForm, Warned
from featurestore.model.serving import (
    Answer,
    AnswerFormat,
    AnswerInfo,
    CatalogStatus,
    Difference,
    EtlRun,
    Explanation,
    ExtractionStatus,
    KeyAnswer,
    Keys,
    Occurrence,
    Outcome,
    Progress,
    RealtimeStatus,
    TrainHead,
    TrainStream,
    Verdict,
    VerifyReport,
)
from featurestore.model.table import (
    Define,
    Frame,
    Published,
    Put,
    TableDefinition,
    TableInfo,
    TableRows,
    Version,
)
from featurestore.model.warming import CacheReport, CacheUse, KeptUp, Warmed
from featurestore.rpc.channels import open_channel
from featurestore.rpc.remote_catalog import RemoteCatalog
from featurestore.rpc.remote_extraction import RemoteExtraction
from featurestore.rpc.remote_realtime import RemoteRealtime
from featurestore.rpc.server import bind, create_server
from services.catalog.servicer import CatalogServicer
from services.extraction.servicer import ExtractionServicer
from services.realtime.servicer import RealtimeServicer

VERSION = Version("log", 7)
SCHEMA = pa.schema([("user_id", pa.int64()), ("at", pa.timestamp("us", "UTC"))])
COLUMNS = (Column("user_id", pa.int64(), "BIGINT"), Column("at", pa.timestamp("us", "UTC"), "TIMESTAMP"))
FORM = QueryForm("SELECT 1", COLUMNS, (OrderTerm("at", descending=True, nulls_first=False),))
NOTES = Notes("ann", "what it is", {"team": "a"})
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
QUERY = Query(
    "qry_1",
    FORM,
    "select 1",
    ("quotes",),
    NOTES,
    (Warned("W", "w"),),
    True,
    NOW,
    ("q@1",),
    (("user_id",),),
    ("indexed",),
)
PROVENANCE = Provenance("https://host/repo", "main", "0" * 40, "etl.py", {"pandas": "3"})
DECLARED = Declarations("key", pure=True, kind="sql")
SCRIPT = PinnedScript("ab" * 32, PROVENANCE, (("n.py", "cd" * 32),), DECLARED)
ETL = Etl("etl_1", "qry_1", "ab" * 32, SCRIPT.neighbours, SCHEMA, (PROVENANCE,), NOTES, NOW, ("e",), DECLARED)
RUN = EtlRun("etl_1", "qry_1", SCRIPT, COLUMNS, SCHEMA)
INFO = AnswerInfo("qry_1", VERSION, "etl_1", "ab", "cd", from_cache=True, features_from_cache=True)
KEYS = Keys(("user_id",), ((1,), ("2",), (1,)))
FOUND = (KeyAnswer(Outcome.FOUND, 2), KeyAnswer(Outcome.ABSENT, 0), KeyAnswer(Outcome.FOUND, 2))
ARROW_ANSWER = Answer(FOUND, AnswerFormat.ARROW, b"arrow", INFO)
ROWS_ANSWER = Answer(FOUND, AnswerFormat.ROWS, b"rows", INFO)
TABLE = TableDefinition("quotes", SCHEMA, ("user_id",), "at")
TABLE_INFO = TableInfo(TABLE, 3, VERSION)
ROWS = pa.table({"user_id": [1, 2], "at": pa.array([NOW, NOW], pa.timestamp("us", "UTC"))})
USE = CacheUse("qry_1", ("user_id",), KeptUp.BY_ITSELF, 7, 3, 5, 4_000, 12.5)
EXPLANATION = Explanation(
    "qry_1",
    ("user_id",),
    Verdict.PARTLY_INDEXED,
    (Occurrence("quotes", "q", "user_id", "key user_id", ("GROUP_BY",), "", "i", 3),),
    False,
    "now()",
    "plan",
    (),
    USE,
)
REPORT = VerifyReport(10, 9, 1, (Difference("1", "at", "a", "b", "DATA_DIFFERS"),), VERSION, ("by rows",))
FRAMES = (Frame(8, "p8", (Define(TABLE), Put("quotes", ROWS))), Frame(9, "p9", (Put("quotes", ROWS),)))

CALLS = {
    "catalog": [
        (
            "save_query",
            (QueryDraft(FORM, "select 1", ("quotes",), "q", ("user_id",), "indexed", NOTES),),
            {},
            QUERY,
        ),
        ("save_etl", (EtlDraft("qry_1", SCRIPT, SCHEMA, "e", ("user_id",), "indexed", NOTES),), {}, ETL),
        ("get_query", ("qry_1",), {}, QUERY),
        ("get_etl", ("etl_1",), {}, ETL),
        ("name_versions", (Kind.ETL, "e"), {}, ("etl_1", "etl_2")),
        ("list_queries", (10, "token"), {}, ((QUERY,), "next")),
        ("list_etls", (10, ""), {}, ((ETL,), "")),
        ("status", (), {}, CatalogStatus(1, 2, "sqlite")),
    ],
    "realtime": [
        ("create_table", (TABLE,), {}, TABLE_INFO),
        ("drop_table", ("quotes",), {}, VERSION),
        (
            "publish",
            (
                "p1",
                [TableRows("a", table_to_stream(ROWS), ("user_id",), "at"), TableRows("b", b"", None, None)],
            ),
            {},
            Published(2, VERSION),
        ),
        ("delete", ("p2", "quotes", KEYS), {}, Published(3, VERSION)),
        ("delete", ("p3", "quotes", table_to_stream(ROWS)), {}, Published(2, VERSION)),
        ("get_table", ("quotes",), {}, TABLE_INFO),
        ("list_tables", (), {}, (TABLE_INFO,)),
        ("describe", ("SELECT 1",), {}, COLUMNS),
        ("query", ("qry_1", FORM, KEYS, AnswerFormat.ARROW), {}, ARROW_ANSWER),
        ("query", ("qry_1", FORM, KEYS, AnswerFormat.ROWS), {}, ROWS_ANSWER),
        ("explain", ("qry_1", FORM, ("user_id",)), {}, EXPLANATION),
        ("declare", ("qry_1", FORM, ("user_id",)), {}, EXPLANATION),
        ("sample_keys", (FORM, ("user_id",), 5), {}, ROWS),
        ("version", (), {}, VERSION),
        (
            "warm",
            ("qry_1", FORM, ("user_id",), KEYS),
            {"keep": True, "answer_format": AnswerFormat.ROWS},
            Warmed(5, 1, 2, 3, 4),
        ),
        (
            "warm",
            ("qry_1", FORM, ("user_id",), None),
            {"keep": None, "answer_format": AnswerFormat.ARROW},
            Warmed(),
        ),
        (
            "warm",
            ("qry_1", FORM, ("user_id",), None),
            {"keep": False, "answer_format": AnswerFormat.ARROW},
            Warmed(),
        ),
        (
            "status",
            (),
            {},
            RealtimeStatus(
                VERSION,
                1,
                3,
                writable=False,
                not_writable_because="disk",
                cache=CacheReport(1, 2, 3, 4, 5, 6, (USE,)),
            ),
        ),
    ],
    "extraction": [
        ("describe", ("SELECT 1", VERSION), {}, COLUMNS),
        ("run_etl", (RUN, ARROW_ANSWER, AnswerFormat.ROWS), {}, ROWS_ANSWER),
        ("verify", ("qry_1", FORM, RUN, ("user_id",), 10), {}, REPORT),
        ("verify", ("qry_1", FORM, None, ("user_id",), 10), {}, REPORT),
        (
            "status",
            (),
            {},
            ExtractionStatus(VERSION, 2, following=True, last_error="", etls_refused="no Landlock"),
        ),
    ],
}
STREAM_CALLS = [
    ("query_train", (FORM, VERSION), {"head_only": False}),
    ("extract_train", (FORM, VERSION, RUN), {"pin": False, "index_key": ()}),
    (
        "extract_train",
        (FORM, VERSION, EtlSource(address="git+https://host/r#e.py")),
        {"pin": True, "index_key": ("user_id", "at")},
    ),
    (
        "extract_train",
        (FORM, VERSION, EtlSource(local_path="/e.py", text="x", neighbours=(("a.py", "y"),))),
        {"pin": True, "index_key": ("user_id",)},
    ),
]
UNARY = [(service, *call) for service, calls in CALLS.items() for call in calls]
UNARY_IDS = [f"{service}.{name}" for service, name, *_ in UNARY]


class Service:
    """Stands for all three services: does what it was told to, and remembers how it was called."""

    def __init__(self):
        self.told = None
        self.asked = []
        self.closed = asyncio.Event()

    def __getattr__(self, name):
        async def method(*args, **kwargs):
            self.asked.append((name, args, kwargs))
            return await self.told()

        return method

    def follow(self, after):
        self.asked.append(("follow", (after,), {}))
        return self.told()

    def returns(self, result):
        async def told():
            return result

        self.told = told

    def raises(self, error):
        async def told():
            raise error

        self.told = told

    async def endless(self, first):
        """Yields without end; says when it is closed."""
        try:
            while True:
                yield first
                await asyncio.sleep(0.001)
        finally:
            self.closed.set()


@pytest.fixture
async def service():
    return Service()


@pytest.fixture
async def remote(service, tmp_path):
    server = create_server()
    add_CatalogServiceServicer_to_server(CatalogServicer(service), server)
    add_RealtimeServiceServicer_to_server(RealtimeServicer(service, asyncio.Event()), server)
    add_ExtractionServiceServicer_to_server(ExtractionServicer(service), server)
    address = bind(server, f"unix:{tmp_path}/s")
    await server.start()
    async with open_channel(address) as channel:
        yield adapters(channel, address)
    await server.stop(0)


def adapters(channel, target) -> dict[str, object]:
    return {
        "catalog": RemoteCatalog(channel, target),
        "realtime": RemoteRealtime(channel, target),
        "extraction": RemoteExtraction(channel, target),
    }


async def read_all(iterator):
    return [item async for item in iterator]


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


# Streams


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
