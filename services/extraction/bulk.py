"""Training an ETL on a result of any size: inputs stream out of the warehouse, through several workers, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self, TypeAlias, TypeVar

import pyarrow as pa

from featurestore.etl.deciding import Deciding, ResultsDiffer
from featurestore.model.errors import FailedPrecondition
from services.extraction import contracts
from services.extraction.etl_inputs import EtlInputs, Inputs
from services.extraction.in_order import InOrder
from services.extraction.worker_types import EtlResult

T = TypeVar("T")

Run: TypeAlias = Callable[[Inputs, pa.Schema | None], Awaitable[EtlResult]]
"""Runs the ETL once on each input, held to a contract, or to find one."""

_Results: TypeAlias = InOrder[Inputs, tuple[EtlResult, float | None]]

_WAITING = 1  # results that may wait for their reader while the workers go on


class EtlRows:
    """The rows that an ETL makes, one record batch at a time, in the inputs' order.

    Their schema is the contract; without one, it is decided by the first call of a worker, and everything after is
    held to it, as serving is. Columns that it does not decide, having no value in them, are looked for further on:
    then all is read, and run, once more from the beginning.

    Attributes:
        schema: of the rows.
        undecided: columns whose types no row decides; known when this is open.
        libraries: versions that the ETL ran with; empty under a contract.
        done_share: the part of the query that is behind the batches so far, 0 to 1; None while that is not known.
    """

    def __init__(
        self,
        schema: pa.Schema,
        inputs: EtlInputs,
        results: _Results,
        *,
        first: EtlResult | None = None,
        undecided: tuple[str, ...] = (),
        libraries: dict[str, str] | None = None,
    ) -> None:
        """See `open`."""
        self.schema = schema
        self.undecided = undecided
        self.libraries = libraries or {}
        self.done_share: float | None = None
        self._inputs = inputs
        self._results = results
        self._ready: deque[pa.RecordBatch] = deque(_batches(first) if first is not None else ())

    @classmethod
    async def open(
        cls,
        inputs: Callable[[], Awaitable[EtlInputs]],
        run: Run,
        *,
        input_schema: pa.Schema,
        contract: pa.Schema | None,
        workers: int,
    ) -> Self:
        """Start.

        Args:
            inputs: opens the query; called a second time where its first rows don't decide every type.
            input_schema: of the query.
            workers: how many calls of workers run at a time.

        Raises:
            FeatureStoreError: as the query, and as `WorkerPool.run`.
        """
        opened = await inputs()
        try:
            if contract is not None:
                return cls(contract, opened, _running(opened, run, contract, workers))
            first_inputs = await opened.next()
            done_share = opened.done_share
            first = await run(first_inputs or [input_schema.empty_table()], None)
            if not first.undecided:
                return cls._after(first, done_share, opened, run, workers)
            decided = await _looked_on(first, opened, run, workers)
            if decided is None:
                return cls._after(first, done_share, opened, run, workers)
            await opened.close()
            opened = await inputs()
            return cls(
                decided.schema,
                opened,
                _running(opened, _explaining(run), decided.schema, workers),
                undecided=decided.undecided,
                libraries=first.libraries,
            )
        except BaseException:
            await opened.close()
            raise

    @classmethod
    def _after(
        cls, first: EtlResult, done_share: float | None, inputs: EtlInputs, run: Run, workers: int
    ) -> Self:
        rows = cls(
            first.schema,
            inputs,
            _running(inputs, _explaining(run), first.schema, workers),
            first=first,
            undecided=first.undecided,
            libraries=first.libraries,
        )
        rows.done_share = done_share
        return rows

    async def next(self, convert: Callable[[pa.RecordBatch], T]) -> T | None:
        """The next batch, converted in a thread; None at the end, where all is closed.

        Raises:
            FeatureStoreError: as the query, and as `WorkerPool.run`.
        """
        try:
            while not self._ready:
                result = await self._results.next()
                if result is None:
                    await self.close()
                    return None
                made, self.done_share = result
                self._ready.extend(await asyncio.to_thread(_batches, made))
            return await asyncio.to_thread(convert, self._ready.popleft())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Kill the workers that still run, interrupt the query and give its cursor back."""
        self._ready.clear()
        await self._results.close()
        await self._inputs.close()


async def _looked_on(first: EtlResult, inputs: EtlInputs, run: Run, workers: int) -> Deciding | None:
    """What is decided further on, or at the end; None if nothing comes after the first result."""
    deciding = Deciding()
    _add(deciding, first)
    looking = _running(inputs, run, None, workers)
    more = False
    try:
        while deciding.undecided and (result := await looking.next()) is not None:
            _add(deciding, result[0])
            more = True
    finally:
        await looking.close()
    return deciding if more else None


def _add(deciding: Deciding, result: EtlResult) -> None:
    try:
        for table in result.tables:
            deciding.add(table, result.undecided)
    except ResultsDiffer as error:
        raise contracts.broken(error.differences) from error


def _running(inputs: EtlInputs, run: Run, contract: pa.Schema | None, workers: int) -> _Results:
    async def worked(part: Inputs, done_share: float | None) -> tuple[EtlResult, float | None]:
        return await run(part, contract), done_share

    def work(part: Inputs) -> Awaitable[tuple[EtlResult, float | None]]:
        return worked(part, inputs.done_share)  # as it is now, before more is fetched

    # One more than there are workers, so that each finds its next inputs ready.
    return InOrder(inputs.next, work, ahead=workers + 1 + _WAITING)


def _explaining(run: Run) -> Run:
    """The same, where what is broken is no contract that anybody knows of."""

    async def explained(inputs: Inputs, contract: pa.Schema | None) -> EtlResult:
        try:
            return await run(inputs, contract)
        except FailedPrecondition as error:
            if error.reason != "CONTRACT_BROKEN":
                raise
            raise FailedPrecondition(
                error.reason,
                f"{error.message}; what is called the contract here are the types that the first rows decided: where "
                "later rows need others, declare the Arrow types in the ETL's output_types",
                **error.details,
            ) from error

    return explained


def _batches(result: EtlResult) -> list[pa.RecordBatch]:
    """All tables as few batches: a key's result may be one row."""
    together: pa.Table = pa.concat_tables(result.tables).combine_chunks()
    return [batch for batch in together.to_batches() if batch.num_rows]
