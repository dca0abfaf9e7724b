"""Blocks of calls in turn, A B C A B C: each round gives ratios, so that a machine that drifts does not decide."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

BLOCKS = 9


@dataclass(frozen=True)
class Spread:
    """A median, and the lowest and highest it was made from."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of one value per block."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f} .. {self.highest:.2f})"


class Rounds:
    """What was measured: for each name, one figure of each of its blocks; of calls the median time in milliseconds."""

    def __init__(self, medians: Mapping[str, list[float]]) -> None:
        """Keep it."""
        self._medians = medians

    def __contains__(self, name: object) -> bool:
        return name in self._medians

    def of(self, name: str) -> Spread:
        """One of the figures; for calls how long one takes, in milliseconds."""
        return Spread.of(self._medians[name])

    def each(self, figure: Callable[..., float], *names: str) -> Spread:
        """A figure made from the medians of one round at a time, in the order of the names."""
        return Spread.of([figure(*row) for row in zip(*(self._medians[name] for name in names), strict=True)])


def median_ms(call: Callable[[], object], calls: int) -> float:
    """The median time of a call, over so many."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1_000


def rounds(calls: Mapping[str, tuple[Callable[[], object], int]], blocks: int = BLOCKS) -> Rounds:
    """Run blocks of each call in turn, after one of each that does not count.

    Args:
        calls: by name, what is called, and how often in a block.
    """
    for call, count in calls.values():
        median_ms(call, max(1, count // 3))
    medians: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(blocks):
        for name, (call, count) in calls.items():
            medians[name].append(median_ms(call, count))
    return Rounds(medians)
