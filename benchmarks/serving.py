"""Kept answers beside the echo, and serving while the server has other work; four processes beside one."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop

import featurestore
from benchmarks import background, blocks, calls, data, loads, reads, servers
from benchmarks.blocks import BLOCKS, Rounds, Spread
from benchmarks.echo import Echo
from benchmarks.results import Figure, Part, Row, at_most
from benchmarks.servers import Server
from benchmarks.wire import GrpcCaller
from featurestore.model.serving import Keys

_KEPT_KEYS = 500
_CALLERS = 32
_PACED = 50
"""Calls a second of the open loop."""
_BUSY_SECONDS = 8.0
"""Of a block of that load: long enough for bulk publishes to be applied and committed, not only begun."""
_HOT_KEYS = 50
_WRITERS, _READERS = 8, 24
_CACHE = "FEATURESTORE__REALTIME__CACHE_BYTES"

Found = tuple[list[Row], list[Figure]]


def measure(folder: Path, floor: Echo, users: int, seconds: float) -> Part:
    """Rows and figures.

    Args:
        seconds: of a block.
    """
    os.environ.pop(_CACHE, None)
    found = [
        _kept(folder / "kept", floor, users),
        _busy(folder / "busy", users),
        _apart(folder, users, seconds),
        uvloop.run(_fresh(folder / "fresh", seconds)),
    ]
    return Part(
        rows=[row for rows, _ in found for row in rows],
        figures=[figure for _, figures in found for figure in figures],
    )


def _kept(folder: Path, floor: Echo, users: int) -> Found:
    draw = random.Random(6)  # noqa: S311 - test data
    asked = [Keys((reads.INDEX_KEY,), ((key,),)) for key in draw.sample(range(users), _KEPT_KEYS)]
    with reads.served(folder, users) as (ours, *_):
        sizes = sorted(ours(keys).ByteSize() for keys in asked)
        floor.answers(sizes[len(sizes) // 2])
        rounds = blocks.rounds(
            {
                "echo": (lambda: floor.stub.QueryRealtime(ours.request(draw.choice(asked)), timeout=60), 400),
                "ours": (lambda: ours(draw.choice(asked)), 400),
            }
        )
    ratio = rounds.each(lambda ours, echo: ours / echo, "ours", "echo")
    group = "one key, kept, local mode, one caller with a generated stub"
    return [at_most("one key, local, cached: ours / echo", ratio, 1.25)], [
        Figure(group, name, "ms", rounds.of(name)) for name in ("ours", "echo")
    ]


def _loaded(server: Server, users: int) -> tuple[bytes, ...]:
    """Have a server serve the demo's query; returns requests for keys drawn evenly."""
    with featurestore.connect(server.target) as store:
        data.load(store, users)
        query = store.query_train(data.SQL, save=True, index_key=reads.INDEX_KEY).query_id
        _caught_up(store)
    draw = random.Random(7)  # noqa: S311 - test data
    return tuple(
        calls.read(query, reads.INDEX_KEY, [draw.randrange(users)]).SerializeToString() for _ in range(5_000)
    )


async def _asked(server: Server, bodies: Sequence[bytes]) -> None:
    """Ask for each of them once, and rest until what works behind the first answers is done."""
    caller = await GrpcCaller.open(server.target)
    for body in bodies:
        await caller.call(calls.READ, body)
    caller.close()
    await asyncio.sleep(reads.WATCHMAN_SECONDS)


def _caught_up(store: featurestore.Store) -> None:
    while store.status().lag:
        time.sleep(0.05)


def _busy(folder: Path, users: int) -> Found:
    tail: dict[str, list[float]] = {"idle": [], "busy": []}
    middle: dict[str, list[float]] = {"idle": [], "busy": []}
    with servers.ours(folder) as server:
        bodies = _loaded(server, users)
        uvloop.run(_asked(server, bodies[:25]))
        draw = random.Random(8)  # noqa: S311 - test data
        for _ in range(BLOCKS):
            idle = uvloop.run(_paced(server, lambda: draw.choice(bodies), _BUSY_SECONDS))
            with background.running(server.target, users):
                busy = uvloop.run(_paced(server, lambda: draw.choice(bodies), _BUSY_SECONDS))
            for name, load in (("idle", idle), ("busy", busy)):
                tail[name].append(load.p99)
                middle[name].append(load.p50)
            with featurestore.connect(server.target) as store:
                _caught_up(store)
    ratio = Rounds(tail).each(lambda busy, idle: busy / idle, "busy", "idle")
    group = (
        f"one key, {_PACED} calls a second whatever comes back, beside a training stream and a bulk publish"
    )
    return (
        [at_most("serving during one training stream and one bulk publish: p99 / idle", ratio, 5)],
        [Figure(f"{group}, p99", name, "ms", Rounds(tail).of(name)) for name in tail]
        + [Figure(f"{group}, p50", name, "ms", Rounds(middle).of(name)) for name in middle],
    )


