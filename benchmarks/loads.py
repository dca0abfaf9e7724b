"""Loads: closed loops, which show what a server can do, and open ones, which show what a caller waits for."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Call = Callable[[], Awaitable[object]]
"""One call of one caller; draws what it asks for itself."""


@dataclass(frozen=True)
class Load:
    """What a load showed.

    Attributes:
        rate: calls that ended, a second.
        times: of each, in milliseconds, sorted. In an open loop from the moment that it was due, so that a server that
            stalls is not spared the calls that wait behind the stall.
    """

    rate: float
    times: Sequence[float]

    @property
    def p50(self) -> float:
        """The median time."""
        return statistics.median(self.times)

    @property
    def p99(self) -> float:
        """The time that one call of a hundred exceeds."""
        return self.times[min(len(self.times) - 1, int(len(self.times) * 0.99))]


async def closed(calls: Sequence[Call], seconds: float) -> Load:
    """Each caller calls again as soon as it is answered."""
    times: list[float] = []
    start = time.perf_counter()
    end = start + seconds

    async def caller(call: Call) -> None:
        before = time.perf_counter()
        while before < end:
            await call()
            now = time.perf_counter()
            times.append((now - before) * 1_000)
            before = now

    await asyncio.gather(*(caller(call) for call in calls))
    return Load(len(times) / (time.perf_counter() - start), sorted(times))


async def opened(calls: Sequence[Call], rate: float, seconds: float) -> Load:
    """So many calls a second, whether or not those before are answered, as long as a caller is free.

    Args:
        calls: one per connection; a call that finds none free waits for one, and that counts.
    """
    free: asyncio.Queue[Call] = asyncio.Queue()
    for call in calls:
        free.put_nowait(call)
    times: list[float] = []
    start = time.perf_counter()

    async def one(due: float) -> None:
        call = await free.get()
        await call()
        free.put_nowait(call)
        times.append((time.perf_counter() - due) * 1_000)

    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = start + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            group.create_task(one(due))
    return Load(len(times) / (time.perf_counter() - start), sorted(times))
