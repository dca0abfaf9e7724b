"""Training results: a query's rows out of the warehouse, as a stream that never holds more than a few batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Protocol, Self, TypeVar

import duckdb
import pyarrow as pa

from featurestore.engine.failures import translate
from featurestore.engine.outputs import finish
from featurestore.engine.stored_columns import check_stored_columns
from featurestore.engine.wrapping import grouped_sql, training_sql
from featurestore.model.errors import ResourceExhausted
from featurestore.model.query import QueryForm
from featurestore.model.serving import Progress
from services.extraction.warehouse import Reader, Warehouse

T = TypeVar("T")

_MESSAGE_BYTES = 2**20
_ROWS_PER_VECTOR = 2048  # of DuckDB: it makes no smaller batches
_MOST_ROWS = 2**16
_GUESSED_BYTES = 32  # of a value whose type does not tell


class QueryRows:
    """An open result: its rows, one record batch at a time, in the form's schema.

    Holds a cursor and a read transaction until it is closed, read to its end, or its deadline ends it.
    """

    def __init__(self, reader: Reader, form: QueryForm, records: pa.RecordBatchReader) -> None:
        self._reader = reader
        self._form = form
        self._records = records
        self._ended = False
        self.done_share: float | None = None
        """See `Batches`."""

    @classmethod
    async def open(
        cls,
        warehouse: Warehouse,
        form: QueryForm,
        *,
        head_only: bool = False,
        grouped_by: tuple[str, ...] = (),
        batch_rows: int = _MOST_ROWS,
        batch_bytes: int = _MESSAGE_BYTES,
    ) -> Self:
        """Start the query.

        Args:
            head_only: see that the query still has its stored columns, but compute no rows.
            grouped_by: columns of an index key: rows come in the keys' order, those with a null in one not at all.
            batch_rows: at most so many are a batch.
            batch_bytes: what a batch has about, where its types tell.

        Raises:
            InvalidArgument: `SQL_RUNTIME`.
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
            DeadlineExceeded: the query or the wait for a reader took too long.
        """
        sql = grouped_sql(form, grouped_by) if grouped_by else training_sql(form)
        if head_only:
            sql = f"SELECT * FROM (\n{sql}\n) AS head LIMIT 0"
        rows = _rows_per_batch(form.schema, batch_rows, batch_bytes)
        reader = await warehouse.reader()
        try:
            records = await reader.call(lambda cursor: _start(cursor, form, sql, rows))
        except (duckdb.Error, OSError) as error:
            await reader.close()
            raise translate(error) from error
        except BaseException:
            await reader.close()
            raise
        return cls(reader, form, records)

    async def next(self, convert: Callable[[pa.RecordBatch], T]) -> T | None:
        """The next batch, converted in the thread that fetched it; None at the end, where the result is closed.

        Raises:
            InvalidArgument: `SQL_RUNTIME`.
            DeadlineExceeded: the call's time is over.
        """
        if self._ended:
            return None

        def work(cursor: duckdb.DuckDBPyConnection) -> tuple[T] | None:
            try:
                batch = self._records.read_next_batch()
            except StopIteration:
                return None
            percent = cursor.query_progress()
            if percent >= 0:  # -1: the engine has nothing left to do, or can't tell
                self.done_share = percent / 100
            return (convert(finish(batch, self._form)),)

        try:
            found = await self._reader.call(work)
        except (duckdb.Error, OSError) as error:
            await self.close()
            raise translate(error) from error
        except BaseException:
            await self.close()
            raise
        if found is None:
            self._ended = True
            await self.close()
            return None
        return found[0]

    async def drain(self, consume: Callable[[pa.RecordBatch], None]) -> None:
        """Read to the end, giving each batch to `consume` in the thread that fetched it.

        Raises:
            InvalidArgument, DeadlineExceeded: as `next`, and whatever `consume` raises.
        """

        def once(batch: pa.RecordBatch) -> bool:
            consume(batch)
            return True

        while await self.next(once):
            pass

    async def close(self) -> None:
        """Interrupt the query and give its cursor back."""
        await self._reader.close()


class Batches(Protocol):
    """What `Messages` are made of: `QueryRows`, or what an ETL makes of them."""

    async def next(self, convert: Callable[[pa.RecordBatch], T]) -> T | None:
        """The next batch, converted in a thread; None at the end, where all is closed."""
        ...

    @property
    def done_share(self) -> float | None:
        """The part of the work that is behind the batches so far, 0 to 1; None while that is not known."""
        ...

    async def close(self) -> None:
        """Stop what runs, and let go of all."""
        ...


class Messages(AsyncGenerator[bytes, None]):
    """An open result as encapsulated record-batch messages of at most about 1 MiB, fetched one batch ahead.

    Not a generator function: closing one that was never started would not run its `finally`, and a caller may
    go away between the head and the first batch.

    Attributes:
        progress: told anew with each batch that is fetched.
    """

    def __init__(self, rows: Batches) -> None:
        self.progress = Progress()
        self._rows = rows
        self._ready: deque[bytes] = deque()
        self._ahead: asyncio.Task[list[bytes] | None] | None = None
        self._ended = False

    async def asend(self, _: None = None) -> bytes:
        """The next message.

        Raises:
            FeatureStoreError: as `QueryRows.next`.
        """
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            fetched = await (self._ahead or self._fetch())
            if fetched is None:
                self._ended = True
                continue
            self._ready.extend(fetched)
            self.progress.done_share = self._rows.done_share
            self._ahead = self._fetch()
        return self._ready.popleft()

    async def athrow(self, *error: Any) -> bytes:
        """Close, then raise the error: there is nobody inside who could handle it."""
        await self.aclose()
        raise error[0]

    async def aclose(self) -> None:
        """Interrupt the query; what is not read yet is dropped."""
        self._ended = True
        self._ready.clear()
        await self._rows.close()
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)

    def _fetch(self) -> asyncio.Task[list[bytes] | None]:
        return asyncio.create_task(self._rows.next(lambda batch: list(messages(batch))))


async def whole_table(warehouse: Warehouse, form: QueryForm, max_bytes: int) -> pa.Table:
    """All rows of a query.

    Raises:
        ResourceExhausted: `ETL_INPUT`: they have more than `max_bytes`.
        FeatureStoreError: as `QueryRows`.
    """
    batches: list[pa.RecordBatch] = []
    size = 0

    def collect(batch: pa.RecordBatch) -> None:
        nonlocal size
        size += batch.nbytes
        if size > max_bytes:
            raise ResourceExhausted(
                "ETL_INPUT",
                f"the query's rows have more than {max_bytes} bytes, too many for an ETL over all of them. An ETL "
                'whose results depend on each row alone may say granularity = "rows", one whose results depend on the '
                'rows of one index value granularity = "key": they take any number of rows. Otherwise select fewer '
                "columns or rows, or raise the limit",
                limit=max_bytes,
            )
        batches.append(batch)

    rows = await QueryRows.open(warehouse, form)
    await rows.drain(collect)
    return pa.Table.from_batches(batches, form.schema)


async def table_messages(table: pa.Table) -> AsyncGenerator[bytes, None]:
    """A table in memory as encapsulated record-batch messages of at most about 1 MiB."""
    rows = max(1, table.num_rows * _MESSAGE_BYTES // max(1, table.nbytes))
    for batch in table.to_batches(max_chunksize=rows):
        for message in messages(batch):
            yield message


async def no_messages() -> AsyncGenerator[bytes, None]:
    """The batches of a result of which only the head is wanted."""
    nothing: tuple[bytes, ...] = ()
    for message in nothing:
        yield message


def messages(batch: pa.RecordBatch) -> Iterator[bytes]:
    """The batch as messages, halved until each has at most about 1 MiB, or one row."""
    if batch.nbytes > _MESSAGE_BYTES and batch.num_rows > 1:
        half = batch.num_rows // 2
        yield from messages(batch.slice(0, half))
        yield from messages(batch.slice(half))
    elif batch.num_rows:
        yield batch.serialize().to_pybytes()


def _start(cursor: duckdb.DuckDBPyConnection, form: QueryForm, sql: str, rows: int) -> pa.RecordBatchReader:
    cursor.begin()  # what is checked is what runs
    check_stored_columns(cursor, form)
    cursor.execute("SET enable_progress_bar_print = false; SET enable_progress_bar = true")
    return cursor.execute(sql).to_arrow_reader(rows)


def _rows_per_batch(schema: pa.Schema, most: int, wanted_bytes: int) -> int:
    """As many rows as have so many bytes, in whole vectors."""
    width = sum(_bytes_of(field.type) for field in schema)
    vectors = wanted_bytes // (width * _ROWS_PER_VECTOR)
    return max(_ROWS_PER_VECTOR, min(most, vectors * _ROWS_PER_VECTOR))


def _bytes_of(kind: pa.DataType) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return _GUESSED_BYTES
