"""`make bench`: what a call costs, beside the floor that gRPC sets and the engine's own time. Local mode, one caller.

This is the first form: reads of one key, uncached and not narrowed, and single-row publishes. Serving goes through the plain
wrapped query; the bars of the design are for the planner and the cache, which come later.
"""

from __future__ import annotations

import itertools
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import grpc
import pyarrow as pa

import featurestore as fs
from benchmarks.blocks import Compared, compare

USERS = 100_000
SEED = 7
SQL = "SELECT user_id, f0, f1, f2, f3, f4, f5 FROM feature_store.features"


def features() -> pa.Table:
    """One table of six features for 100,000 users; doubles are k/8."""
    draw = random.Random(SEED)  # noqa: S311 - test data
    columns = {f"f{n}": pa.array([draw.randrange(10_000) / 8 for _ in range(USERS)]) for n in range(6)}
    return pa.table({"user_id": pa.array(range(USERS), pa.int64()), **columns})


def row(what: str, found: Compared) -> str:
    """One line of the table."""
    return (
        f"| {what} | {found.ours_ms:.2f} ms | {found.floor_ms:.2f} ms "
        f"| {found.ratio:.2f} | {found.lowest:.2f} .. {found.highest:.2f} |"
    )


def main() -> None:
    """Print the table."""
    data = features()
    with tempfile.TemporaryDirectory() as folder:
        socket = str(Path(folder) / "echo.sock")
        echo_server = subprocess.Popen([sys.executable, "-m", "benchmarks.echo", socket])
        try:
            with (
                fs.local(Path(folder) / "store") as store,
                grpc.insecure_channel(f"unix:{socket}") as channel,
            ):
                grpc.channel_ready_future(channel).result(timeout=10)
                measure(store, channel.unary_unary("/bench.Echo/Echo"), data)
        finally:
            echo_server.terminate()
            echo_server.wait()


def measure(store: fs.Store, echo: grpc.UnaryUnaryMultiCallable, data: pa.Table) -> None:
    """All rows of the table."""
    start = time.perf_counter()
    store.publish("features", data, primary_key="user_id")
    published = time.perf_counter() - start
    query = store.query_train(SQL, save=True, index_key="user_id").query_id
    draw = random.Random(SEED)  # noqa: S311 - test data

    def one_key() -> object:
        return store.query_realtime(query, index_key="user_id", index_value=draw.randrange(USERS))

    def hundred_keys() -> object:
        return store.query_realtime(
            query, index_key="user_id", index_values=[draw.randrange(USERS) for _ in range(100)]
        )

    numbers = itertools.count(USERS)

    def publish_one() -> object:
        return store.publish("features", [{"user_id": next(numbers), "f0": 0.5}])

    bare = duckdb.connect()
    bare.register("incoming", data)
    bare.execute("CREATE TABLE features AS FROM incoming")
    bare.execute("CREATE UNIQUE INDEX by_user ON features (user_id)")

    def bare_cursor() -> object:
        return bare.execute(
            f"SELECT * FROM features WHERE user_id = {draw.randrange(USERS)}"
        ).to_arrow_table()

    def echoed(size: int) -> bytes:
        return bytes(echo(str(size).encode(), timeout=10))

    print(
        f"python {platform.python_version()}, duckdb {duckdb.__version__}, {platform.machine()}, local mode, one caller"
    )
    print(f"bulk publish of {USERS:,} rows of 7 columns: {USERS / published:,.0f} rows/s\n")
    print("| what | ours p50 | floor p50 | ratio | spread of 9 blocks |\n| --- | --- | --- | --- | --- |")
    print(row("one key, uncached / echo of 800 bytes", compare(lambda: echoed(800), one_key)))
    print(row("one key, uncached / the same on a bare DuckDB cursor", compare(bare_cursor, one_key)))
    print(row("100 keys, uncached / echo of 32 kB", compare(lambda: echoed(32_000), hundred_keys, calls=30)))
    print(
        row(
            "publish of one row, durable / echo of nothing", compare(lambda: echoed(0), publish_one, calls=30)
        )
    )


if __name__ == "__main__":
    main()
