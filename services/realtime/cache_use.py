"""What is in the cache, by plan: counted when somebody asks, so that keeping and reading answers costs no more for it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from featurestore.model.serving import AnswerFormat
from services.realtime.cache import AnswerCache


@dataclass(slots=True)
class PlanUse:
    """The answers of a plan that are kept and hold.

    Attributes:
        size: bytes, about.
        oldest_seconds: since the oldest was computed.
    """

    entries: int = 0
    size: int = 0
    oldest_seconds: float = 0.0
    formats: Counter[AnswerFormat] = field(default_factory=Counter)

    @property
    def usual_format(self) -> AnswerFormat:
        """The one that most of them have."""
        return self.formats.most_common(1)[0][0] if self.formats else AnswerFormat.ARROW


def uses(cache: AnswerCache, numbers: AbstractSet[object]) -> dict[object, PlanUse]:
    """Of these plans; takes time with the size of the cache, so not for the event loop."""
    found: dict[object, PlanUse] = {}
    if not numbers:
        return found
    now = time.monotonic()
    for kept in cache.snapshot():
        number, answer_format, *_ = kept.name
        if number in numbers and isinstance(answer_format, AnswerFormat) and cache.holds(kept):
            use = found.setdefault(number, PlanUse())
            use.entries += 1
            use.size += kept.size
            use.oldest_seconds = max(use.oldest_seconds, now - kept.stored_at)
            use.formats[answer_format] += 1
    return found
