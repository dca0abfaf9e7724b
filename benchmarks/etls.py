"""One row through an ETL: beside the query alone and the script in process, and beside Feast's on-demand views."""

from __future__ import annotations

import asyncio
import importlib
import random
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import uvloop

import featurestore
import featurestore.etl
from benchmarks import blocks, calls, loads, reads, servers
from benchmarks import profile_job as job
from benchmarks.blocks import BLOCKS, Rounds
from benchmarks.echo import Echo
from benchmarks.feast import peer
from benchmarks.loads import Load
from benchmarks.results import Figure, Part, Row, at_most
from benchmarks.wire import Caller, GrpcCaller, HttpCaller
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.api.gateway.v1.gateway_pb2_grpc import FeatureStoreServiceStub
from featurestore.cli.datasets import demo_texts
from featurestore.cli.demo import commit_script
from featurestore.etl.types import from_pandas, to_pandas
from featurestore.host.folder import StoreFolder
from featurestore.model.frames import table_to_stream

_CALLS = 60
_CALLERS = 32
_CHECKED_KEYS, _AT_ONCE = 1_000, 50
_ALLOWED_MS = 1.0
_SEED = 13
_IN_PROCESS = "the script, in process"


def part(folder: Path, floor: Echo, users: int, peer_users: int, seconds: float) -> Part:
    """Rows and figures.

    Args:
        users: of the store that the demo's ETL is served from; at least 5,000, so that there are keys enough.
        peer_users: of Feast's job.
        seconds: of a block beside Feast.
    """
    found = _measured(folder / "demo", floor, users)
    rows: list[Row] = []
    figures: list[Figure] = []
    for group, rounds in found.items():
        added = rounds.each(lambda etl, query, script: etl - query - script, "ours", "query", _IN_PROCESS)
        rows.append(
            at_most(f"ETL, one row, {group}: ours - query - script in process, ms", added, _ALLOWED_MS)
        )
        figures += [
            Figure(f"one row, {group}", name, "ms", rounds.of(name))
            for name in ("echo", "query", "ours", *_scripts(pa.schema([])))
        ]
    with peer.running(folder / "feast", job.timed(job.rows(peer_users))) as feast:
        beside = _beside(folder / "profile", feast, peer_users, seconds)
    return Part(
        rows=rows,
        figures=[*figures, *beside],
        with_={"feast": feast.version, "feast's online store": feast.online},
        notes=[f"Ours and Feast's two views gave equal values for {_CHECKED_KEYS:,} keys."],
    )


def _measured(folder: Path, floor: Echo, users: int) -> Mapping[str, Rounds]:
    """Rounds of the demo's ETL, for keys of one row that were not asked for before, and for one that is kept."""
    folder.mkdir()
    found: dict[str, Rounds] = {}
    with reads.served(folder, users) as (query, tables, store):
        address = commit_script(folder / "features", demo_texts("insurance").etl)
        saved = store.extract_train(query.query_id, address, save=True)
        keys = _of_one_row(tables["quotes"])
        with grpc.insecure_channel(f"unix:{StoreFolder(folder / f'store-{users}').socket}") as channel:
            stub = FeatureStoreServiceStub(channel)

            def read(key: int) -> pb.QueryRealtimeRequest:
                return calls.read(query.query_id, reads.INDEX_KEY, [key])

            def extract(key: int) -> pb.ExtractRealtimeRequest:
                return calls.extract(query.query_id, saved.etl_id, reads.INDEX_KEY, [key])

            kept = next(keys)
            features = stub.ExtractRealtime(extract(kept), timeout=60)
            if [answer.row_count for answer in features.answers] != [1]:
                raise RuntimeError(f"user {kept} has not one row")
            floor.answers(features.ByteSize())
            stream = stub.QueryRealtime(read(kept), timeout=60).arrow_stream
            for group, drawn in (("not kept", lambda: next(keys)), ("kept", lambda: kept)):
                asked: dict[str, Callable[[], object]] = {
                    "echo": _call(floor.stub.QueryRealtime, read, lambda: kept),
                    "query": _call(stub.QueryRealtime, read, drawn),
                    "ours": _call(stub.ExtractRealtime, extract, drawn),
                    **{name: _run(script, stream) for name, script in _scripts(saved.contract).items()},
                }
                found[group] = blocks.rounds({name: (call, _CALLS) for name, call in asked.items()})
    return found


def _call(
    method: Callable[..., object], request: Callable[[int], object], drawn: Callable[[], int]
) -> Callable[[], object]:
    return lambda: method(request(drawn()), timeout=60)


def _run(script: Callable[[bytes], bytes], stream: bytes) -> Callable[[], object]:
    return lambda: script(stream)


def _of_one_row(quotes: pa.Table) -> Iterator[int]:
    """Users with one quote, each once, in a shuffled order."""
    users, counts = np.unique(quotes["user_id"].to_numpy(), return_counts=True)
    single = users[counts == 1]
    yield from np.random.default_rng(_SEED).permutation(single).tolist()


