"""Feast's own job done by both: one table, six features, the same values, the same callers, the same machine, in turn."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop

import featurestore
from benchmarks import calls, echo, h2load, loads, servers
from benchmarks import profile_job as job
from benchmarks.blocks import BLOCKS, Rounds, Spread
from benchmarks.feast import peer
from benchmarks.loads import Load
from benchmarks.results import Figure, Part, Row, at_least, at_most
from benchmarks.servers import Server
from benchmarks.wire import Caller, GrpcCaller, HttpCaller

_CALLERS = 32
_CHECKED_KEYS = 1_000
_WRITES = 0.01
_AT_ONCE = 500
_SAMPLE = 500
_PACED = 100
"""Calls a second of the open loop: what both can do."""
_CPU, _RATE = "processor time a call, ms", "calls a second"


@dataclass(frozen=True)
class Side:
    """One of the two, as its callers see it.

    Attributes:
        read: the body that asks for keys.
        write: the body that writes a row.
    """

    server: Server
    open: Callable[[str], Awaitable[Caller]]
    read_path: str
    read: Callable[[Sequence[int]], bytes]
    write_path: str
    write: Callable[[int, random.Random], bytes]
    grpc: bool


@contextmanager
def _ours(folder: Path, users: int, cache_bytes: int) -> Iterator[Side]:
    with servers.ours(folder, cache_bytes=cache_bytes) as server:
        with featurestore.connect(server.target) as store:
            store.publish(job.TABLE, job.rows(users), primary_key="user_id")
            query = store.query_train(job.SQL, save=True, index_key="user_id").query_id
        yield Side(
            server=server,
            open=GrpcCaller.open,
            read_path=calls.READ,
            read=lambda keys: calls.read(query, "user_id", keys).SerializeToString(),
            write_path=calls.PUBLISH,
            write=lambda user, draw: calls.publish(
                job.TABLE, job.row(user, draw), "user_id"
            ).SerializeToString(),
            grpc=True,
        )


def _theirs(feast: peer.Feast) -> Side:
    return Side(
        server=feast.server,
        open=HttpCaller.open,
        read_path=peer.READ,
        read=feast.read,
        write_path=peer.WRITE,
        write=lambda user, draw: feast.write(job.row(user, draw), datetime.now(UTC).isoformat()),
        grpc=False,
    )


def measure(folder: Path, users: int, seconds: float) -> Part:
    """Rows and figures.

    Args:
        seconds: of a block.
    """
    with peer.running(folder / "feast", job.timed(job.rows(users))) as feast:
        theirs = _theirs(feast)
        with _ours(folder / "uncached", users, cache_bytes=0) as ours:
            uvloop.run(_equal(ours, theirs, users))
            size = uvloop.run(_size(ours))
            with echo.over_tcp(folder, size) as floor:
                sides = {"ours": ours, "feast": theirs, "echo": dataclasses.replace(ours, server=floor)}
                parts = [
                    _one_key(folder, sides, users, seconds),
                    _hundred_keys({name: sides[name] for name in ("ours", "feast")}, users, seconds),
                    _paced(sides, users, seconds),
                ]
        with _ours(folder / "cached", users, cache_bytes=2**28) as ours, echo.over_tcp(folder, size) as floor:
            sides = {"ours": ours, "feast": theirs, "echo": dataclasses.replace(ours, server=floor)}
            parts.append(_mix(sides, users, seconds))
    return Part(
        rows=[row for rows, _ in parts for row in rows],
        figures=[figure for _, figures in parts for figure in figures],
        with_={
            "feast": feast.version,
            "feast's online store": feast.online,
            "client": "h2load" if h2load.installed() else "the benchmarks' own",
        },
        notes=[f"Both gave equal values for {_CHECKED_KEYS:,} keys, and for one that was written over."],
    )


async def _size(ours: Side) -> int:
    """How many bytes an answer for one key has: the echo's, which is what gRPC alone costs the same callers."""
    caller = await ours.open(ours.server.target)
    answer = await caller.call(ours.read_path, ours.read([0]))
    caller.close()
    return len(answer)


async def _equal(ours: Side, theirs: Side, users: int) -> None:
    """Check that both answer alike, also after a write.

    Raises:
        RuntimeError: they do not; nothing that is measured would mean anything.
    """
    mine, other = await ours.open(ours.server.target), await theirs.open(theirs.server.target)
    keys = random.Random(1).sample(range(users), _CHECKED_KEYS)  # noqa: S311 - test data
    for written in (False, True):
        if written:
            for side, caller in ((ours, mine), (theirs, other)):
                await caller.call(side.write_path, side.write(keys[0], random.Random(2)))  # noqa: S311
        found = calls.rows_of(await mine.call(ours.read_path, ours.read(keys)))
        columns = peer.values(await other.call(theirs.read_path, theirs.read(keys)))
        expected = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        if [row["user_id"] for row in found] != keys or found != expected:
            raise RuntimeError("ours and Feast's do not answer alike")
    mine.close()
    other.close()


Found = tuple[list[Row], list[Figure]]


def _one_key(folder: Path, sides: dict[str, Side], users: int, seconds: float) -> Found:
    keys = job.evenly(users, _CALLERS, seed=1)
    lean, rates, cpu = _blocks(sides), _blocks(sides), _blocks(sides)
    for block in range(BLOCKS):
        asked = [[key] for key in keys()]
        for name, side in sides.items():
            before = side.server.cpu_seconds()
            load = uvloop.run(_closed(side, _CALLERS, _reads(side, users, 1, block), seconds))
            cpu[name].append((side.server.cpu_seconds() - before) / len(load.times) * 1_000)
            lean[name].append(load.rate)
            if h2load.installed():
                bodies = list(map(side.read, asked))
                rates[name].append(
                    h2load.rate(folder, side.server.target, side.read_path, bodies, seconds, grpc=side.grpc)
                )
    judged = Rounds(rates if h2load.installed() else lean)
    group = f"one key, not cached, {_CALLERS} callers"
    figures = _figures(f"{group}, keys drawn call by call", Rounds(lean), _RATE)
    figures += _figures(group, Rounds(cpu), _CPU)
    if h2load.installed():
        figures += _figures(f"{group}, each with its key, h2load", judged, _RATE)
    return [
        at_least("Feast's job, one key, not cached: our requests/s / Feast's", _ratio(judged), 1.3)
    ], figures


