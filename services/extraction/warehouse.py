"""The warehouse: a DuckDB file that holds the log's tables as of one position, with one writer and many readers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import duckdb

from featurestore.engine import apply, ledger, profile
from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded, FailedPrecondition
from featurestore.model.table import Frame, Version
from services.extraction.behind import go_behind
from services.extraction.block_cache import BlockCache

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WarehouseSettings:
    """How much of the machine the warehouse may use.

    Attributes:
        memory_limit: of DuckDB's buffers, such as `1GB`; larger sorts and joins spill to the folder.
        cache_limit: of it what blocks of tables may keep once they were read, such as `128MB`.
        threads: DuckDB's own.
        reader_threads: statements that run at a time.
        open_results: results that may be open at a time, most of them waiting for their readers.
        longest_read_seconds: for a read without a deadline; no read transaction outlives its deadline.
    """

    memory_limit: str = "1GB"
    cache_limit: str = "128MB"
    threads: int = 2
    reader_threads: int = 4
    open_results: int = 32
    longest_read_seconds: float = 300.0


class Warehouse:
    """One DuckDB file in a folder that one process holds at a time; an async context manager.

    The position is written in the transaction that applies the frames, so a crash at any moment leaves every
    frame applied exactly once.
    """

    def __init__(self, folder: Path, settings: WarehouseSettings | None = None) -> None:
        self._folder = folder
        self._settings = settings or WarehouseSettings()
        # The writer's opens the file, so that DuckDB's own threads are behind as well.
        self._writer_thread = ThreadPoolExecutor(
            1, thread_name_prefix="warehouse-writer", initializer=go_behind
        )
        self._reader_threads = ThreadPoolExecutor(
            self._settings.reader_threads, thread_name_prefix="warehouse-reader", initializer=go_behind
        )
        self._slots = asyncio.Semaphore(self._settings.open_results)
        self._readers: set[Reader] = set()
        self._lock = -1
        self._position: Version | None = None
        self._tables: apply.Tables = {}

    async def __aenter__(self) -> Self:
        try:
            await self._in_writer(self._open)
        except BaseException:
            await self._shut_down()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reader in tuple(self._readers):
            await reader.close()
        try:
            await self._in_writer(self._close)
        finally:
            await self._shut_down()

    @property
    def position(self) -> Version | None:
        """The last version that a read which starts now sees; None while nothing was ever applied."""
        return self._position

    async def apply(self, log_id: str, frames: Sequence[Frame]) -> None:
        """Apply the frames that are not applied yet; on disk and visible when this returns.

        Frames without definitions share one transaction. When one fails, those of earlier transactions stay.

        Raises:
            FailedPrecondition: `OTHER_LOG`: the warehouse follows another log; `LOG_GAP`: a frame is missing.
            duckdb.Error: the frame at the position after `position` can't be applied.
        """
        await self._in_writer(lambda: self._apply(log_id, frames))

    async def reader(self) -> Reader:
        """A cursor of its own, until it is closed or the call's deadline ends it.

        Raises:
            DeadlineExceeded: no place among the open results became free in time.
        """
        seconds = deadline.remaining_or(self._settings.longest_read_seconds)
        ends = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(ends):
                await self._slots.acquire()
        except TimeoutError:
            raise DeadlineExceeded(
                "DEADLINE",
                f"the call's time ended while {self._settings.open_results} other results were open; "
                "read them to their end or close them",
                doing="waiting for a reader",
            ) from None
        reader = Reader(self._connection.cursor(), self._reader_threads, self._blocks, ends, self._closed)
        self._readers.add(reader)
        return reader

    def _closed(self, reader: Reader) -> None:
        self._readers.discard(reader)
        self._slots.release()

    def _in_writer(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._writer_thread, work)

    async def _shut_down(self) -> None:
        await asyncio.to_thread(self._reader_threads.shutdown)
        await asyncio.to_thread(self._writer_thread.shutdown)

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self._folder)
        try:
            spill = self._folder / "spill"
            shutil.rmtree(spill, ignore_errors=True)  # what a killed process left
            self._connection = profile.connect(
                self._folder / "warehouse.duckdb",
                memory_limit=self._settings.memory_limit,
                threads=self._settings.threads,
                spill_folder=spill,
                changing_memory=True,
            )
            self._blocks = BlockCache(
                self._connection.cursor(),
                limit=self._settings.memory_limit,
                keep=self._settings.cache_limit,
            )
            self._writer = self._connection.cursor()
            ledger.prepare(self._writer)
            self._position, self._tables = ledger.load(self._writer)
        except BaseException:
            os.close(self._lock)
            raise

    def _close(self) -> None:
        try:
            self._writer.close()
            self._blocks.close()
            self._connection.close()  # the last one to close checkpoints
        finally:
            os.close(self._lock)

    def _apply(self, log_id: str, frames: Sequence[Frame]) -> None:
        held = self._position
        if held is not None and held.log_id != log_id:
            raise other_log(held, log_id)
        after = held.sequence if held is not None else 0
        fresh = [frame for frame in frames if frame.sequence > after]
        for before, frame in zip([after, *(frame.sequence for frame in fresh)], fresh, strict=False):
            if frame.sequence != before + 1:
                raise FailedPrecondition(
                    "LOG_GAP",
                    f"the log went from frame {before} to frame {frame.sequence}: frames are missing, so the "
                    "warehouse stops rather than miss rows; restore the log, or start with an empty warehouse folder",
                    before=before,
                    after=frame.sequence,
                )
        for group in apply.in_groups(fresh):
            with self._blocks.call():
                self._apply_group(log_id, group)

    def _apply_group(self, log_id: str, frames: Sequence[Frame]) -> None:
        version = Version(log_id, frames[-1].sequence)
        operations = [operation for frame in frames for operation in frame.operations]
        self._writer.begin()
        try:
            tables = apply.apply(self._writer, self._tables, operations)
            ledger.store(self._writer, self._tables, tables, version)
            self._writer.commit()
        except BaseException:
            self._undo()
            raise
        self._tables, self._position = tables, version

    def _undo(self) -> None:
        # A cursor that is closed rolls back, whether the transaction was open, aborted, or failed to commit.
        # What is true is then read anew, for a failed commit may have come through.
        self._writer.close()
        self._writer = self._connection.cursor()
        self._position, self._tables = ledger.load(self._writer)


class Reader:
    """One statement at a time on one cursor, in the threads of the readers' pool.

    Ends at its deadline even if nobody asks it anything: an abandoned result must not hold its transaction.
    """

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        threads: ThreadPoolExecutor,
        blocks: BlockCache,
        ends: float,
        closed: Callable[[Reader], None],
    ) -> None:
        self._cursor = cursor
        self._threads = threads
        self._blocks = blocks
        self._ends = ends
        self._closed = closed
        self._running: Future[Any] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_at(ends, self._start_closing)

    async def call(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run `work` with the cursor in a thread; interrupted at the deadline or when the reader is closed.

        Raises:
            DeadlineExceeded: the reader's time is over.
            duckdb.Error, OSError: what `work` raised.
        """
        if self._closing is not None:
            raise self._over()
        running = self._threads.submit(self._guarded, work)
        self._running = running
        try:
            async with asyncio.timeout_at(self._ends):
                return await asyncio.wrap_future(running)
        except TimeoutError:
            raise self._over() from None
        except (duckdb.Error, OSError) as error:
            if asyncio.get_running_loop().time() >= self._ends:
                raise self._over() from error
            raise

    async def close(self) -> None:
        """Interrupt what runs and give the cursor back; closing again waits for the same end."""
        await asyncio.shield(self._start_closing())

    def _guarded(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        if self._closing is not None:  # it waited for a thread longer than it had time
            raise duckdb.InterruptException("closed")
        with self._blocks.call():
            return work(self._cursor)

    def _start_closing(self) -> asyncio.Task[None]:
        if self._closing is None:
            self._timer.cancel()
            self._closing = asyncio.get_running_loop().create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        running = self._running
        while running is not None and not running.done():
            # Again and again: an interrupt that comes between two statements is lost.
            self._cursor.interrupt()
            await asyncio.sleep(0.01)
        try:
            await asyncio.to_thread(self._cursor.close)
        finally:
            self._closed(self)

    @staticmethod
    def _over() -> DeadlineExceeded:
        return DeadlineExceeded(
            "DEADLINE", "the call's time ended while its rows were read; give it more", doing="reading rows"
        )


def other_log(held: Version, log_id: str) -> FailedPrecondition:
    """The refusal to mix the rows of two logs."""
    return FailedPrecondition(
        "OTHER_LOG",
        f"the warehouse holds log {held.log_id} up to frame {held.sequence}, realtime has log {log_id}: bring "
        "back the log that belongs to it, or start with an empty warehouse folder, which is then filled anew",
        warehouse_log=held.log_id,
        warehouse_sequence=held.sequence,
        realtime_log=log_id,
    )


def _locked(folder: Path) -> int:
    """The folder's lock, held until the descriptor is closed or the process ends, kill -9 included."""
    lock = os.open(folder / "warehouse.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise FailedPrecondition(
            "STORE_LOCKED",
            f"another extraction has the warehouse in {folder} open: stop it, or give this one a folder of its own",
            folder=folder,
        ) from error
    except BaseException:
        os.close(lock)
        raise
    return lock
