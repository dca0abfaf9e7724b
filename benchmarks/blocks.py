"""Blocks of calls in turn, A B A B: each pair gives a ratio, so that a machine that drifts does not decide."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Compared:
    """Medians per call in milliseconds, and the ratio ours / floor block by block."""

    floor_ms: float
    ours_ms: float
    ratio: float
    lowest: float
    highest: float


def median_ms(call: Callable[[], object], calls: int) -> float:
    """The median time of a call, over so many."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1_000


def compare(
    floor: Callable[[], object], ours: Callable[[], object], blocks: int = 9, calls: int = 100
) -> Compared:
    """Run blocks in turn, after one of each that does not count."""
    median_ms(floor, calls)
    median_ms(ours, calls)
    pairs = [(median_ms(floor, calls), median_ms(ours, calls)) for _ in range(blocks)]
    ratios = [ours_ms / floor_ms for floor_ms, ours_ms in pairs]
    return Compared(
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )
