"""Reads: a bounded pool of threads, a cursor each, and a deadline that interrupts."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import duckdb

from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded
from services.realtime.transactions import OpenReads

T = TypeVar("T")
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
        self._cursors: queue.SimpleQueue[duckdb.DuckDBPyConnection] = queue.SimpleQueue()
        for _ in range(count):
            self._cursors.put(connection.cursor())
        self._count = count
        self._interrupting: set[asyncio.Task[None]] = set()

    async def run(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Call `work` with a cursor in a thread; interrupted when the call's time ends or its caller goes.

        Raises:
            DeadlineExceeded: `DEADLINE`, also when the time ended before the read's turn came.
        """
        job = _Job()
        future = self._pool.submit(self._work, job, work)
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
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        await asyncio.gather(*self._interrupting)
        for _ in range(self._count):
            self._cursors.get().close()

    def _work(self, job: _Job, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        cursor = self._cursors.get()
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
            self._cursors.put(cursor)

    def _abandon(self, job: _Job, future: Future[T]) -> None:
        if not future.cancel():
            task = asyncio.get_running_loop().create_task(_interrupt(job, future))
            self._interrupting.add(task)
            task.add_done_callback(self._interrupting.discard)


async def _interrupt(job: _Job, future: Future[T]) -> None:
    # The engine forgets an interrupt that comes between two statements; so it is repeated until the read ends.
    while not future.done():
        job.abandon()
        await asyncio.sleep(_INTERRUPT_EVERY_SECONDS)
