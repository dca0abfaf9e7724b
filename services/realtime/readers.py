"""Reads: a bounded pool of threads, a cursor each, and a deadline that interrupts.

Work that nobody waits for has a reader of its own behind the pool, so that no read ever queues behind it.

An executor with its futures would do the same, but takes a tenth of a millisecond more to hand a read over and its result
back, which is a tenth of what a read on top of the engine's own work may take.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import duckdb

from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded
from services.realtime.transactions import OpenReads

T = TypeVar("T")
_DEFAULT_SECONDS = 60.0
_INTERRUPT_EVERY_SECONDS = 0.02


class _Job:
    """One read: knows its cursor while it runs, so that an interrupt can't hit the next read on it."""

    def __init__(self, work: Callable[[duckdb.DuckDBPyConnection], Any]) -> None:
        self.ended = False
        self._work = work
        self._result: Any = None
        self._failed: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()
        self._lock = threading.Lock()
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._abandoned = False

    def run(self, cursor: duckdb.DuckDBPyConnection) -> bool:
        """Do the work, in a reader's thread; what comes of it is for `tell`. Returns whether the cursor is as it was."""
        with self._lock:
            if self._abandoned:
                self._failed = duckdb.InterruptException("abandoned before it began")
                return True
            self._cursor = cursor
        try:
            self._result = self._work(cursor)
        except BaseException as error:  # noqa: BLE001 # whoever waits for it is told
            self._failed = error
        finally:
            with self._lock:
                self._cursor = None
        return self._failed is None

    def tell(self) -> None:
        """Hand over what came of it. In any thread."""
        self._end(self._settle)

    def drop(self) -> None:
        """It will never be done. In any thread."""
        self._end(self.future.cancel)

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._abandoned = True
            if self._cursor is not None:
                self._cursor.interrupt()

    def _end(self, settle: Callable[[], object]) -> None:
        self.ended = True
        self._loop.call_soon_threadsafe(settle)

    def _settle(self) -> None:
        if self.future.done():  # nobody waits any more
            return
        if self._failed is None:
            self.future.set_result(self._result)
        else:
            self.future.set_exception(self._failed)


_Hands: TypeAlias = "queue.SimpleQueue[_Job | None]"
"""Of one thread: what it is handed while it waits."""


class _Line:
    """Jobs, first come first served, by the thread that worked last.

    That thread has its statements prepared, and its memory in the processor's caches: where threads take turns, each call
    meets one that has neither.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._idle: list[_Hands] = []
        self._closed = False

    def put(self, job: _Job) -> None:
        with self._lock:
            if self._idle:
                self._idle.pop().put(job)
            else:
                self._waiting.append(job)

    def get(self, own: _Hands) -> _Job | None:
        """The next job; None when none will come any more."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                return None
            self._idle.append(own)
        return own.get()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for hands in self._idle:
                hands.put(None)
            self._idle.clear()


class Readers:
    """Runs blocking reads beside the event loop. No read outlives the deadline of its call."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, count: int, reads: OpenReads) -> None:
        """Start `count` threads, and one behind them, each with a cursor on the connection's database."""
        self._connection = connection
        self._reads = reads
        self._jobs = _Line()
        self._jobs_behind = _Line()
        self._count = count
        self._busy = 0
        self._closing = False
        self._interrupting: set[asyncio.Task[None]] = set()
        names = [f"realtime-reader_{number}" for number in range(count)]
        self._threads = [self._thread(name, self._jobs) for name in names]
        self._threads.append(self._thread("realtime-behind", self._jobs_behind))

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
            return await self._run(self._jobs, work)
        finally:
            self._busy -= 1

    async def run_behind(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """The same for work that nobody may have to wait for: by a reader beside the pool, one at a time.

        Raises:
            DeadlineExceeded: see `run`.
        """
        return await self._run(self._jobs_behind, work)

    async def give_way(self, worked: float) -> None:
        """Rest after work behind the pool: as long as it took for each reader that is at work.

        Args:
            worked: seconds.
        """
        await asyncio.sleep(worked * self.busy)

    async def close(self) -> None:
        """Wait for the reads that run, drop those that wait, end the threads."""
        self._closing = True
        self._jobs.close()
        self._jobs_behind.close()
        await asyncio.to_thread(self._join)
        await asyncio.gather(*self._interrupting)

    async def _run(self, jobs: _Line, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        if self._closing:
            raise RuntimeError("the readers are closed")
        job = _Job(work)
        jobs.put(job)
        try:
            result: T = await in_time(job.future)
        except (DeadlineExceeded, asyncio.CancelledError):
            self._abandon(job)
            raise
        return result

    def _thread(self, name: str, jobs: _Line) -> threading.Thread:
        thread = threading.Thread(
            target=self._work_off, args=(jobs, self._connection.cursor()), name=name, daemon=True
        )
        thread.start()
        return thread

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work_off(self, jobs: _Line, cursor: duckdb.DuckDBPyConnection) -> None:
        hands: _Hands = queue.SimpleQueue()
        while (job := jobs.get(hands)) is not None:
            if self._closing:
                job.drop()
                continue
            try:
                with self._reads.reading():
                    if not job.run(cursor):
                        # A result that was not read to its end keeps its transaction for as long as its cursor lives.
                        cursor.close()
                        cursor = self._connection.cursor()
            finally:
                job.tell()
                del job  # what it returned is not ours to hold until the next one comes
        cursor.close()

    def _abandon(self, job: _Job) -> None:
        job.abandon()
        if not job.ended:
            task = asyncio.get_running_loop().create_task(_interrupt(job))
            self._interrupting.add(task)
            task.add_done_callback(self._interrupting.discard)


async def in_time(result: asyncio.Future[T]) -> T:
    """What a read returns, if it does while the call has time.

    Raises:
        DeadlineExceeded: `DEADLINE`; `result` is cancelled then.
    """
    try:
        async with asyncio.timeout(deadline.remaining_or(_DEFAULT_SECONDS)):
            return await result
    except TimeoutError:
        raise DeadlineExceeded(
            "DEADLINE", "the call's time ended before the read did; ask for less or give it more time"
        ) from None


async def _interrupt(job: _Job) -> None:
    # The engine forgets an interrupt that comes between two statements; so it is repeated until the read ends.
    while not job.ended:
        job.abandon()
        await asyncio.sleep(_INTERRUPT_EVERY_SECONDS)
