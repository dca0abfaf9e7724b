"""How much a worker has done, and when that is enough."""

from __future__ import annotations

from dataclasses import dataclass

from services.extraction.worker_types import WorkerLimits


@dataclass(slots=True)
class Used:
    """What one worker was asked for.

    Attributes:
        last: when it came free, on the monotonic clock.
    """

    calls: int = 0
    seconds: float = 0.0
    received_bytes: int = 0
    last: float = 0.0

    def add(self, seconds: float, received_bytes: int) -> None:
        """One more call."""
        self.calls += 1
        self.seconds += seconds
        self.received_bytes += received_bytes

    def enough(self, limits: WorkerLimits) -> bool:
        """Whether it has worked enough. What it was sent counts too, because it may have kept all of it."""
        return (
            self.calls >= limits.calls_per_worker
            or self.seconds >= limits.busy_seconds
            or self.received_bytes >= limits.memory_bytes
        )
