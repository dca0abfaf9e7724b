"""Publishes: bulk beside DuckDB's own upsert of the same data, and one durable row beside an empty call."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import featurestore
from benchmarks import blocks, data
from benchmarks.bare import Bare, BareQuery
from benchmarks.blocks import Rounds
from benchmarks.echo import Echo
from benchmarks.reads import INDEX_KEY
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.engine.tables import qualified

_TABLE = "quotes"
_BLOCKS = 5


def bulk(folder: Path, users: int) -> Rounds:
    """Rounds of `ours` and `bare`: all rows of a table written again, with its primary key and one more index."""
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

        medians: dict[str, list[float]] = {"ours": [], "bare": []}
        for _ in range(_BLOCKS):
            medians["bare"].append(blocks.median_ms(again, 1))
            medians["ours"].append(blocks.median_ms(lambda: store.publish(_TABLE, tables[_TABLE]), 1))
            _caught_up(store)  # the warehouse works behind it, on the same cores
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


def _caught_up(store: featurestore.Store) -> None:
    while (status := store.status()).warehouse_version != status.realtime_version:
        time.sleep(0.05)
