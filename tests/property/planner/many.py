"""Thousands of random cases in processes of their own: some random queries make the engine itself crash."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from tests.property.planner.cases import run
from tests.property.planner.oracle import Tally

_CHUNK = 100


@dataclass
class Found:
    """What many cases came to.

    Attributes:
        differences: at most one of each chunk.
        crashes: seeds at which the engine died, with what it ran last.
    """

    tally: Tally = field(default_factory=Tally)
    differences: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)


def run_many(seeds: range, what: str = "rows") -> Found:
    """Run the cases of these seeds, a process for each core."""
    chunks = [seeds[at : at + _CHUNK] for at in range(0, len(seeds), _CHUNK)]
    found = Found()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for each in pool.map(partial(_chunk, what), chunks):
            found.tally.merge(each.tally)
            found.differences += each.differences
            found.crashes += each.crashes
    return found


def _chunk(what: str, seeds: range) -> Found:
    argv = [sys.executable, "-m", "tests.property.planner", what, str(seeds.start), str(seeds.stop)]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode == 0:
        found: Found = pickle.loads(done.stdout)  # noqa: S301 - of our own process
        return found
    said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    if done.returncode > 0 or len(seeds) == 1:
        where = f"seeds {seeds.start} to {seeds.stop}: exit {done.returncode}, {said}"
        return Found(crashes=[where])
    found = Found()
    half = seeds.start + len(seeds) // 2
    for part in (range(seeds.start, half), range(half, seeds.stop)):
        each = _chunk(what, part)
        found.tally.merge(each.tally)
        found.differences += each.differences
        found.crashes += each.crashes
    return found


def run_each(what: str, seeds: Iterable[int]) -> Found:
    """Run the cases of these seeds here."""
    found = Found()
    for seed in seeds:
        if said := run(seed, found.tally, what, told=True):
            found.differences.append(said)
    return found