def _hundred_keys(sides: dict[str, Side], users: int, seconds: float) -> Found:
    times = _blocks(sides)
    for block in range(BLOCKS):
        for name, side in sides.items():
            load = uvloop.run(_closed(side, 1, _reads(side, users, 100, block), seconds))
            times[name].append(load.p50)
    rounds = Rounds(times)
    return (
        [at_most("Feast's job, 100 keys, not cached: our p50 / Feast's", _ratio(rounds), 0.5)],
        _figures("100 keys, not cached, one caller, p50", rounds, "ms"),
    )


def _paced(sides: dict[str, Side], users: int, seconds: float) -> Found:
    middle, tail = _blocks(sides), _blocks(sides)
    for block in range(BLOCKS):
        for name, side in sides.items():

            async def run(side: Side = side, block: int = block) -> Load:
                callers = [await side.open(side.server.target) for _ in range(_CALLERS)]
                draw = _reads(side, users, 1, block)
                try:
                    return await loads.opened([_bound(each, draw) for each in callers], _PACED, seconds)
                finally:
                    for each in callers:
                        each.close()

            load = uvloop.run(run())
            middle[name].append(load.p50)
            tail[name].append(load.p99)
    group = f"one key, not cached, {_PACED} calls a second whatever comes back"
    return [], [
        *_figures(f"{group}, p50", Rounds(middle), "ms"),
        *_figures(f"{group}, p99", Rounds(tail), "ms"),
    ]


def _mix(sides: dict[str, Side], users: int, seconds: float) -> Found:
    asked = {name: job.zipf(users, seed=4) for name in sides}
    draws = {name: random.Random(5) for name in sides}  # noqa: S311 - test data

    def drawn(name: str) -> Callable[[], tuple[str, bytes]]:
        side, keys, draw = sides[name], asked[name], draws[name]

        def one() -> tuple[str, bytes]:
            key = next(keys)
            if draw.random() < _WRITES:
                return side.write_path, side.write(key, draw)
            return side.read_path, side.read([key])

        return one

    rows, figures = [], []
    for cache in ("empty at the start", "all keys asked for before"):
        rates, cpu = _blocks(sides), _blocks(sides)
        for _ in range(BLOCKS):
            for name, side in sides.items():
                before = side.server.cpu_seconds()
                load = uvloop.run(_closed(side, _CALLERS, drawn(name), seconds))
                cpu[name].append((side.server.cpu_seconds() - before) / len(load.times) * 1_000)
                rates[name].append(load.rate)
        rounds = Rounds(rates)
        group = f"Zipf 1.1 over all keys, 1 % writes to them, {_CALLERS} callers, our cache: {cache}"
        what = f"Feast's job, Zipf 1.1 keys, 1 % writes: our requests/s / Feast's; cache: {cache}"
        rows.append(at_least(what, _ratio(rounds), 2.5))
        figures += [*_figures(group, rounds, _RATE), *_figures(group, Rounds(cpu), _CPU)]
        share = uvloop.run(_kept(sides["ours"], asked["ours"]))
        figures.append(Figure(group, "ours, from the cache", "% at the end", Spread(share, share, share)))
        uvloop.run(_all_asked(sides["ours"], users))
    return rows, figures


async def _kept(side: Side, keys: Iterator[int]) -> float:
    """How many answers of a hundred are kept ones, by a sample."""
    caller = await side.open(side.server.target)
    sample = [await caller.call(side.read_path, side.read([next(keys)])) for _ in range(_SAMPLE)]
    caller.close()
    return 100 * sum(map(calls.kept, sample)) / _SAMPLE


async def _all_asked(side: Side, users: int) -> None:
    """Ask for every key once, many at a time: what a store that has run for long keeps."""
    caller = await side.open(side.server.target)
    for start in range(0, users, _AT_ONCE):
        await caller.call(side.read_path, side.read(range(start, min(users, start + _AT_ONCE))))
    caller.close()


def _reads(side: Side, users: int, count: int, seed: int) -> Callable[[], tuple[str, bytes]]:
    keys = job.evenly(users, count, seed)
    return lambda: (side.read_path, side.read(keys()))


def _bound(caller: Caller, drawn: Callable[[], tuple[str, bytes]]) -> loads.Call:
    return lambda: caller.call(*drawn())


async def _closed(side: Side, count: int, drawn: Callable[[], tuple[str, bytes]], seconds: float) -> Load:
    callers = await asyncio.gather(*(side.open(side.server.target) for _ in range(count)))
    try:
        return await loads.closed([_bound(each, drawn) for each in callers], seconds)
    finally:
        for each in callers:
            each.close()


def _blocks(sides: dict[str, Side]) -> dict[str, list[float]]:
    return {name: [] for name in sides}


def _ratio(rounds: Rounds) -> Spread:
    return rounds.each(lambda ours, feast: ours / feast, "ours", "feast")


def _figures(group: str, rounds: Rounds, unit: str) -> list[Figure]:
    return [
        Figure(group, name, unit, rounds.of(name)) for name in ("ours", "feast", "echo") if name in rounds
    ]
