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
from benchmarks import blocks, calls, data
from benchmarks.bare import Bare, BareQuery
from benchmarks.blocks import Rounds, Spread
from benchmarks.echo import Echo
from benchmarks.results import Figure, Part, Row, at_least, at_most
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.api.gateway.v1.gateway_pb2_grpc import FeatureStoreServiceStub
from featurestore.host.folder import StoreFolder
from featurestore.model.serving import Keys

INDEX_KEY = "user_id"
_SEED = 11
WATCHMAN_SECONDS = 30
"""It rests four times as long as it works, so it is done with the first twelve answers of each size by then."""
_WARMED = (1, 10, 100)
"""Sizes of calls that it looks at first."""


@dataclass(frozen=True)
class Sizes:
    """How often each thing is called in a block."""

    ours: int
    bare: int
    naive: int


_COUNTS = {1: Sizes(100, 60, 9), 10: Sizes(50, 40, 5), 100: Sizes(20, 20, 3), 1_000: Sizes(5, 5, 3)}
_FORMS = {
    "echo": "echo",
    "ours": "ours",
    "bare": "narrowed, bare",
    "plain": "wrapped, literals",
    "parameter": "wrapped, parameter",
    "listed": "wrapped, IN (one)",
}
"""What is measured, and how it is printed."""


class Ours:
    """A local store's query, called by the generated stub, as a backend would."""

    def __init__(self, query_id: str, channel: grpc.Channel) -> None:
        """Use a store that is open."""
        self._stub = FeatureStoreServiceStub(channel)
        self.query_id = query_id

    def request(self, keys: Keys) -> pb.QueryRealtimeRequest:
        """What is sent."""
        [column] = keys.columns
        return calls.read(self.query_id, column, [int(str(key)) for (key,) in keys.tuples])

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
    for count in _WARMED:
        asked = drawn(users, count)
        for _ in range(15):
            ours(asked())
    time.sleep(WATCHMAN_SECONDS)
    return ours


def part(folder: Path, echo: Echo, users: int) -> Part:
    """One key and several, of all queries."""
    found = measure(folder, echo, users, _COUNTS)
    rows = [row for name in data.QUERIES for row in _bars(name, found[name, 1], found[name, 100])]
    thousand, hundred = found["demo", 1_000].of("ours"), found["demo", 100].of("ours")
    ratio = thousand.median / hundred.median
    rows.append(at_most("demo: 1,000 keys / 100 keys", Spread(ratio, ratio, ratio), 10))
    figures = [
        Figure(f"{name}, {count} key{'s'[: count - 1]}", text, "ms", rounds.of(what))
        for (name, count), rounds in found.items()
        for what, text in _FORMS.items()
        if what in rounds
    ]
    return Part(rows, figures)


def _bars(name: str, one: Rounds, hundred: Rounds) -> Iterator[Row]:
    yield at_most(
        f"{name}, one key: (ours - echo - 0.5 ms) / bare narrowed",
        one.each(lambda ours, echoed, bare: (ours - echoed - 0.5) / bare, "ours", "echo", "bare"),
        1.15,
    )
    yield at_least(
        f"{name}, one key: the faster naive form / ours",
        one.each(lambda ours, *naive: min(naive) / ours, "ours", "plain", "parameter"),
        6,
    )
    yield at_most(
        f"{name}, 100 keys: (ours - echo) / bare narrowed",
        hundred.each(lambda ours, echoed, bare: (ours - echoed) / bare, "ours", "echo", "bare"),
        1.25,
    )
    yield at_least(
        f"{name}, 100 keys: wrapped as is / ours",
        hundred.each(lambda ours, naive: naive / ours, "ours", "plain"),
        12,
    )


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


def growth(folder: Path, small: int, large: int, count: int) -> Part:
    """One key in a `small` store and a `large` one, of so many users."""
    with served(folder, small) as (few, *_), served(folder, large) as (many, *_):
        from_few, from_many = drawn(small, 1), drawn(large, 1)
        rounds = blocks.rounds(
            {"small": (lambda: few(from_few()), count), "large": (lambda: many(from_many()), count)}
        )
    sizes = {"large": f"{large * 4.5:,.0f} rows", "small": f"{small * 4.5:,.0f} rows"}
    return Part(
        rows=[
            at_most(
                f"one key, not cached: {sizes['large']} / {sizes['small']}",
                rounds.each(lambda large, small: large / small, "large", "small"),
                1.5,
            )
        ],
        figures=[Figure("one key, not cached", text, "ms", rounds.of(name)) for name, text in sizes.items()],
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
