"""Uncached reads: ours beside the echo, the narrowed text on a bare cursor, and the query wrapped as it is."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pyarrow as pa

import featurestore
from benchmarks import blocks, data
from benchmarks.bare import Bare, BareQuery
from benchmarks.blocks import Rounds
from benchmarks.echo import Echo
from featurestore.api.common.v1 import common_pb2
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.api.gateway.v1.gateway_pb2_grpc import FeatureStoreServiceStub
from featurestore.host.folder import StoreFolder
from featurestore.model.serving import Keys

INDEX_KEY = "user_id"
_SEED = 11
_WATCHMAN_SECONDS = 15
"""It rests four times as long as it works, so it is done with the first twenty answers by then."""
_FORMAT = common_pb2.ANSWER_FORMAT_ARROW


@dataclass(frozen=True)
class Sizes:
    """How often each thing is called in a block."""

    ours: int
    bare: int
    naive: int


class Ours:
    """A local store's query, called by the generated stub, as a backend would."""

    def __init__(self, query_id: str, channel: grpc.Channel) -> None:
        """Use a store that is open."""
        self._stub = FeatureStoreServiceStub(channel)
        self._query_id = query_id

    def request(self, keys: Keys) -> pb.QueryRealtimeRequest:
        """What is sent."""
        return pb.QueryRealtimeRequest(
            query=self._query_id,
            format=_FORMAT,
            keys=common_pb2.Keys(
                columns=keys.columns,
                tuples=[
                    common_pb2.KeyTuple(values=[common_pb2.Value(int64_value=value)])
                    for (value,) in keys.tuples
                ],
            ),
        )

    def __call__(self, keys: Keys) -> pb.QueryRealtimeResponse:
        """One call."""
        return self._stub.QueryRealtime(self.request(keys), timeout=60)


@contextmanager
def served(
    folder: Path, users: int, sql: str = data.SQL
) -> Iterator[tuple[Ours, dict[str, pa.Table], featurestore.Store]]:
    """A local store with so many users, a query declared, and the watchman done with the first answers."""
    path = folder / f"store-{users}"
    with featurestore.local(path) as store:
        tables = data.load(store, users)
        with grpc.insecure_channel(f"unix:{StoreFolder(path).socket}") as channel:
            yield declared(store, channel, users, sql), tables, store


def declared(store: featurestore.Store, channel: grpc.Channel, users: int, sql: str) -> Ours:
    """A query that is served by indexes."""
    saved = store.query_train(sql, save=True, index_key=INDEX_KEY)
    if saved.explanation is None or saved.explanation.verdict != "indexed":
        raise RuntimeError(f"the query is not served by indexes: {saved.explanation}")
    ours = Ours(saved.query_id, channel)
    asked = drawn(users, 1)
    for _ in range(25):
        ours(asked())
    time.sleep(_WATCHMAN_SECONDS)
    return ours


def measure(folder: Path, echo: Echo, users: int, counts: dict[int, Sizes]) -> dict[tuple[str, int], Rounds]:
    """Rounds of `echo`, `bare`, `ours`, `plain`, `listed` and `parameter`, by query and number of keys."""
    found: dict[tuple[str, int], Rounds] = {}
    with served(folder, users) as (of_demo, tables, store):
        bare = Bare(tables)
        for name, sql in data.QUERIES.items():
            with grpc.insecure_channel(f"unix:{StoreFolder(folder / f'store-{users}').socket}") as channel:
                ours = of_demo if name == "demo" else declared(store, channel, users, sql)
                query = BareQuery(bare, sql, INDEX_KEY)
                for count, sizes in counts.items():
                    if name == "demo" or count in (1, 100):
                        found[name, count] = _rounds(echo, query, ours, users, count, sizes)
    return found


def growth(folder: Path, small: int, large: int, calls: int) -> Rounds:
    """Rounds of one key, `small` and `large`, in stores of so many users."""
    with served(folder, small) as (few, *_), served(folder, large) as (many, *_):
        from_few, from_many = drawn(small, 1), drawn(large, 1)
        return blocks.rounds(
            {"small": (lambda: few(from_few()), calls), "large": (lambda: many(from_many()), calls)}
        )


def drawn(users: int, count: int) -> Callable[[], Keys]:
    """Draws so many users at a time, each as likely as any."""
    draw = random.Random(_SEED)  # noqa: S311 - test data
    return lambda: Keys((INDEX_KEY,), tuple((draw.randrange(users),) for _ in range(count)))


def _rounds(echo: Echo, bare: BareQuery, ours: Ours, users: int, count: int, sizes: Sizes) -> Rounds:
    keys = drawn(users, count)

    def call(run: Callable[[Keys], object]) -> Callable[[], object]:
        return lambda: run(keys())

    echo.answers(ours(keys()).ByteSize())
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "echo": (call(lambda asked: echo.stub.QueryRealtime(ours.request(asked), timeout=60)), sizes.ours),
        "ours": (call(ours), sizes.ours),
        "bare": (call(bare.narrowed), sizes.bare),
        "plain": (call(bare.plain), sizes.naive),
    }
    if count == 1:
        calls["parameter"] = (call(bare.parameter), sizes.naive)
        calls["listed"] = (call(bare.listed), max(3, sizes.naive // 3))
    return blocks.rounds(calls)
