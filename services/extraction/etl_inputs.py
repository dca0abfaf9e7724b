"""What an ETL gets of a query's rows at a time: a batch of rows, or the rows of many keys, each for a run of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol, Self, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.engine.key_values import check_key_columns
from featurestore.model.errors import InvalidArgument, ResourceExhausted
from featurestore.model.query import QueryForm
from services.extraction.training import QueryRows
from services.extraction.warehouse import Warehouse
from services.extraction.worker_types import WorkerLimits

Inputs: TypeAlias = list[pa.Table]
"""Of one call of a worker, which runs the ETL once on each."""

_BATCH_BYTES = 16 * 2**20


class EtlInputs(Protocol):
    """The inputs of one training run, in order; holds a cursor until it is closed or read to its end."""

    async def next(self) -> Inputs | None:
        """The inputs of the next call; None at the end.

        Raises:
            FeatureStoreError: as `QueryRows.next`.
        """
        ...

    @property
    def done_share(self) -> float | None:
        """The part of the query that is behind the inputs so far, 0 to 1; None while that is not known."""
        ...

    async def close(self) -> None:
        """Interrupt the query and give its cursor back."""
        ...


def opening(
    warehouse: Warehouse,
    form: QueryForm,
    *,
    granularity: Literal["rows", "key"],
    index_key: tuple[str, ...],
    limits: WorkerLimits,
    max_bytes: int,
) -> Callable[[], Awaitable[EtlInputs]]:
    """How the inputs of an ETL of this granularity are opened.

    Args:
        index_key: columns of the query; not looked at for `rows`.
        max_bytes: of the rows of one key.

    Raises:
        InvalidArgument: `MISSING_INDEX_KEY`; `UNKNOWN_KEY_COLUMN`, `KEY_COLUMN_TWICE`, `KEY_TYPE`.
    """
    if granularity == "rows":
        return lambda: RowBatches.open(warehouse, form, limits)
    if not index_key:
        raise InvalidArgument(
            "MISSING_INDEX_KEY",
            'the ETL says granularity = "key", so training runs it once per value of the index key: give index_key, '
            "the column or columns that it is served by",
            columns=", ".join(column.name for column in form.columns),
        )
    key = tuple(column.name for column in check_key_columns(form, index_key))
    return lambda: KeyGroups.open(warehouse, form, key, limits, max_bytes)


class RowBatches:
    """A query's rows in batches, in the query's order: one input per call."""

    def __init__(self, rows: QueryRows) -> None:
        """Take over an open result."""
        self._rows = rows

    @classmethod
    async def open(cls, warehouse: Warehouse, form: QueryForm, limits: WorkerLimits) -> Self:
        """Start the query; raises as `QueryRows.open`."""
        return cls(
            await QueryRows.open(warehouse, form, batch_rows=limits.batch_rows, batch_bytes=_BATCH_BYTES)
        )

    async def next(self) -> Inputs | None:
        """See `EtlInputs`."""
        batch = await self._rows.next(_same)
        return None if batch is None else [pa.Table.from_batches([batch])]

    @property
    def done_share(self) -> float | None:
        """See `EtlInputs`."""
        return self._rows.done_share

    async def close(self) -> None:
        """See `EtlInputs`."""
        await self._rows.close()


class KeyGroups:
    """A query's rows by key, in the keys' order: one input per key, many keys per call.

    Within a key they stand as serving has them. Rows with a null in the key are left out: no key asks for them.
    """

    def __init__(self, rows: QueryRows, key: Sequence[str], batch_keys: int, max_bytes: int) -> None:
        """Take over an open result.

        Args:
            rows: ordered by key.
            batch_keys: so many are in one call, at most.
            max_bytes: of the rows of one key.
        """
        self._rows = rows
        self._key = list(key)
        self._batch_keys = batch_keys
        self._max_bytes = max_bytes
        self._last: list[pa.RecordBatch] = []  # the rows so far of a key that more may come of
        self._whole: deque[pa.Table] = deque()

    @classmethod
    async def open(
        cls, warehouse: Warehouse, form: QueryForm, key: tuple[str, ...], limits: WorkerLimits, max_bytes: int
    ) -> Self:
        """Start the query; raises as `QueryRows.open`."""
        rows = await QueryRows.open(
            warehouse, form, grouped_by=key, batch_rows=limits.batch_rows, batch_bytes=_BATCH_BYTES
        )
        return cls(rows, key, limits.batch_keys, max_bytes)

    async def next(self) -> Inputs | None:
        """See `EtlInputs`.

        Raises:
            ResourceExhausted: `ETL_INPUT`: one key has more than `max_bytes` of rows.
        """
        while not self._whole:
            batch = await self._rows.next(_same)
            if batch is None:
                if not self._last:
                    return None
                self._end_of_key()
            else:
                await asyncio.to_thread(self._cut, batch)
        return [self._whole.popleft() for _ in range(min(len(self._whole), self._batch_keys))]

    @property
    def done_share(self) -> float | None:
        """See `EtlInputs`."""
        return self._rows.done_share

    async def close(self) -> None:
        """See `EtlInputs`."""
        await self._rows.close()

    def _cut(self, batch: pa.RecordBatch) -> None:
        starts = _starts(batch, self._key)
        if self._last and not _same_key(self._last[-1].slice(self._last[-1].num_rows - 1), batch, self._key):
            self._end_of_key()
        for start, end in zip(starts, [*starts[1:], batch.num_rows], strict=True):
            if start:
                self._end_of_key()
            self._last.append(batch.slice(start, end - start))
        if sum(part.nbytes for part in self._last) > self._max_bytes:
            raise ResourceExhausted(
                "ETL_INPUT",
                f"one value of the index key {', '.join(self._key)} has more than {self._max_bytes} bytes of rows, too "
                "many for one run of an ETL: select fewer columns or rows, or raise the limit",
                limit=self._max_bytes,
            )

    def _end_of_key(self) -> None:
        self._whole.append(pa.Table.from_batches(self._last))
        self._last = []


def _starts(batch: pa.RecordBatch, key: Sequence[str]) -> list[int]:
    """Where each key's rows begin; the first is 0."""
    others = batch.num_rows - 1
    begins = pa.repeat(pa.scalar(value=False), others)
    for name in key:
        column = batch.column(name)
        begins = pc.or_(begins, pc.not_equal(column.slice(1), column.slice(0, others)))
    return [0, *pc.add(pc.indices_nonzero(begins), pa.scalar(1, pa.uint64())).to_pylist()]


def _same_key(one: pa.RecordBatch, other: pa.RecordBatch, key: Sequence[str]) -> bool:
    return all(one.column(name)[0] == other.column(name)[0] for name in key)


def _same(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch
