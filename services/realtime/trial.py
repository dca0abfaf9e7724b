"""Which text serves a plan's keys the fastest: a narrowed one, or the query as it is, where the engine narrows by itself.

All give the same rows, so this is decided by nothing but what they took, run by the watchman one after the other on the
same keys. A narrowed text that was planned before (`statements`) is the fastest as a rule; while there is none, DuckDB carries
a single key that is compared with `=` through joins and groups, and then plans a shorter text; for several keys it does so in
simple queries only.
"""

from __future__ import annotations

import statistics
from collections import deque
from typing import Final

_SAMPLES: Final = 15
"""The last so many count, ..."""
_FEWEST: Final = 7
"""... and nothing is decided by fewer."""
_MARGIN: Final = 0.9
"""Another text is taken when it takes less than this share of the time; so noise does not change it back and forth."""
_SIZES: Final = 4


class _Choice:
    """Whether one text is taken rather than another."""

    def __init__(self, *, taken: bool) -> None:
        self.taken = taken
        self._ratios: deque[float] = deque(maxlen=_SAMPLES)

    def add(self, seconds: float, others: float) -> None:
        self._ratios.append(seconds / max(others, 1e-9))
        if len(self._ratios) >= _FEWEST:
            ratio = statistics.median(self._ratios)
            self.taken = ratio < 1 / _MARGIN if self.taken else ratio < _MARGIN


class Trial:
    """Of one plan and one size of calls. Measured by the watchman's thread alone; read by any."""

    def __init__(self) -> None:
        """Begin with the narrowed text, planned before if it can be."""
        self.answered = 0
        """How many answers such calls were given; counted without a lock, for the watchman to draw from."""
        self.compared = 0
        """How often it was measured: the texts take turns in running first, for the later ones find the rows in the cache."""
        self._forbidden = False
        self._plain = _Choice(taken=False)
        self._statement = _Choice(taken=True)

    @property
    def plain(self) -> bool:
        """Whether the query as it is serves faster than the narrowed text."""
        return self._plain.taken and not self._forbidden

    @property
    def statement(self) -> bool:
        """Whether the narrowed text, if it was planned before, serves faster than the better one of those two."""
        return self._statement.taken

    def add(self, plain: float, narrowed: float, statement: float | None) -> None:
        """Count one comparison; in seconds.

        Args:
            statement: None if there was none.
        """
        self.compared += 1
        self._plain.add(plain, narrowed)
        if statement is not None:
            self._statement.add(statement, plain if self.plain else narrowed)

    def forbid(self) -> None:
        """The query as it is failed, maybe by another key's row: it is not tried again."""
        self._forbidden = True


class Trials:
    """Of one plan."""

    def __init__(self) -> None:
        """Begin with the narrowed text for all."""
        self._of_size = [Trial() for _ in range(_SIZES)]

    def of(self, key_count: int) -> Trial:
        """The one for calls with about so many keys: one, some, tens, hundreds and more."""
        return self._of_size[min(_SIZES - 1, len(str(key_count)) if key_count > 1 else 0)]
