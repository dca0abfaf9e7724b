"""Reads: a bounded pool of threads, a cursor each, and a deadline that interrupts.

Work that nobody waits for has a reader of its own behind the pool, so that no read ever queues behind it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import duckdb

from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded
from services.realtime.transactions import OpenReads

T = TypeVar("T")
_Cursors: TypeAlias = "queue.SimpleQueue[duckdb.DuckDBPyConnection]"
_DEFAULT_SECONDS = 60.0
_INTERRUPT_EVERY_SECONDS = 0.02


class _Job:
    """One read: knows its cursor while it runs, so that an interrupt can't hit the next read on it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._abandoned = False

    def begin(self, cursor: duckdb.DuckDBPyConnection) -> None:
        with self._lock:
            self._cursor = cursor
            if self._abandoned:
                raise duckdb.InterruptException("abandoned before it began")

    def end(self) -> None:
        with self._lock:
            self._cursor = None

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if self._cursor is not None:
                self._cursor.interrupt()


class Readers:
    """Runs blocking reads beside the event loop. No read outlives the deadline of its call."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, count: int, reads: OpenReads) -> None:
        """Open `count` cursors on the connection's database."""
        self._connection = connection
        self._reads = reads
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="realtime-reader")
        self._cursors = _cursors(connection, count)
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="realtime-behind")
        self._behind_cursors = _cursors(connection, 1)
        self._count = count
        self._busy = 0
        self._interrupting: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """Readers in the pool."""
        return self._count

    @property
    def busy(self) -> int:
        """How many of them work now."""
        return min(self._busy, self._count)

    async def run(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Call `work` with a cursor in a thread; interrupted when the call's time ends or its caller goes.

        Raises:
            DeadlineExceeded: `DEADLINE`, also when the time ended before the read's turn came.
        """
        self._busy += 1
        try:
            return await self._run(self._pool, self._cursors, work)
        finally:
            self._busy -= 1

    async def run_behind(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """The same for work that nobody may have to wait for: by a reader beside the pool, one at a time.

        Raises:
            DeadlineExceeded: see `run`.
        """
        return await self._run(self._behind, self._behind_cursors, work)

    async def give_way(self, worked: float) -> None:
        """Rest after work behind the pool: as long as it took for each reader that is at work.

        Args:
            worked: seconds.
        """
        await asyncio.sleep(worked * self.busy)

    async def _run(
        self, pool: ThreadPoolExecutor, cursors: _Cursors, work: Callable[[duckdb.DuckDBPyConnection], T]
    ) -> T:
        job = _Job()
        future = pool.submit(self._work, job, cursors, work)
        try:
            async with asyncio.timeout(deadline.remaining_or(_DEFAULT_SECONDS)):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            self._abandon(job, future)
            raise DeadlineExceeded(
                "DEADLINE", "the call's time ended before the read did; ask for less or give it more time"
            ) from None
        except asyncio.CancelledError:
            self._abandon(job, future)
            raise

    async def close(self) -> None:
        """Wait for the reads that run, drop those that wait, end the threads."""
        for pool in (self._pool, self._behind):
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)
        await asyncio.gather(*self._interrupting)
        for _ in range(self._count):
            self._cursors.get().close()
        self._behind_cursors.get().close()

    def _work(self, job: _Job, cursors: _Cursors, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        cursor = cursors.get()
        try:
            with self._reads.reading():
                try:
                    job.begin(cursor)
                    return work(cursor)
                except BaseException:
                    # A result that was not read to its end keeps its transaction for as long as its cursor lives.
                    job.end()
                    cursor.close()
                    cursor = self._connection.cursor()
                    raise
        finally:
            job.end()
            cursors.put(cursor)

    def _abandon(self, job: _Job, future: Future[T]) -> None:
        if not future.cancel():
            task = asyncio.get_running_loop().create_task(_interrupt(job, future))
            self._interrupting.add(task)
            task.add_done_callback(self._interrupting.discard)


def _cursors(connection: duckdb.DuckDBPyConnection, count: int) -> _Cursors:
    cursors: _Cursors = queue.SimpleQueue()
    for _ in range(count):
        cursors.put(connection.cursor())
    return cursors


async def _interrupt(job: _Job, future: Future[T]) -> None:
    # The engine forgets an interrupt that comes between two statements; so it is repeated until the read ends.
    while not future.done():
        job.abandon()
        await asyncio.sleep(_INTERRUPT_EVERY_SECONDS)
