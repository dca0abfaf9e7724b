"""What is in the cache, by plan: counted when somebody asks, so that keeping and reading answers costs no more for it."""

from __future__ import annotations

import math
import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from featurestore.model.serving import AnswerFormat
from services.realtime.cache import AnswerCache


@dataclass(slots=True)
class PlanUse:
    """The answers of a plan that are kept and hold.

    Attributes:
        size: bytes, about.
        oldest_at: when the oldest was computed, by the monotonic clock.
        rows: those of them in that format; the others are Arrow.
    """

    entries: int = 0
    size: int = 0
    oldest_at: float = math.inf
    rows: int = 0

    @property
    def oldest_seconds(self) -> float:
        """Since the oldest was computed; 0 if there is none."""
        return max(0.0, time.monotonic() - self.oldest_at)

    @property
    def usual_format(self) -> AnswerFormat:
        """The one that most of them have."""
        return AnswerFormat.ROWS if 2 * self.rows > self.entries else AnswerFormat.ARROW


def uses(cache: AnswerCache, numbers: AbstractSet[object]) -> dict[object, PlanUse]:
    """Of these plans; takes time with the size of the cache, so not for the event loop."""
    found: dict[object, PlanUse] = {}
    if not numbers:
        return found
    for kept in cache.snapshot():
        number = kept.name[0]
        if number not in numbers or kept.spoiled or (kept.epochs and not cache.holds(kept)):
            continue
        use = found.get(number)
        if use is None:
            use = found[number] = PlanUse()
        use.entries += 1
        use.size += kept.size
        use.oldest_at = min(use.oldest_at, kept.stored_at)
        use.rows += kept.name[1] is AnswerFormat.ROWS
    return found
