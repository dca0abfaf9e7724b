"""What is computed: the service's own object."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import duckdb

from featurestore.engine.describe import describe
from featurestore.model.errors import FailedPrecondition
from featurestore.model.etl import EtlSource
from featurestore.model.peers import Realtime
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import (
    Answer,
    AnswerFormat,
    EtlRun,
    ExtractionStatus,
    TrainHead,
    TrainStream,
)
from featurestore.model.table import Version
from featurestore.model.verifying import VerifyReport
from services.extraction.blob_cache import BlobCache
from services.extraction.etl_inputs import opening
from services.extraction.etl_runs import EtlRuns
from services.extraction.features_kept import FeaturesKept
from services.extraction.follower import Follower
from services.extraction.git_fetch import GitSources
from services.extraction.git_settings import GitSettings
from services.extraction.training import Messages, QueryRows, no_messages, table_messages, whole_table
from services.extraction.verify import Verifier
from services.extraction.verify_reading import Subject
from services.extraction.warehouse import Warehouse, WarehouseSettings
from services.extraction.worker_types import Sandbox, WorkerLimits
from services.extraction.workers import WorkerPool

T = TypeVar("T")


class ExtractionService:
    """Implements `peers.Extraction` on a folder; an async context manager that holds the folder while it is open.

    Raises on entering:
        FailedPrecondition: `STORE_LOCKED`.
    """

    def __init__(
        self,
        folder: Path,
        realtime: Realtime,
        *,
        scripts: BlobCache | None = None,
        warehouse: WarehouseSettings | None = None,
        git: GitSettings | None = None,
        workers: WorkerLimits | None = None,
        sandbox: Sandbox = Sandbox.SEALED,
        etl_input_bytes: int = 2 * 2**30,
        etl_cache_bytes: int = 64 * 2**20,
        sample_seed: int | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            folder: holds the warehouse; made if it is not there.
            realtime: whose log is followed, and what Verify asks.
            scripts: those that were saved; None to keep them in `blobs` in the folder.
            sandbox: how scripts are kept from harm.
            etl_input_bytes: of training rows that one ETL may get.
            etl_cache_bytes: of features that are kept for pure ETLs; 0 for none.
            sample_seed: of the keys that Verify picks; None for others each time.
        """
        self._realtime = realtime
        self._warehouse = Warehouse(folder, warehouse)
        self._follower = Follower(realtime, self._warehouse)
        self._workers = WorkerPool(workers, sandbox)
        self._sources = GitSources(git, folder / "fetches")
        self._etls = EtlRuns(
            self._workers,
            self._sources,
            scripts or BlobCache(folder / "blobs"),
            workers,
            kept=FeaturesKept(etl_cache_bytes),
        )
        self._etl_input_bytes = etl_input_bytes
        self._limits = workers or WorkerLimits()
        self._verifier = Verifier(
            realtime,
            self._follower,
            self._warehouse,
            self._etls,
            max_etl_input_bytes=etl_input_bytes,
            seed=sample_seed,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._sources.close)
            await stack.enter_async_context(self._warehouse)
            await stack.enter_async_context(self._workers)
            await stack.enter_async_context(self._follower)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def describe(self, sql: str, at_least: Version) -> tuple[Column, ...]:
        """See `peers.Extraction`."""
        await self._up_to(at_least)
        return await self._read(lambda cursor: describe(cursor, sql))

    async def query_train(
        self, form: QueryForm, at_least: Version, *, head_only: bool = False
    ) -> TrainStream:
        """See `peers.Extraction`. The version is read before the query's snapshot is taken."""
        version = await self._up_to(at_least)
        rows = await QueryRows.open(self._warehouse, form, head_only=head_only)
        head = TrainHead(form.schema, version)
        if head_only:
            await rows.close()
            return TrainStream(head, no_messages())
        batches = Messages(rows)
        return TrainStream(head, batches, progress=batches.progress)

    async def extract_train(
        self,
        form: QueryForm,
        at_least: Version,
        source: EtlSource | EtlRun,
        *,
        pin: bool,
        index_key: tuple[str, ...] = (),
    ) -> TrainStream:
        """See `peers.Extraction`.

        An ETL over the whole frame has run when this returns, and its rows are kept until they are read; one that may be
        run in parts runs while it is read.
        """
        code, script = await self._etls.code(source, pin=pin)
        declared = await self._etls.declared(code)
        contract = source.contract if isinstance(source, EtlRun) else None
        if declared.granularity == "frame":
            version = await self._up_to(at_least)
            rows = await whole_table(self._warehouse, form, self._etl_input_bytes)
            trained = await self._etls.train(code, script, rows, contract, pin=pin)
            return TrainStream(
                TrainHead(trained.result.schema, version),
                table_messages(trained.table),
                script=trained.script,
                undecided=trained.result.undecided,
            )
        inputs = opening(
            self._warehouse,
            form,
            granularity=declared.granularity,
            index_key=index_key,
            limits=self._limits,
            max_bytes=self._etl_input_bytes,
        )
        version = await self._up_to(at_least)
        parts, script = await self._etls.train_in_parts(code, script, inputs, form.schema, contract, pin=pin)
        batches = Messages(parts)
        return TrainStream(
            TrainHead(parts.schema, version), batches, script, parts.undecided, batches.progress
        )

    async def run_etl(self, run: EtlRun, answer: Answer, answer_format: AnswerFormat) -> Answer:
        """See `peers.Extraction`."""
        return await self._etls.serve(run, answer, answer_format)

    async def verify(
        self,
        query_id: str,
        form: QueryForm,
        etl: EtlRun | None,
        index_key: tuple[str, ...],
        sample: int,
        *,
        exact: bool = False,
    ) -> VerifyReport:
        """See `peers.Extraction`."""
        subject = Subject(query_id, form, etl, index_key)
        return await self._verifier.verify(subject, sample, exact=exact)

    async def status(self) -> ExtractionStatus:
        """See `peers.Extraction`."""
        return ExtractionStatus(
            warehouse_version=self._warehouse.position or Version("", 0),
            etl_workers=self._workers.workers,
            following=self._follower.following,
            last_error=self._follower.last_error,
            etls_refused=self._workers.refusal,
        )

    async def _up_to(self, at_least: Version) -> Version:
        """Wait until the warehouse holds this, and everything that was acknowledged before the call."""
        now = await self._realtime.version()
        if at_least.log_id != now.log_id:
            raise FailedPrecondition(
                "OTHER_LOG",
                f"a version of log {at_least.log_id} is asked for, realtime has log {now.log_id}: "
                "ask again without that version",
                wanted_log=at_least.log_id,
                realtime_log=now.log_id,
            )
        return await self._follower.wait_until(max(at_least, now, key=lambda version: version.sequence))

    async def _read(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        reader = await self._warehouse.reader()
        try:
            return await reader.call(work)
        finally:
            await reader.close()