async def _paced(server: Server, body: Callable[[], bytes], seconds: float) -> loads.Load:
    callers = [await GrpcCaller.open(server.target) for _ in range(_CALLERS)]
    load = await loads.opened([_reading(each, body) for each in callers], _PACED, seconds)
    for each in callers:
        each.close()
    return load


def _reading(caller: GrpcCaller, body: Callable[[], bytes]) -> loads.Call:
    return lambda: caller.call(calls.READ, body())


def _apart(folder: Path, users: int, seconds: float) -> Found:
    """Not judged: kept answers from one process, and from four, where the gateway has to ask realtime for them."""
    figures = []
    draw = random.Random(9)  # noqa: S311 - test data
    with (
        servers.ours(folder / "together") as together,
        servers.ours(folder / "apart", apart=True) as apart,
    ):
        where = {"one process": together, "four processes": apart}
        kept = {name: _loaded(server, users)[:_KEPT_KEYS] for name, server in where.items()}
        for name, server in where.items():
            uvloop.run(_asked(server, kept[name]))
        for callers in (1, _CALLERS):
            rates, middle, cpu = ({name: list[float]() for name in where} for _ in range(3))
            for _ in range(BLOCKS):
                for name, server in where.items():
                    before = server.cpu_seconds()

                    async def run(
                        server: Server = server, name: str = name, callers: int = callers
                    ) -> loads.Load:
                        each = [await GrpcCaller.open(server.target) for _ in range(callers)]
                        body = lambda: draw.choice(kept[name])  # noqa: E731 - said where it is used
                        return await loads.closed([_reading(one, body) for one in each], seconds)

                    load = uvloop.run(run())
                    rates[name].append(load.rate)
                    middle[name].append(load.p50)
                    cpu[name].append((server.cpu_seconds() - before) / len(load.times) * 1_000)
            group = f"one key, kept, {callers} caller{'s'[: callers - 1]}"
            for name in where:
                figures += [
                    Figure(f"{group}, rate", name, "calls a second", Rounds(rates).of(name)),
                    Figure(f"{group}, p50", name, "ms", Rounds(middle).of(name)),
                    Figure(f"{group}, processor time", name, "ms a call", Rounds(cpu).of(name)),
                ]
    return [], figures


async def _fresh(folder: Path, seconds: float) -> Found:
    """Count reads that show less than what was acknowledged before they began."""
    stale, read = [], 0
    with servers.ours(folder) as server:
        with featurestore.connect(server.target) as store:
            store.publish("hot", [{"key": key, "n": 0} for key in range(_HOT_KEYS)], primary_key="key")
            sql = "SELECT key, n FROM feature_store.hot"
            query = store.query_train(sql, save=True, index_key="key").query_id
        acknowledged = dict.fromkeys(range(_HOT_KEYS), 0)
        draw = random.Random(10)  # noqa: S311 - test data
        bodies = {key: calls.read(query, "key", [key]).SerializeToString() for key in acknowledged}
        callers = [await GrpcCaller.open(server.target) for _ in range(_WRITERS + _READERS)]
        found: list[bool] = []
        kept: list[bool] = []

        def writer(number: int) -> loads.Call:
            async def write() -> None:
                key = draw.randrange(number, _HOT_KEYS, _WRITERS)  # nobody else writes it
                row = {"key": key, "n": acknowledged[key] + 1}
                await callers[number].call(
                    calls.PUBLISH, calls.publish("hot", row, "key").SerializeToString()
                )
                acknowledged[key] += 1

            return write

        def reader(number: int) -> loads.Call:
            async def ask() -> None:
                key = draw.randrange(_HOT_KEYS)
                least = acknowledged[key]
                answer = await callers[number].call(calls.READ, bodies[key])
                kept.append(calls.kept(answer))
                [row] = calls.rows_of(answer)
                found.append(int(str(row["n"])) < least)

            return ask

        every = [writer(n) if n < _WRITERS else reader(n) for n in range(_WRITERS + _READERS)]
        for _ in range(BLOCKS):
            found.clear()
            await loads.closed(every, seconds)
            stale.append(float(sum(found)))
            read += len(found)
    kinds = f"{read:,} reads, {sum(kept) / read:.0%} kept, {sum(acknowledged.values()):,} publishes"
    what = f"stale answers a block, {_HOT_KEYS} hot keys ({kinds})"
    return [at_most(what, Spread(max(stale), min(stale), max(stale)), 0)], []
