"""What answers cost that were not in the cache, by query, over the last seconds: whose misses cost a lot is warmed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from featurestore.model.query import QueryForm
from services.realtime.plans import Prepared

WINDOW_SECONDS: Final = 30.0
_SLICES: Final = 10
_MOST_SUBJECTS: Final = 2_048
"""In a slice; those that come later are not counted in it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A saved query by an index key; equal to another one by these two."""

    query_id: str
    form: QueryForm
    index_key: tuple[str, ...]

    @classmethod
    def of(cls, query_id: str, prepared: Prepared) -> Subject:
        """What a plan is for."""
        return cls(query_id, prepared.form, tuple(column.name for column in prepared.columns))

    @property
    def name(self) -> tuple[str, tuple[str, ...]]:
        """It, without its form."""
        return self.query_id, self.index_key


class Costs:
    """Readers' seconds that misses took, in a sliding window. Any thread."""

    def __init__(
        self, readers: int, window: float = WINDOW_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start at nothing.

        Args:
            readers: of the pool, whose time is shared out.
            window: seconds.
        """
        self._readers = readers
        self._window = window
        self._clock = clock
        self._lock = threading.Lock()
        self._slices: deque[tuple[float, dict[tuple[str, tuple[str, ...]], tuple[Subject, float]]]] = deque()

    def add(self, subject: Subject, seconds: float) -> None:
        """Count what the answers of one statement took."""
        now = self._clock()
        with self._lock:
            if not self._slices or now - self._slices[-1][0] >= self._window / _SLICES:
                self._slices.append((now, {}))
                self._forget(now)
            spent = self._slices[-1][1]
            known = spent.get(subject.name)
            if known is not None:
                spent[subject.name] = subject, known[1] + seconds
            elif len(spent) < _MOST_SUBJECTS:
                spent[subject.name] = subject, seconds

    def above(self, share: float) -> list[Subject]:
        """Those whose misses took more than this share (0 to 1) of the pool's time in the window."""
        sums: dict[tuple[str, tuple[str, ...]], tuple[Subject, float]] = {}
        with self._lock:
            self._forget(self._clock())
            for _, spent in self._slices:
                for name, (subject, seconds) in spent.items():
                    sums[name] = subject, seconds + sums.get(name, (subject, 0.0))[1]
        least = share * self._window * self._readers
        return [subject for subject, seconds in sums.values() if seconds > least]

    def _forget(self, now: float) -> None:
        while self._slices and now - self._slices[0][0] > self._window:
            self._slices.popleft()