def _scripts(contract: pa.Schema) -> Mapping[str, Callable[[bytes], bytes]]:
    """The demo's script in this process, from Arrow bytes to Arrow bytes, by name."""
    sys.modules.setdefault("etl_abc", featurestore.etl)
    etl: Any = importlib.import_module("featurestore.cli.datasets.insurance.etl").Etl

    def as_a_worker_does(stream: bytes) -> bytes:
        table = pa.ipc.open_stream(stream).read_all()
        frame = etl(to_pandas(table)).extract()
        return table_to_stream(from_pandas(frame, input_schema=table.schema, contract=contract))

    def by_pyarrow(stream: bytes) -> bytes:
        frame = etl(pa.ipc.open_stream(stream).read_pandas()).extract()
        return table_to_stream(pa.Table.from_pandas(frame, preserve_index=False))

    return {_IN_PROCESS: as_a_worker_does, f"{_IN_PROCESS}, by pyarrow's conversions": by_pyarrow}


@dataclass(frozen=True)
class _Side:
    """One of those that make the same of Feast's features, as its callers see it.

    Attributes:
        body: what asks for keys.
        made: the features in an answer, a dict for each key.
    """

    target: str
    open: Callable[[str], Awaitable[Caller]]
    path: str
    body: Callable[[Sequence[int]], bytes]
    made: Callable[[bytes], list[dict[str, object]]]


def _beside(folder: Path, feast: peer.Feast, users: int, seconds: float) -> list[Figure]:
    """What one caller waits for, and what 32 get done."""
    theirs = {
        f"feast, {view}": _Side(
            feast.server.target,
            HttpCaller.open,
            peer.READ,
            lambda keys, view=view: feast.made(view, keys),  # type: ignore[misc]  # its type is the attribute's
            _of_feast,
        )
        for view in peer.VIEWS
    }
    with servers.ours(folder, cache_bytes=0) as server:
        with featurestore.connect(server.target) as store:
            store.publish(job.TABLE, job.rows(users), primary_key="user_id")
            query = store.query_train(job.SQL, save=True, index_key="user_id").query_id
            etl = store.extract_train(query, commit_script(folder / "features", job.ETL), save=True).etl_id
        ours = _Side(
            server.target,
            GrpcCaller.open,
            calls.EXTRACT,
            lambda keys: calls.extract(query, etl, "user_id", keys).SerializeToString(),
            calls.features_of,
        )
        sides = {"ours": ours, **theirs}
        uvloop.run(_equal(list(sides.values()), users))
        middle: dict[str, list[float]] = {name: [] for name in sides}
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for block in range(BLOCKS):
            keys = job.evenly(users, 1, seed=block)
            for name, side in sides.items():
                middle[name].append(uvloop.run(_closed(side, 1, keys, seconds)).p50)
                rates[name].append(uvloop.run(_closed(side, _CALLERS, keys, seconds)).rate)
    group = "Feast's job, one key, three features made of six"
    waited, done = Rounds(middle), Rounds(rates)
    return [
        *(Figure(f"{group}, one caller, p50", name, "ms", waited.of(name)) for name in sides),
        *(Figure(f"{group}, {_CALLERS} callers", name, "calls a second", done.of(name)) for name in sides),
    ]


def _of_feast(answer: bytes) -> list[dict[str, object]]:
    columns = peer.values(answer)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


async def _equal(sides: Sequence[_Side], users: int) -> None:
    """Check that all make the same of the same keys.

    Raises:
        RuntimeError: they do not; nothing that is measured would mean anything.
    """
    keys = random.Random(_SEED).sample(range(users), min(users, _CHECKED_KEYS))  # noqa: S311 - test data
    answers = []
    for side in sides:
        caller = await side.open(side.target)
        rows: list[dict[str, object]] = []
        for start in range(0, len(keys), _AT_ONCE):
            rows += side.made(await caller.call(side.path, side.body(keys[start : start + _AT_ONCE])))
        answers.append(pd.DataFrame(rows))
        caller.close()
    mine, *others = answers
    for other in others:
        same = (mine[["user_id", *peer.MADE]] == other[["user_id", *peer.MADE]]).all(axis=None)
        if len(mine) != len(keys) or not same:
            raise RuntimeError("ours and Feast's do not make the same")


async def _closed(side: _Side, count: int, keys: Callable[[], Sequence[int]], seconds: float) -> Load:
    callers = await asyncio.gather(*(side.open(side.target) for _ in range(count)))

    def bound(caller: Caller) -> loads.Call:
        return lambda: caller.call(side.path, side.body(keys()))

    try:
        return await loads.closed([bound(each) for each in callers], seconds)
    finally:
        for each in callers:
            each.close()
