"""What is hot: the service's own object. Opens the folder, replays the log, then writes by lane and reads by pool."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from featurestore.engine.apply import Tables
from featurestore.engine.describe import describe
from featurestore.engine.profile import connect
from featurestore.engine.tables import identity, qualified
from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, ResourceExhausted
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import Answer, AnswerFormat, Explanation, Keys, RealtimeStatus
from featurestore.model.table import Frame, Published, TableDefinition, TableInfo, TableRows, Version
from featurestore.model.warming import Warmed
from services.realtime import explain, proposals, replay
from services.realtime.cache import AnswerCache
from services.realtime.compaction import Compaction
from services.realtime.costs import Costs
from services.realtime.folder_lock import FolderLock
from services.realtime.indexes import Indexes, indexed_column
from services.realtime.keeper import Keeper
from services.realtime.lane import Lane, LaneLimits, exit_process
from services.realtime.log import Log, LogReader
from services.realtime.marks import Marks
from services.realtime.plans import Plans
from services.realtime.proposals import Create, Delete, DropTable, Publish
from services.realtime.readers import Readers
from services.realtime.serving import Serving
from services.realtime.shared_reads import SharedReads
from services.realtime.statements import Statements
from services.realtime.transactions import OpenReads
from services.realtime.watchman import Watchman

_FOLLOW_PIECE_BYTES = 8 * 2**20
_BUILD_SECONDS = 20.0
_EXPLAIN_SECONDS = 10.0


class RealtimeService:
    """Implements `peers.Realtime` on a folder; an async context manager that holds the folder while it is open.

    Raises on entering:
        FailedPrecondition: `STORE_LOCKED`, `FORMAT`, `LOG_DAMAGED`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        readers: int = 4,
        engine_threads: int = 2,
        memory_limit: str = "4GB",
        cache_bytes: int = 256 * 2**20,
        warm_share: float = 0.1,
        limits: LaneLimits | None = None,
        die: Callable[[str], None] = exit_process,
    ) -> None:
        """Nothing is opened yet.

        Args:
            folder: holds the log; made if it is not there.
            readers: queries that run at once.
            engine_threads: worker threads of the engine.
            memory_limit: of the engine, with its unit.
            cache_bytes: what answers that are kept may take; 0 keeps none.
            warm_share: of the readers' time, 0 to 1; a query whose misses take more is warmed by itself, 0 for none.
            limits: how much may wait to be written.
            die: called when only a restart can tell what the log holds.
        """
        self._folder = folder
        self._reader_count = readers
        self._connect = functools.partial(connect, threads=engine_threads, memory_limit=memory_limit)
        self._cache = AnswerCache(cache_bytes)
        self._warm_share = warm_share
        self._limits = limits
        self._die = die
        self._stack = AsyncExitStack()
        self._advanced = asyncio.Event()
        self._lane: Lane
        self._readers: Readers
        self._watchman: Watchman
        self._serving: Serving
        self._shared: SharedReads
        self._keeper: Keeper

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.callback(FolderLock(self._folder).release)
            log = await asyncio.to_thread(Log, self._folder)
            stack.callback(log.close)
            connection = await asyncio.to_thread(self._connect)
            stack.callback(connection.close)
            reads = OpenReads()
            indexes = Indexes(log, reads)
            tables = await asyncio.to_thread(self._replayed, connection, indexes)
            compaction = Compaction()
            compaction.look_at_all(tables)
            self._readers = Readers(connection, self._reader_count, reads)
            stack.push_async_callback(self._readers.close)
            marks = Marks()
            statements = Statements(marks)
            loop = asyncio.get_running_loop()
            self._lane = Lane(
                connection.cursor(),
                log,
                tables,
                indexes=indexes,
                cache=self._cache,
                compaction=compaction,
                marks=marks,
                limits=self._limits,
                on_advance=functools.partial(loop.call_soon_threadsafe, self._advance),
                die=self._die,
            )
            self._lane.start()
            stack.push_async_callback(self._lane.close)
            self._watchman = Watchman(connection, self._lane, statements, reads)
            self._watchman.start()
            stack.push_async_callback(asyncio.to_thread, self._watchman.close)
            costs = Costs(self._reader_count)
            self._serving = Serving(
                self._lane, Plans(self._lane), self._cache, statements, self._watchman, costs
            )
            self._shared = SharedReads(self._readers, self._serving)
            self._keeper = Keeper(self._serving, self._cache, self._readers, costs, share=self._warm_share)
            self._keeper.start()
            stack.push_async_callback(self._keeper.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def create_table(self, table: TableDefinition) -> TableInfo:
        """See `peers.Realtime`."""
        await self._lane.submit(Create(table))
        return await self.get_table(table.name)

    async def drop_table(self, table: str) -> Version:
        """See `peers.Realtime`."""
        return (await self._lane.submit(DropTable(table))).version

    async def publish(self, publish_id: str, tables: Sequence[TableRows]) -> Published:
        """See `peers.Realtime`."""
        return await self._lane.submit(Publish(publish_id, tuple(tables)))

    async def delete(self, publish_id: str, table: str, keys: bytes | Keys) -> Published:
        """See `peers.Realtime`."""
        return await self._lane.submit(Delete(publish_id, table, keys))

    async def get_table(self, table: str) -> TableInfo:
        """See `peers.Realtime`."""
        version = self._lane.version
        known = proposals.known_table(self._lane.tables, table)
        infos = await self._readers.run(lambda cursor: _infos(cursor, {identity(table): known}, version))
        # A drop may have come between the two lines above.
        return infos[0] if infos else await self.get_table(table)

    async def list_tables(self) -> tuple[TableInfo, ...]:
        """See `peers.Realtime`."""
        version, tables = self._lane.version, self._lane.tables
        return await self._readers.run(lambda cursor: _infos(cursor, tables, version))

    async def describe(self, sql: str) -> tuple[Column, ...]:
        """See `peers.Realtime`."""
        return await self._readers.run(lambda cursor: describe(cursor, sql))

    async def query(self, query_id: str, form: QueryForm, keys: Keys, answer_format: AnswerFormat) -> Answer:
        """See `peers.Realtime`."""
        kept = self._serving.kept(query_id, form, keys, answer_format)
        if kept is not None:
            return kept
        return await self._shared.answer(query_id, form, keys, answer_format)

    async def explain(self, query_id: str, form: QueryForm, index_key: tuple[str, ...]) -> Explanation:
        """See `peers.Realtime`."""
        found = await self._readers.run(
            lambda cursor: explain.explain(cursor, self._serving, query_id, form, index_key)
        )
        return replace(found, cache=await self._keeper.use(query_id, form, index_key))

    async def warm(
        self,
        query_id: str,
        form: QueryForm,
        index_key: tuple[str, ...],
        keys: Keys | None,
        *,
        keep: bool | None,
        answer_format: AnswerFormat,
    ) -> Warmed:
        """See `peers.Realtime`."""
        return await self._keeper.warm(
            query_id, form, index_key, keys, keep=keep, answer_format=answer_format
        )

    async def declare(self, query_id: str, form: QueryForm, index_key: tuple[str, ...]) -> Explanation:
        """See `peers.Realtime`."""
        prepared = await self._readers.run(
            lambda cursor: self._serving.prepared(cursor, query_id, form, index_key)
        )
        building = [
            asyncio.wrap_future(self._lane.index(indexed_column(table, column)))
            for table, column in prepared.narrows_on
        ]
        if building:
            # A save waits a little, so that it can say how the query is served, but never fails for an index.
            await asyncio.wait(building, timeout=deadline.remaining_or(_BUILD_SECONDS) / 2)
        try:
            with deadline.within(deadline.remaining_or(_EXPLAIN_SECONDS) * 0.8):
                return await self.explain(query_id, form, index_key)
        except (DeadlineExceeded, ResourceExhausted, InvalidArgument) as refusal:
            return explain.unexplained(query_id, prepared, index_key, refusal)

    async def sample_keys(self, form: QueryForm, index_key: tuple[str, ...], count: int) -> pa.Table:
        """See `peers.Realtime`."""
        return await self._readers.run(
            lambda cursor: self._serving.sample_keys(cursor, form, index_key, count)
        )

    async def version(self) -> Version:
        """See `peers.Realtime`."""
        return self._lane.version

    async def follow(self, after: Version | None) -> AsyncIterator[tuple[str, Sequence[Frame]]]:
        """See `peers.Realtime`. Each piece has at least one frame, and about 8 MiB at most if it has more."""
        log_id = self._lane.version.log_id
        sequence = after.sequence if after is not None else 0
        reader = LogReader(self._folder)
        try:
            last = await asyncio.to_thread(reader.last_sequence)
            if after is not None and (after.log_id != log_id or sequence > last):
                raise FailedPrecondition(
                    "OTHER_LOG",
                    f"version {sequence} of log {after.log_id} is not in this log, {log_id}, which ends at {last}; "
                    "whoever follows belongs to another store, or to a later copy of this one",
                    log_id=log_id,
                    after=after.log_id,
                )
            while True:
                advanced = self._advanced  # taken before the read: an append behind it is not missed
                piece = await asyncio.to_thread(_decoded_after, reader, sequence)
                if piece:
                    sequence = piece[-1].sequence
                    yield log_id, piece
                else:
                    await advanced.wait()
        finally:
            # A follower that is cancelled may leave its last read to its thread; closing waits for that there.
            asyncio.get_running_loop().run_in_executor(None, reader.close)

    async def status(self) -> RealtimeStatus:
        """See `peers.Realtime`."""
        infos = await self.list_tables()
        refusal = self._lane.refusal
        return RealtimeStatus(
            version=self._lane.version,
            tables=len(infos),
            rows=sum(info.row_count for info in infos),
            writable=refusal is None,
            not_writable_because="" if refusal is None else refusal.message,
            plans_dropped=self._watchman.differed,
            cache=await self._keeper.report(),
        )

    def _replayed(self, connection: duckdb.DuckDBPyConnection, indexes: Indexes) -> Tables:
        reader = LogReader(self._folder)
        try:
            with connection.cursor() as cursor:
                tables = replay.replay(cursor, reader)
                indexes.build_all(cursor, tables)
                return tables
        finally:
            reader.close()

    def _advance(self) -> None:
        self._advanced.set()
        self._advanced = asyncio.Event()
        self._keeper.wake()


def _infos(cursor: duckdb.DuckDBPyConnection, tables: Tables, version: Version) -> tuple[TableInfo, ...]:
    infos: list[TableInfo] = []
    for definition in sorted(tables.values(), key=lambda each: each.name):
        try:
            counted = cursor.execute(f"SELECT count(*) FROM {qualified(definition.name)}").fetchone()
        except duckdb.CatalogException:
            continue  # dropped meanwhile
        infos.append(TableInfo(definition, counted[0] if counted else 0, version))
    return tuple(infos)


def _decoded_after(reader: LogReader, sequence: int) -> list[Frame]:
    return [replay.decoded(logged) for logged in reader.read_after(sequence, _FOLLOW_PIECE_BYTES)]
