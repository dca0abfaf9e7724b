"""ETL scripts run here, in worker processes, never in the service: Arrow in and out, a deadline that kills."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeAlias, TypeVar

import pyarrow as pa

from featurestore.etl import packages, wire
from featurestore.etl.declarations import Declarations
from featurestore.model.errors import Internal
from featurestore.model.schema import plain
from services.extraction import checking
from services.extraction.launchers import PlainLauncher, SealedLauncher
from services.extraction.worker_pool_errors import bad_result, closing, crashed, late, reported, taken_along
from services.extraction.worker_protocol import BadReply, Launcher, Worker, WorkerDied
from services.extraction.worker_types import EtlCode, EtlResult, Sandbox, WorkerLimits
from services.extraction.worker_use import Used

_log = logging.getLogger(__name__)

_Key: TypeAlias = tuple[str, ...]
_Result = TypeVar("_Result")

_ONLY_FOR = {"duckdb": "sql", "polars": "polars"}
"""What every worker has loaded, and only this kind of ETL runs on, unless a script imports it itself."""

_INLINE_BYTES = 2**20  # more than this is encoded and checked in a thread
_NOTHING = pa.py_buffer(b"")
_KNOWN_SCRIPTS = 1_000  # whose declarations are remembered


class WorkerPool:
    """Warm worker processes, kept by script, the longest unused making way.

    An async context manager. `run` and `declared` are all that callers need. Workers are sealed; `Sandbox.UNSAFE`
    starts plain processes instead. Any error, or enough calls, and a worker makes way for a fresh one.
    """

    def __init__(self, limits: WorkerLimits | None = None, sandbox: Sandbox = Sandbox.SEALED) -> None:
        """Start nothing yet."""
        self._limits = limits or WorkerLimits()
        self._modules = packages.allowed(self._limits.packages)
        self._launcher: Launcher = (
            PlainLauncher() if sandbox is Sandbox.UNSAFE else SealedLauncher(self._limits.caps)
        )
        self._declared: OrderedDict[_Key, Declarations] = OrderedDict()
        self._used: dict[Worker, Used] = {}
        self._idle: OrderedDict[_Key, list[Worker]] = OrderedDict()
        self._busy: Counter[_Key] = Counter()
        self._spares: deque[asyncio.Task[Worker]] = deque()
        self._running: set[Worker] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._reaping: set[asyncio.Task[int | None]] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        await self._launcher.__aenter__()
        self._keep_a_spare()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def workers(self) -> int:
        """Processes that hold a script now."""
        return self._busy.total() + sum(map(len, self._idle.values()))

    @property
    def refusal(self) -> str:
        """Why no ETL is run at all; empty while there is no reason."""
        return self._launcher.refusal.message if self._launcher.refusal is not None else ""

    async def close(self) -> None:
        """Kill all workers, running or not, and wait until they are gone."""
        self._closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        for workers in self._idle.values():
            for worker in workers:
                self._end(worker)
        self._idle.clear()
        for worker in self._running:
            worker.terminate()
        self._wake()
        while self._busy.total():
            await self._change()
        for spare in self._spares:
            spare.cancel()
        for started in await asyncio.gather(*self._spares, return_exceptions=True):
            if not isinstance(started, BaseException):
                self._end(started)
        self._spares.clear()
        await asyncio.gather(*self._reaping)
        await self._launcher.__aexit__(None, None, None)

    async def run(
        self,
        code: EtlCode,
        batches: Sequence[pa.RecordBatch | pa.Table],
        *,
        input_schema: pa.Schema,
        contract: pa.Schema | None,
        deadline_seconds: float,
        clock: float | None = None,
    ) -> EtlResult:
        """Run an ETL once on each batch.

        With a contract (serving) a batch without rows is not run: its result is empty. Without one (training) there
        is at least one batch, all are run in any case, and the schema of the results is what they decide together.

        Args:
            batches: all of `input_schema`; one per index value, or training rows, all or some of them.
            deadline_seconds: for all of it, waiting for a worker included.
            clock: the time that it is for the script, in seconds since 1970, and stays; in a worker of its own.

        Raises:
            FailedPrecondition: `ETL_SOURCE`, `ETL_EXCEPTION` (details type, line, path, exception),
                `ETL_NO_FRAME`, `ETL_INPUT_TYPE`, `ETL_OUTPUT_TYPE`, `CONTRACT_BROKEN`; `ETL_UNSEALED`: none is run.
            ResourceExhausted: `ETL_OUTPUT`, `ETL_MEMORY`.
            PermissionDenied: `ETL_SANDBOX`: the script tried what the seal forbids; details as `ETL_EXCEPTION`.
            DeadlineExceeded: `ETL_TIMEOUT`; the worker is killed.
            Unavailable: `ETL_BUSY`: no worker was free in time, the process that workers come from died, or the pool
                is closing.
            Internal: `ETL_CRASH`, `ETL_BAD_RESULT`.
        """
        if contract is None and not batches:
            raise ValueError("a training run takes at least one batch")
        tables = [
            pa.Table.from_batches([batch], batch.schema) if isinstance(batch, pa.RecordBatch) else batch
            for batch in batches
        ]
        if any(table.schema != input_schema for table in tables):
            raise ValueError("a batch is not of the input schema")
        asked = [table for table in tables if contract is None or table.num_rows]
        if contract is not None and not asked:
            return EtlResult([plain(contract).empty_table() for _ in tables], plain(contract))
        started = False
        try:
            async with asyncio.timeout(deadline_seconds):
                async with self._worker(code, frozen=clock is not None) as worker:
                    started = True
                    result = await self._ask(worker, code, asked, input_schema, contract, clock)
        except TimeoutError as error:
            raise late(code.path, deadline_seconds, started=started) from error
        answers = iter(result.tables)
        return EtlResult(
            [
                next(answers) if contract is None or table.num_rows else result.schema.empty_table()
                for table in tables
            ],
            result.schema,
            result.undecided,
            result.libraries,
            result.declared,
        )

    async def declared(self, code: EtlCode, *, deadline_seconds: float | None = None) -> Declarations:
        """What a script declares of itself; it is loaded for that, once, and not run.

        Args:
            deadline_seconds: waiting for a worker included; None for what training has.

        Raises:
            FeatureStoreError: as `run`, where the script can't be loaded.
        """
        if (known := self._declared.get(code.key)) is not None:
            return known
        seconds = self._limits.training_seconds if deadline_seconds is None else deadline_seconds
        started = False
        try:
            async with asyncio.timeout(seconds), self._worker(code) as worker:
                started = True
                reply, _ = await self._exchange(worker, code, {"contract": None, "batches": []}, _NOTHING)
                return self._declarations(code, reply)
        except TimeoutError as error:
            raise late(code.path, seconds, started=started) from error

    async def _ask(
        self,
        worker: Worker,
        code: EtlCode,
        tables: list[pa.Table],
        input_schema: pa.Schema,
        contract: pa.Schema | None,
        clock: float | None,
    ) -> EtlResult:
        size = sum(table.nbytes for table in tables)
        counts, body = await _run_blocking(size, wire.encode_tables, tables, input_schema)
        header = {
            "contract": None if contract is None else wire.schema_to_text(contract),
            "batches": counts,
            "clock": clock,
        }
        reply, stream = await self._exchange(worker, code, header, body)
        results, schema = await _run_blocking(
            stream.size, checking.checked, reply, stream, len(tables), contract
        )
        undecided = checking.names(reply.get("undecided", []))
        declared = self._declarations(code, reply)
        used = {
            name: version
            for name, version in worker.libraries.items()
            if _ONLY_FOR.get(name) in {None, declared.kind}
        }
        return EtlResult(results, schema, undecided, used | self._versions(reply), declared=declared)

    def _versions(self, reply: dict[str, Any]) -> dict[str, str]:
        """Of the packages that the script imported. A worker can't make any up: they are looked up here."""
        imported = [self._modules.get(name) for name in checking.names(reply.get("imported", []))]
        return {package.name: package.version for package in imported if package is not None}

    async def _exchange(
        self, worker: Worker, code: EtlCode, header: dict[str, Any], body: pa.Buffer
    ) -> tuple[dict[str, Any], pa.Buffer]:
        """Send a request, with the script if the worker has none yet; what the script did wrong is raised."""
        script = {
            "source": code.source,
            "path": code.path,
            "class_name": code.class_name,
            "modules": {module.path: module.source for module in code.modules},
        }
        whole = {
            "script": None if worker.loaded else script,
            "modules_allowed": None if worker.loaded else list(self._modules),
            "output_bytes": self._limits.output_bytes,
            **header,
        }
        began = time.monotonic()
        reply, stream = await worker.ask(whole, body, body_limit=self._limits.reply_bytes)
        self._used.setdefault(worker, Used()).add(time.monotonic() - began, body.size)
        worker.loaded = bool(reply.get("loaded"))
        if "failed" in reply:
            raise reported(reply["failed"])
        return reply, stream

    def _declarations(self, code: EtlCode, reply: dict[str, Any]) -> Declarations:
        """What the script declared when it was loaded first: a later word can't change it, and is not looked at."""
        key = code.key
        declared = self._declared.get(key)
        if declared is None:
            declared = self._declared[key] = checking.declarations(reply.get("declared"))
        self._declared.move_to_end(key)
        if len(self._declared) > _KNOWN_SCRIPTS:
            self._declared.popitem(last=False)
        return declared

    @asynccontextmanager
    async def _worker(self, code: EtlCode, *, frozen: bool = False) -> AsyncIterator[Worker]:
        """A worker for this script alone; it goes back warm unless its state is in doubt, or its clock stands still."""
        key = (*code.key, "at a standing clock") if frozen else code.key
        worker = await self._take(key)
        self._running.add(worker)
        keep = False
        try:
            yield worker
            keep = not frozen and not self._used.get(worker, Used()).enough(self._limits)
        except WorkerDied as error:
            worker.terminate()
            returncode = await worker.wait()
            if self._closed:
                raise closing() from error
            if returncode is None:  # its zygote died and took it along, which is not the script's doing
                raise taken_along(code.path) from error
            _log.warning(
                "the ETL worker of %s ended with %s; it printed: %s", code.path, returncode, worker.printed
            )
            raise crashed(code.path, returncode) from error
        except BadReply as error:
            _log.warning(
                "the ETL worker of %s broke the protocol (%s); it printed: %s",
                code.path,
                error,
                worker.printed,
            )
            raise bad_result(str(error)) from error
        finally:
            self._running.discard(worker)
            self._busy[key] -= 1
            if keep and not self._closed:
                self._idle.setdefault(key, []).append(worker)
                self._idle.move_to_end(key)
                self._used[worker].last = time.monotonic()
                self._expire_later()
            else:
                self._end(worker)
            self._wake()

    async def _take(self, key: _Key) -> Worker:
        while not self._closed:
            if (worker := self._warm(key)) is not None:
                self._busy[key] += 1
                return worker
            if self._busy[key] < self._limits.workers_per_etl and self._make_room():
                self._busy[key] += 1
                try:
                    return await self._fresh()
                except BaseException:
                    self._busy[key] -= 1
                    self._wake()
                    raise
            await self._change()
        raise closing()

    def _warm(self, key: _Key) -> Worker | None:
        idle = self._idle.get(key, [])
        while idle:
            worker = idle.pop()
            if not idle:
                del self._idle[key]
            if worker.alive:
                return worker
            self._end(worker)
        return None

    def _expire_later(self) -> None:
        if self._expiry is None:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(self._limits.idle_seconds / 2, self._expire)

    def _expire(self) -> None:
        """End the workers that nobody asked for too long."""
        self._expiry = None
        long_ago = time.monotonic() - self._limits.idle_seconds
        for key, workers in list(self._idle.items()):
            for worker in [each for each in workers if self._used[each].last <= long_ago]:
                workers.remove(worker)
                self._end(worker)
            if not workers:
                del self._idle[key]
        if self._idle:
            self._expire_later()
        self._wake()

    def _make_room(self) -> bool:
        """Whether one more worker may hold a script, after the longest unused one went if need be."""
        if self.workers < self._limits.workers:
            return True
        if not self._idle:
            return False
        oldest = next(iter(self._idle))
        self._end(self._idle[oldest].pop(0))
        if not self._idle[oldest]:
            del self._idle[oldest]
        return True

    async def _fresh(self) -> Worker:
        """A started worker without a script: the spare, while the next one starts behind it."""
        while not self._closed:
            self._keep_a_spare()
            spare = self._spares.popleft()
            in_stock = spare.done()
            self._keep_a_spare()
            try:
                worker = await asyncio.shield(spare)
            except asyncio.CancelledError:
                self._spares.appendleft(spare)  # the caller left; the process is as good as before
                raise
            except (WorkerDied, BadReply) as error:
                if in_stock:
                    continue  # it failed some time ago; what is the matter now shows a new one
                raise Internal(
                    "ETL_CRASH", "an ETL worker process did not start; see the server's log"
                ) from error
            if worker.alive and not self._closed:
                return worker
            self._end(worker)
        raise closing()

    def _keep_a_spare(self) -> None:
        if not self._spares and not self._closed:
            self._spares.append(asyncio.create_task(self._launcher.start()))

    async def _change(self) -> None:
        """Wait until a worker comes free or ends."""
        changed = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        try:
            await changed
        finally:
            self._waiting.discard(changed)

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def _end(self, worker: Worker) -> None:
        self._used.pop(worker, None)
        worker.kill()
        reaping = asyncio.create_task(worker.wait())
        self._reaping.add(reaping)
        reaping.add_done_callback(self._reaping.discard)


async def _run_blocking(size: int, work: Callable[..., _Result], *arguments: object) -> _Result:
    """Do it here if it is small, in a thread otherwise."""
    return work(*arguments) if size <= _INLINE_BYTES else await asyncio.to_thread(work, *arguments)
