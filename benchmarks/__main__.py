"""`make bench`: ratios of one run, side by side, against floors, baselines and peers; all parts, or those named."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import drawing, echo, results
from benchmarks.results import Part

_CACHE, _MEMORY = "FEATURESTORE__REALTIME__CACHE_BYTES", "FEATURESTORE__REALTIME__MEMORY"


def main(arguments: list[str]) -> int:
    """Print the tables, keep the figures and draw them; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--users", type=int, default=1_000_000, help="of the main store; rows are 4.5 times")
    parser.add_argument("--large", type=int, default=2_222_222, help="of the large one for growth: 10 M rows")
    parser.add_argument("--small", type=int, default=22_222, help="that it is compared with: 100 k rows")
    parser.add_argument("--peer-users", type=int, default=100_000, help="of Feast's job")
    parser.add_argument("--megabytes", type=int, default=500, help="of the training stream")
    parser.add_argument("--etl-rows", type=int, default=4_000_000, help="that an ETL is trained on")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a block under load")
    parser.add_argument("--results", type=Path, default=results.PATH, help="where the figures are kept")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    os.environ.setdefault(_MEMORY, "8GB")
    os.environ["FEATURESTORE__GATEWAY__VERIFY_SAVES"] = "false"  # nothing else runs beside what is measured
    print(", ".join(f"{name}: {value}" for name, value in results.machine().items()), "\n")
    met = True
    for name in chosen.parts or PARTS:
        os.environ.pop(_CACHE, None)  # each part says whether answers are kept
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            part = PARTS[name](Path(folder), chosen)
        results.keep(name, part, time.monotonic() - start, chosen.results)
        print(f"## {name}\n\n{part.table()}", flush=True)
        met = met and all(row.met for row in part.rows)
    drawing.draw(chosen.results)
    return 0 if met else 1


def _reads(folder: Path, chosen: argparse.Namespace) -> Part:
    from benchmarks import reads  # noqa: PLC0415 - each part loads what it needs

    os.environ[_CACHE] = "0"  # these are reads of what was not asked for before
    with echo.running(folder) as floor:
        return reads.part(folder, floor, chosen.users)


def _growth(folder: Path, chosen: argparse.Namespace) -> Part:
    from benchmarks import reads  # noqa: PLC0415 - likewise

    os.environ[_CACHE] = "0"
    return reads.growth(folder, chosen.small, chosen.large, 60)


def _publishing(folder: Path, chosen: argparse.Namespace) -> Part:
    from benchmarks import publishing  # noqa: PLC0415 - likewise

    with echo.running(folder) as floor:
        return publishing.part(folder / "publishing", floor, chosen.users // 5, chosen.seconds)


def _serving(folder: Path, chosen: argparse.Namespace) -> Part:
    from benchmarks import serving  # noqa: PLC0415 - likewise

    with echo.running(folder) as floor:
        return serving.measure(folder, floor, chosen.users // 5, chosen.seconds)


def _invalidation(folder: Path, _: argparse.Namespace) -> Part:
    from benchmarks import invalidation  # noqa: PLC0415 - likewise

    return invalidation.part(folder, 10_000, 9)


def _flight(folder: Path, chosen: argparse.Namespace) -> Part:
    from benchmarks import flight  # noqa: PLC0415 - likewise

    return flight.part(folder, chosen.megabytes)


def _bulk(folder: Path, chosen: argparse.Namespace) -> Part:
    from benchmarks import bulk  # noqa: PLC0415 - likewise

    return bulk.part(folder, chosen.etl_rows)


def _etls(folder: Path, chosen: argparse.Namespace) -> Part:
    from benchmarks import etls  # noqa: PLC0415 - likewise

    with echo.running(folder) as floor:
        return etls.part(folder, floor, chosen.users // 5, chosen.peer_users, chosen.seconds)


def _peers(folder: Path, chosen: argparse.Namespace) -> Part:
    from benchmarks import peers  # noqa: PLC0415 - likewise

    return peers.measure(folder, chosen.peer_users, chosen.seconds)


PARTS: dict[str, Callable[[Path, argparse.Namespace], Part]] = {
    "reads": _reads,
    "growth": _growth,
    "publishing": _publishing,
    "serving": _serving,
    "invalidation": _invalidation,
    "flight": _flight,
    "bulk": _bulk,
    "etl": _etls,
    "peers": _peers,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
