"""Which text serves a plan's keys faster: the narrowed one, or the query as it is, where the engine narrows by itself.

Both give the same rows, so this is decided by nothing but what they took, run by the watchman one after the other on the
same keys. DuckDB carries a single key that is compared with `=` through joins and groups, and then plans a shorter text;
for several keys it does so in simple queries only.
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
"""The other text is taken when it takes less than this share of the time; so noise does not change it back and forth."""
_SIZES: Final = 4


class Trial:
    """Of one plan and one size of calls. Measured by the watchman's thread alone; read by any."""

    def __init__(self) -> None:
        """Begin with the narrowed text."""
        self.answered = 0
        """How many answers such calls were given; counted without a lock, for the watchman to draw from."""
        self._ratios: deque[float] = deque(maxlen=_SAMPLES)
        self._forbidden = False
        self._plain = False

    @property
    def plain(self) -> bool:
        """Whether the query as it is serves faster."""
        return self._plain and not self._forbidden

    @property
    def plain_first(self) -> bool:
        """Whether it is to run first next time; the one that runs second finds the rows in the processor's cache."""
        return len(self._ratios) % 2 == 0

    def add(self, plain: float, narrowed: float) -> None:
        """Count one comparison; in seconds."""
        self._ratios.append(plain / max(narrowed, 1e-9))
        if len(self._ratios) < _FEWEST:
            return
        ratio = statistics.median(self._ratios)
        self._plain = ratio < 1 / _MARGIN if self._plain else ratio < _MARGIN

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
