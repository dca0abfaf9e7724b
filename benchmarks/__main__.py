"""`make bench`: what a call costs, beside the floor that gRPC sets and the engine's own time, as ratios of one run."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import grpc

from benchmarks import data, echo, publishing, reads
from benchmarks.blocks import Rounds, Spread
from benchmarks.reads import Sizes

_COUNTS = {1: Sizes(100, 60, 9), 10: Sizes(50, 40, 5), 100: Sizes(20, 20, 3), 1_000: Sizes(5, 5, 3)}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        bar: what the figure has to be, as text.
        met: whether it is.
    """

    what: str
    bar: str
    figure: Spread
    met: bool

    def __str__(self) -> str:
        return f"| {self.what} | {self.bar} | {self.figure} | {'met' if self.met else 'MISSED'} |"


def at_most(what: str, figure: Spread, bar: float, text: str = "") -> Row:
    """A figure that must not be above the bar."""
    return Row(what, text or f"<= {bar:g}", figure, figure.median <= bar)


def at_least(what: str, figure: Spread, bar: float) -> Row:
    """A figure that must not be below the bar."""
    return Row(what, f">= {bar:g}", figure, figure.median >= bar)


def main(arguments: list[str]) -> int:
    """Print the tables; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "--users", type=int, default=1_000_000, help="of the main store; rows are 4.5 times as many"
    )
    parser.add_argument(
        "--large", type=int, default=2_222_222, help="users of the store for growth: 10 M rows"
    )
    parser.add_argument(
        "--small", type=int, default=22_222, help="users that it is compared with: 100 k rows"
    )
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("FEATURESTORE__REALTIME__MEMORY", "8GB")
    os.environ["FEATURESTORE__REALTIME__CACHE_BYTES"] = (
        "0"  # these are reads of what was not asked for before
    )
    print(
        f"python {platform.python_version()}, duckdb {duckdb.__version__}, grpcio {grpc.__version__}, "
        f"{os.cpu_count()} cores, {platform.machine()}; local mode, one caller\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with echo.running(folder) as floor:
            rows = list(_rows(folder, floor, chosen))
    print("\n| what | bar | figure: median (spread) of 9 blocks | verdict |\n| --- | --- | --- | --- |")
    for row in rows:
        print(row)
    return 0 if all(row.met for row in rows) else 1


def _rows(folder: Path, floor: echo.Echo, chosen: argparse.Namespace) -> Iterable[Row]:
    found = reads.measure(folder, floor, chosen.users, _COUNTS)
    print("milliseconds a call\n")
    print(
        "| query | keys | echo | ours | narrowed, bare | wrapped, literals | wrapped, parameter | wrapped, IN (one) |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (name, count), rounds in found.items():
        figures = [
            str(rounds.ms(what)) if what in rounds else "-"
            for what in ("echo", "ours", "bare", "plain", "parameter", "listed")
        ]
        print(f"| {name} | {count} | {' | '.join(figures)} |", flush=True)
    for name in data.QUERIES:
        yield from _bars(name, found[name, 1], found[name, 100])
    thousand, hundred = found["demo", 1_000].ms("ours"), found["demo", 100].ms("ours")
    ratio = thousand.median / hundred.median
    yield at_most("demo: 1,000 keys / 100 keys", Spread(ratio, ratio, ratio), 10)
    grown = reads.growth(folder / "growth", chosen.small, chosen.large, 60)
    yield at_most(
        f"one key, uncached: {chosen.large * 4.5:,.0f} rows / {chosen.small * 4.5:,.0f} rows",
        grown.each(lambda large, small: large / small, "large", "small"),
        1.5,
    )
    yield at_least(
        "publish, bulk: DuckDB's own upsert / ours",
        publishing.bulk(folder / "publishing", chosen.users // 5).each(
            lambda ours, bare: bare / ours, "ours", "bare"
        ),
        0.5,
    )
    durable = publishing.single(folder / "publishing", floor)
    print(f"\none durable row: {durable.ms('ours')} ms; an empty echo: {durable.ms('echo')} ms (one caller)")


def _bars(name: str, one: Rounds, hundred: Rounds) -> Iterable[Row]:
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
