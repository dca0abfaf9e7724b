"""Publishes: bulk beside DuckDB's own upsert of the same data, and one durable row beside an empty call."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import uvloop

import featurestore
from benchmarks import blocks, calls, data, loads
from benchmarks.bare import Bare, BareQuery
from benchmarks.blocks import Rounds
from benchmarks.echo import Echo
from benchmarks.reads import INDEX_KEY
from benchmarks.results import Figure, Part, at_least, at_most
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.api.gateway.v1.gateway_pb2_grpc import FeatureStoreServiceStub
from featurestore.engine.tables import qualified
from featurestore.host.folder import StoreFolder

_TABLE = "quotes"
_BLOCKS = 9
_CALLERS = 32
_READY_A_SECOND = 3_000
"""Requests that are made before the clock runs."""


def part(folder: Path, echo: Echo, users: int, seconds: float) -> Part:
    """All of them.

    Args:
        seconds: of a block of the 32 callers.
    """
    folder.mkdir()
    written, alone = bulk(folder, users), single(folder, echo)
    many, seen = together(folder, echo, seconds)
    return Part(
        rows=[
            at_least(
                "publish, bulk: DuckDB's own upsert / ours",
                written.each(lambda ours, bare: bare / ours, "ours", "bare"),
                0.5,
            ),
            at_most(
                "publish, bulk: seconds after it until the warehouse has the rows",
                written.each(lambda lag: lag / 1_000, "lag"),
                2,
            ),
            at_least(
                f"publish, single rows, {_CALLERS} callers: rate / that of an echo",
                many.each(lambda ours, echoed: ours / echoed, "ours", "echo"),
                0.6,
            ),
        ],
        figures=[
            *(Figure(f"bulk, {users:,} rows", name, "ms", written.of(name)) for name in ("ours", "bare")),
            *(Figure("one row, one caller", name, "ms", alone.of(name)) for name in ("ours", "echo")),
            *(
                Figure(f"one row, {_CALLERS} callers", name, "calls a second", many.of(name))
                for name in ("ours", "echo")
            ),
        ],
        notes=[f"All {seen:,} rows that were acknowledged one by one were there afterwards."],
    )


def bulk(folder: Path, users: int) -> Rounds:
    """All rows of a table written again, with its primary key and one more index.

    Returns:
        rounds of `ours`, `bare`, and `lag`: how long after ours the warehouse has them too.
    """
    tables = data.customers(users)
    bare = Bare(tables)
    BareQuery(bare, data.SQL, INDEX_KEY)  # for its indexes
    with featurestore.local(folder / "bulk") as store:
        for name, rows in tables.items():
            store.publish(name, rows, primary_key=data.KEYS[name])
        store.query_train(data.SQL, save=True, index_key=INDEX_KEY)
        _caught_up(store)

        def again() -> None:
            bare.cursor.register("incoming", tables[_TABLE])
            bare.cursor.execute(f"INSERT OR REPLACE INTO {qualified(_TABLE)} SELECT * FROM incoming")
            bare.cursor.unregister("incoming")

        medians: dict[str, list[float]] = {"ours": [], "bare": [], "lag": []}
        for _ in range(_BLOCKS):
            medians["bare"].append(blocks.median_ms(again, 1))
            medians["ours"].append(blocks.median_ms(lambda: store.publish(_TABLE, tables[_TABLE]), 1))
            # The warehouse works behind it, on the same cores.
            medians["lag"].append(blocks.median_ms(lambda: _caught_up(store), 1))
        return Rounds(medians)


def single(folder: Path, echo: Echo) -> Rounds:
    """Rounds of `ours`, one durable row a call, and `echo`, an empty call; one caller."""
    numbers = itertools.count()
    echo.answers(0)
    with featurestore.local(folder / "single") as store:

        def publish() -> None:
            number = next(numbers)
            store.publish("events", [{"event_id": number, "amount": number / 8}], primary_key="event_id")

        return blocks.rounds(
            {
                "ours": (publish, 60),
                "echo": (lambda: echo.stub.QueryRealtime(pb.QueryRealtimeRequest(), timeout=10), 100),
            }
        )


def together(folder: Path, echo: Echo, seconds: float) -> tuple[Rounds, int]:
    """Rounds of `ours` and `echo`, in calls a second, and how many rows are to be read afterwards.

    32 callers publish one row each, with one channel and generated stubs; the echo gets the very same requests from the
    same callers, and answers with nothing.

    Args:
        seconds: of a block.

    Raises:
        RuntimeError: a row that was acknowledged is not to be seen.
    """
    echo.answers(0)
    path = folder / "together"
    with featurestore.local(path) as store:
        store.publish("events", [{"event_id": -1, "amount": 0.5}], primary_key="event_id")
        numbers = itertools.count()
        rates: dict[str, list[float]] = {"ours": [], "echo": []}
        targets = {"ours": f"unix:{StoreFolder(path).socket}", "echo": f"unix:{folder.parent / 'echo.sock'}"}
        acknowledged = 1
        for block in range(-1, blocks.BLOCKS):
            for name, target in targets.items():
                load = uvloop.run(_published(target, numbers, seconds, unique=name == "ours"))
                if name == "ours":
                    acknowledged += len(load.times)
                if block >= 0:  # the one before does not count
                    rates[name].append(load.rate)
        seen = store.query_train("SELECT count(*) AS n FROM feature_store.events").to_arrow()["n"][0].as_py()
        if seen != acknowledged:
            raise RuntimeError(f"{acknowledged} rows were acknowledged, {seen} are to be seen")
    return Rounds(rates), seen


async def _published(target: str, numbers: Iterator[int], seconds: float, *, unique: bool) -> loads.Load:
    async with grpc.aio.insecure_channel(target) as channel:
        stub = FeatureStoreServiceStub(channel)
        made = (
            calls.publish("events", {"event_id": number, "amount": number / 8}, "event_id")
            for number in numbers
        )
        ready = list(itertools.islice(made, int(_READY_A_SECOND * seconds)))
        requests = itertools.chain(ready, made) if unique else itertools.cycle(ready)

        async def publish() -> None:
            await stub.Publish(next(requests), timeout=60)

        return await loads.closed([publish] * _CALLERS, seconds)


def _caught_up(store: featurestore.Store) -> None:
    while (status := store.status()).warehouse_version != status.realtime_version:
        time.sleep(0.05)
