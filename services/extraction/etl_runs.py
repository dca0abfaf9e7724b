"""Running ETLs: over all training rows, or once per served key, from the code that is pinned."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from featurestore.etl import imports
from featurestore.etl.declarations import Declarations
from featurestore.model import deadline
from featurestore.model.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from featurestore.model.etl import EtlSource, PinnedScript, Provenance
from featurestore.model.schema import plain, schema_sha256
from featurestore.model.serving import Answer, AnswerFormat, AnswerInfo, EtlRun, KeyAnswer, LibraryDifference
from featurestore.rpc.rows import encode_rows
from services.extraction.blob_cache import BlobCache
from services.extraction.bulk import EtlRows
from services.extraction.contracts import require_decided
from services.extraction.etl_inputs import EtlInputs
from services.extraction.features_kept import Features, FeaturesKept, name_of
from services.extraction.git_address import parse
from services.extraction.git_fetch import GitSources
from services.extraction.git_objects import FetchedScript
from services.extraction.worker_types import EtlCode, EtlModule, EtlResult, WorkerLimits
from services.extraction.workers import WorkerPool

_MANY_KEYS_BYTES = 3 * 2**20
_ONE_KEY_BYTES = 64 * 2**20
_LEISURE = 10  # times as long as in serving, for runs that nobody waits for at a key
_INLINE_ROWS = 1_000  # more are encoded in a thread


@dataclass(frozen=True, slots=True)
class TrainedEtl:
    """What an ETL made of the training rows.

    Attributes:
        script: what was run, ready to be pinned; None for a local script that need not be committed.
    """

    result: EtlResult
    script: PinnedScript | None

    @property
    def table(self) -> pa.Table:
        """All rows."""
        return self.result.tables[0]


class EtlRuns:
    """Finds the code of an ETL and runs it in the workers."""

    def __init__(
        self,
        workers: WorkerPool,
        sources: GitSources,
        cache: BlobCache,
        limits: WorkerLimits | None = None,
        *,
        kept: FeaturesKept | None = None,
    ) -> None:
        """Take the parts.

        Args:
            cache: of scripts.
            kept: features of pure ETLs; None to keep none.
        """
        self._kept = kept or FeaturesKept(0)
        self._workers = workers
        self._sources = sources
        self._cache = cache
        self._limits = limits or WorkerLimits()

    async def code(self, source: EtlSource | EtlRun, *, pin: bool) -> tuple[EtlCode, PinnedScript | None]:
        """The text of a script, and how it is pinned.

        Raises:
            InvalidArgument: `ETL_ADDRESS`, `ETL_SOURCE`.
            NotFound, FailedPrecondition: `ETL_SOURCE`.
            FailedPrecondition: `ETL_NOT_COMMITTED`: `pin`, and the local script is not what HEAD holds.
            PermissionDenied: `GIT_SCHEME`.
            Unavailable: `GIT_UNREACHABLE`.
        """
        if isinstance(source, EtlRun):
            return await self._sources.load(source.script, self._cache), source.script
        if bool(source.address) == bool(source.local_path):
            raise InvalidArgument(
                "ETL_SOURCE", "etl names no script: give an address or a local path, not both"
            )
        if source.address:
            return await self._fetched(await self._sources.fetch(parse(source.address)), pin=pin)
        beside = dict(source.neighbours)
        _check(source.local_path, beside)
        if pin:
            found = await self._sources.head_of_path(source.local_path, source.text, beside)
            return await self._fetched(found, pin=pin)
        sha256 = hashlib.sha256(source.text.encode()).hexdigest()
        modules = tuple(EtlModule.of(path, text) for path, text in sorted(beside.items()))
        return EtlCode(source.text, source.local_path, sha256, modules=modules), None

    async def train(
        self,
        code: EtlCode,
        script: PinnedScript | None,
        rows: pa.Table,
        contract: pa.Schema | None,
        *,
        pin: bool,
    ) -> TrainedEtl:
        """Run an ETL once over all training rows.

        Args:
            contract: of a saved ETL: the result is held to it.
            pin: every output type has to be decided.

        Raises:
            FailedPrecondition: `CONTRACT_UNDECIDED`, `CONTRACT_BROKEN`, and what `WorkerPool.run` raises.
        """
        result = await self._over(code, rows.schema, [rows], contract)
        if pin:
            require_decided(result.undecided)
        if script is not None and contract is None:
            script = _ran_with(script, result.libraries, result.declared or script.declared)
        return TrainedEtl(result, script)

    async def declared(self, code: EtlCode) -> Declarations:
        """What a script declares of itself; raises as `WorkerPool.declared`."""
        return await self._workers.declared(code, deadline_seconds=_seconds(self._limits.training_seconds))

    async def train_in_parts(
        self,
        code: EtlCode,
        script: PinnedScript | None,
        inputs: Callable[[], Awaitable[EtlInputs]],
        input_schema: pa.Schema,
        contract: pa.Schema | None,
        *,
        pin: bool,
    ) -> tuple[EtlRows, PinnedScript | None]:
        """Run an ETL over training rows that come in parts; whoever holds the result reads it to the end or closes it.

        Args:
            inputs: opens them.
            contract: of a saved ETL: each part is held to it.
            pin: every output type has to be decided.

        Returns: the rows, and what was run, ready to be pinned.

        Raises:
            FailedPrecondition: `CONTRACT_UNDECIDED`, `CONTRACT_BROKEN`, and what `WorkerPool.run` raises.
        """
        rows = await EtlRows.open(
            inputs,
            lambda tables, held_to: self._over(code, input_schema, tables, held_to),
            input_schema=input_schema,
            contract=contract,
            workers=self._limits.training_workers,
        )
        try:
            if pin:
                require_decided(rows.undecided)
            if script is not None and contract is None:
                script = _ran_with(script, rows.libraries, await self.declared(code))
        except BaseException:
            await rows.close()
            raise
        return rows, script

    async def _over(
        self, code: EtlCode, input_schema: pa.Schema, inputs: Sequence[pa.Table], contract: pa.Schema | None
    ) -> EtlResult:
        return await self._workers.run(
            code,
            inputs,
            input_schema=input_schema,
            contract=contract,
            deadline_seconds=_seconds(self._limits.training_seconds),
        )

    async def tables(
        self, run: EtlRun, inputs: Sequence[pa.Table | pa.RecordBatch], *, clock: float | None = None
    ) -> list[pa.Table]:
        """Run a saved ETL once per input; an input without rows is not run, its table is empty.

        Args:
            clock: the time that it is for the script, in seconds since 1970, and stays; the inputs are run in a
                process of their own then, and have more time.

        Raises:
            FailedPrecondition: `CONTRACT_BROKEN`, `ETL_EXCEPTION`, `ETL_NO_FRAME`, `ETL_SOURCE`.
            DeadlineExceeded: `ETL_TIMEOUT`.
        """
        return (await self._served(run, inputs, clock=clock)).tables

    async def serve(self, run: EtlRun, answer: Answer, answer_format: AnswerFormat) -> Answer:
        """Run a saved ETL on served rows, once per found key; see `peers.Extraction.run_etl`.

        The features of one key are kept if the ETL declares itself pure; of the same rows they are not made again.
        """
        name = None
        if self._kept.enabled and len(answer.keys) == 1:
            name = name_of(run, answer, answer_format)
            if (kept := self._kept.get(name)) is not None:
                info = replace(_served_info(run, answer, kept.library_differences), features_from_cache=True)
                return Answer((kept.answer,), answer_format, kept.payload, info)
        result = await self._served(run, served_batches(answer, _input_schema(run)))
        payload = await _encoded(result.tables, plain(run.contract), answer_format)
        _check_size(len(payload), len(result.tables))
        keys = tuple(
            KeyAnswer(key.outcome, table.num_rows)
            for key, table in zip(answer.keys, result.tables, strict=True)
        )
        others = library_differences(run.script.provenance.libraries, result.libraries)
        if name is not None and result.declared is not None and result.declared.pure:
            self._kept.put(name, Features(keys[0], payload, others))
        return Answer(keys, answer_format, payload, _served_info(run, answer, others))

    async def _served(
        self, run: EtlRun, inputs: Sequence[pa.Table | pa.RecordBatch], *, clock: float | None = None
    ) -> EtlResult:
        code, _ = await self.code(run, pin=False)
        return await self._workers.run(
            code,
            inputs,
            input_schema=_input_schema(run),
            contract=run.contract,
            deadline_seconds=_seconds(self._limits.serving_seconds * (1 if clock is None else _LEISURE)),
            clock=clock,
        )

    async def _fetched(self, found: FetchedScript, *, pin: bool) -> tuple[EtlCode, PinnedScript]:
        if pin:
            await self._sources.keep(found, self._cache)
        provenance = Provenance(found.repository, found.ref, found.commit, found.path)
        modules = tuple(EtlModule(file.source, file.path, file.blob_sha256) for file in found.neighbours)
        code = EtlCode(found.source, found.path, found.blob_sha256, modules=modules)
        beside = tuple((module.path, module.blob_sha256) for module in modules)
        return code, PinnedScript(found.blob_sha256, provenance, beside)


def _check(script: str, beside: Mapping[str, str]) -> None:
    try:
        imports.check_size(beside)
        imports.check_names(beside)
    except imports.Unusable as error:
        raise InvalidArgument("ETL_SOURCE", f"{script!r} can't be run: {error}", path=script) from error


def _ran_with(script: PinnedScript, libraries: Mapping[str, str], declared: Declarations) -> PinnedScript:
    """The script, with the versions that it ran with and what it declares."""
    provenance = replace(script.provenance, libraries=dict(libraries))
    return replace(script, provenance=provenance, declared=declared)


def served_batches(answer: Answer, expected: pa.Schema) -> list[pa.RecordBatch]:
    """The rows of an answer in Arrow, one batch per asked value.

    Raises:
        FailedPrecondition: `QUERY_SCHEMA_CHANGED`: the rows don't have the stored columns.
    """
    with pa.ipc.open_stream(answer.payload) as stream:
        if stream.schema != expected:
            raise FailedPrecondition(
                "QUERY_SCHEMA_CHANGED",
                f"query {answer.info.query_id} was served with other columns than are stored with it: "
                f"{_described(stream.schema)} instead of {_described(expected)}; save the query anew",
                query_id=answer.info.query_id,
                served=_described(stream.schema),
                stored=_described(expected),
            )
        batches = list(stream)
    if len(batches) != len(answer.keys):
        raise ValueError(f"an answer for {len(answer.keys)} keys came with {len(batches)} batches")
    return batches


def _served_info(run: EtlRun, answer: Answer, others: tuple[LibraryDifference, ...]) -> AnswerInfo:
    return replace(
        answer.info,
        etl_id=run.etl_id,
        blob_sha256=run.script.blob_sha256,
        contract_sha256=schema_sha256(run.contract),
        library_differences=others,
    )


def library_differences(saved: Mapping[str, str], served: Mapping[str, str]) -> tuple[LibraryDifference, ...]:
    """The libraries that run in other versions than were saved; none if nothing is known of one of the two."""
    if not saved or saved == served:
        return ()
    return tuple(
        LibraryDifference(name, saved.get(name, ""), version)
        for name, version in sorted(served.items())
        if saved.get(name) != version
    )


def _input_schema(run: EtlRun) -> pa.Schema:
    return pa.schema([pa.field(column.name, column.type) for column in run.input_columns])


async def _encoded(tables: Sequence[pa.Table], contract: pa.Schema, answer_format: AnswerFormat) -> bytes:
    encode = _typed_rows if answer_format is AnswerFormat.ROWS else _arrow_stream
    if sum(table.num_rows for table in tables) <= _INLINE_ROWS:
        return encode(tables, contract)
    return await asyncio.to_thread(encode, tables, contract)


def _typed_rows(tables: Sequence[pa.Table], contract: pa.Schema) -> bytes:
    return encode_rows(contract, tables)


def _arrow_stream(tables: Sequence[pa.Table], contract: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    nothing = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in contract], schema=contract)
    with pa.ipc.new_stream(sink, contract) as writer:
        for table in tables:
            batches = table.combine_chunks().to_batches()
            writer.write_batch(batches[0] if batches else nothing)
    return bytes(sink.getvalue())


def _check_size(size: int, keys: int) -> None:
    limit = _MANY_KEYS_BYTES if keys > 1 else _ONE_KEY_BYTES
    if size <= limit:
        return
    fits = max(1, keys * limit // size)
    todo = f"ask for at most {fits} in one call" if keys > 1 else "let the ETL return fewer rows or columns"
    raise ResourceExhausted(
        "ANSWER_TOO_LARGE",
        f"the features of {keys} keys have {size} bytes, the limit is {limit}; {todo}",
        size=size,
        limit=limit,
        keys=keys,
        fits=fits,
    )


def _described(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def _seconds(limit: float) -> float:
    """What a script has: its limit, or what the call has left, less what it takes to say `ETL_TIMEOUT` in time."""
    left = deadline.remaining_or(limit + 1)
    return min(limit, max(left / 2, left - deadline.margin(left)))
