"""Work on the parts of a stream: in parallel, in order, never many at a time, and ended when it is closed."""

import asyncio
import random

import pytest

from services.extraction.in_order import InOrder


class Numbers:
    """Yields 0, 1, 2 ...; remembers how far it was read, and how much work is going on."""

    def __init__(self, count, *, fail_at=None):
        self.count = count
        self.fail_at = fail_at
        self.fetched = 0
        self.working = 0
        self.most = 0
        self.cancelled = 0

    async def fetch(self):
        if self.fetched == self.fail_at:
            raise OSError("fetching failed")
        if self.fetched == self.count:
            return None
        self.fetched += 1
        return self.fetched - 1

    async def double(self, number):
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            await asyncio.sleep(random.random() / 1000)
            if number == 13 and self.count == 14:
                raise ValueError("unlucky")
            return number * 2
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.working -= 1


async def read_all(results):
    found = []
    while (result := await results.next()) is not None:
        found.append(result)
    return found


@pytest.mark.parametrize("ahead", [1, 2, 7])
async def test_results_come_in_the_order_of_the_parts_and_no_more_are_worked_on_than_allowed(ahead):
    numbers = Numbers(50)
    results = InOrder(numbers.fetch, numbers.double, ahead=ahead)
    assert await read_all(results) == [2 * n for n in range(50)]
    assert numbers.most == ahead
    await results.close()


async def test_a_slow_reader_stops_the_fetching():
    numbers = Numbers(50)
    results = InOrder(numbers.fetch, numbers.double, ahead=3)
    await asyncio.sleep(0.05)
    assert (numbers.fetched, numbers.working) == (3, 0)
    await results.next()
    await asyncio.sleep(0.05)
    assert numbers.fetched == 4
    await results.close()


@pytest.mark.parametrize(
    ("numbers", "before", "error"),
    [
        (Numbers(14), 13, pytest.raises(ValueError, match="unlucky")),
        (Numbers(50, fail_at=9), 9, pytest.raises(OSError, match="fetching")),
    ],
    ids=["working", "fetching"],
)
async def test_a_failure_comes_after_the_results_before_it(numbers, before, error):
    results = InOrder(numbers.fetch, numbers.double, ahead=5)
    assert [await results.next() for _ in range(before)] == [2 * n for n in range(before)]
    with error:
        await results.next()
    await results.close()


async def test_closing_cancels_what_runs_and_fetches_no_more():
    numbers = Numbers(50)

    async def never(_):
        numbers.working += 1
        try:
            await asyncio.Event().wait()
        finally:
            numbers.working -= 1

    results = InOrder(numbers.fetch, never, ahead=4)
    await asyncio.sleep(0.02)
    assert numbers.working == 4
    await results.close()
    await results.close()
    assert (numbers.working, numbers.fetched) == (0, 4)
