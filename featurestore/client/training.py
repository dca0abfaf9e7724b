"""Training results: recipes, not open streams. Each read opens a stream at least as new as the first call."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, closing
from typing import IO, TYPE_CHECKING

import pyarrow as pa

from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.client import frames
from featurestore.client.progress import Progress
from featurestore.client.results import Explained, Rows
from featurestore.model.query import Warned
from featurestore.model.schema import from_bytes
from featurestore.model.table import Version
from featurestore.rpc.convert_answer import explanation_from_proto
from featurestore.rpc.convert_saved import warned_from_proto
from featurestore.rpc.convert_table import version_from_proto

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class Head:
    """What is known of a training result before its rows."""

    def __init__(self, head: pb.TrainHead) -> None:
        """Decode the first message of the stream."""
        self.query_id = head.query_id
        self.schema: pa.Schema = from_bytes(head.schema.arrow_schema)
        self.version: Version = version_from_proto(head.version)
        self.warnings: tuple[Warned, ...] = tuple(warned_from_proto(warning) for warning in head.warnings)
        self.explanation: Explained | None = (
            Explained.of(explanation_from_proto(head.explanation)) if head.HasField("explanation") else None
        )


class _Titled:
    """What both kinds of training results show of themselves."""

    def __init__(self, head: Head) -> None:
        self._head = head

    @property
    def query_id(self) -> str:
        """The saved query's id; empty when it was not saved."""
        return self._head.query_id

    @property
    def schema(self) -> pa.Schema:
        """The rows' schema."""
        return self._head.schema

    @property
    def version(self) -> Version:
        """The rows show at least this version."""
        return self._head.version

    @property
    def warnings(self) -> tuple[Warned, ...]:
        """What is worth knowing about the query."""
        return self._head.warnings

    @property
    def explanation(self) -> Explained | None:
        """How the query will be served; None unless an index key was given."""
        return self._head.explanation

    def __repr__(self) -> str:
        columns = "\n".join(f"  {field.name}: {field.type}" for field in self.schema)
        warned = "".join(f"\nwarning: {warning.message}" for warning in self.warnings)
        return f"TrainedQuery {self.query_id or '(not saved)'} at version {self.version.sequence}\n{columns}{warned}"


class TrainedQuery(_Titled, Rows):
    """A query's rows on the warehouse; nothing is held open unread."""

    def __init__(self, head: Head, read: Callable[[], Iterator[pb.QueryTrainResponse]]) -> None:
        """Keep the recipe: `read` opens a stream."""
        super().__init__(head)
        self._read = read

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch, as the server computes them."""
        schema = self.schema
        for message in self._read():
            if message.WhichOneof("part") == "head":
                schema = from_bytes(message.head.schema.arrow_schema)
            else:
                yield pa.ipc.read_record_batch(pa.py_buffer(message.arrow_batch), schema)

    def to_arrow(self) -> pa.Table:
        """All rows."""
        return pa.Table.from_batches(list(self), self.schema)


class AsyncTrainedQuery(_Titled):
    """A query's rows on the warehouse; nothing is held open unread."""

    def __init__(self, head: Head, read: Callable[[], AsyncIterator[pb.QueryTrainResponse]]) -> None:
        """Keep the recipe: `read` opens a stream."""
        super().__init__(head)
        self._read = read

    async def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        """The rows, batch by batch, as the server computes them."""
        schema = self.schema
        async for message in self._read():
            if message.WhichOneof("part") == "head":
                schema = from_bytes(message.head.schema.arrow_schema)
            else:
                yield pa.ipc.read_record_batch(pa.py_buffer(message.arrow_batch), schema)

    async def to_arrow(self) -> pa.Table:
        """All rows."""
        return pa.Table.from_batches([batch async for batch in self], self.schema)

    async def to_pandas(self) -> pd.DataFrame:
        """All rows as pandas; dtypes depend on the schema alone."""
        return frames.to_pandas(await self.to_arrow())

    async def to_polars(self) -> pl.DataFrame:
        """All rows as polars."""
        return frames.to_polars(await self.to_arrow())


def _done_share(message: pb.ExtractTrainResponse) -> float | None:
    """The part of the work that is behind the rows up to this message, 0 to 1; None while that is not known."""
    return message.done_share if message.HasField("done_share") else None


class Spool:
    """The rows of an ETL that ran once, in a temporary file, with what came before and after them."""

    def __init__(self) -> None:
        """Open an empty file; it goes with this object."""
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="featurestore-")  # noqa: SIM115 - lives as long as this object
        weakref.finalize(self, self._file.close)
        self.head: Head | None = None
        self.etl_id = ""

    def take(self, message: pb.ExtractTrainResponse) -> int:
        """Take the next message of the stream; returns how many rows it has."""
        match message.WhichOneof("part"):
            case "head":
                self.head = Head(message.head)
                self._file.write(message.head.schema.arrow_schema)
            case "arrow_batch":
                self._file.write(message.arrow_batch)
                return int(
                    pa.ipc.read_record_batch(pa.py_buffer(message.arrow_batch), self.known.schema).num_rows
                )
            case "foot":
                self.etl_id = message.foot.etl.etl_id
        return 0

    def end(self) -> Spool:
        """No message comes any more."""
        self._file.write(_END_OF_STREAM)
        self._file.flush()
        return self

    @property
    def known(self) -> Head:
        """The first message; every complete stream has one."""
        if self.head is None:
            raise RuntimeError("the server sent a training result without a head")
        return self.head

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, from the beginning."""
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as reader:
            yield from reader

    def table(self) -> pa.Table:
        """All rows."""
        return pa.Table.from_batches(list(self.batches()), self.known.schema)


def spooled(stream: Generator[pb.ExtractTrainResponse, None, None], *, shown: bool | None) -> Spool:
    """Read a stream to its end, with progress; whatever interrupts that, the server is told."""
    spool = Spool()
    with Progress(shown=shown) as progress, closing(stream):
        for message in stream:
            progress.add(spool.take(message), _done_share(message))
    return spool.end()


async def spooled_async(
    stream: AsyncGenerator[pb.ExtractTrainResponse, None], *, shown: bool | None
) -> Spool:
    """The same."""
    spool = Spool()
    with Progress(shown=shown) as progress:
        async with aclosing(stream):
            async for message in stream:
                progress.add(spool.take(message), _done_share(message))
    return spool.end()


class TrainedEtl(Rows):
    """What an ETL makes of a query's rows.

    It runs once: with `save=True` before this is returned, else at the first read.
    """

    def __init__(self, run: Callable[[], Spool], spool: Spool | None) -> None:
        """Keep the recipe: `run` runs the ETL to its end."""
        self._run = run
        self._spool = spool

    @property
    def _rows(self) -> Spool:
        if self._spool is None:
            self._spool = self._run()
        return self._spool

    @property
    def etl_id(self) -> str:
        """The saved ETL's id; empty when it was not saved."""
        return self._spool.etl_id if self._spool is not None else ""

    @property
    def query_id(self) -> str:
        """The query's id."""
        return self._rows.known.query_id

    @property
    def schema(self) -> pa.Schema:
        """The schema that the ETL produced."""
        return self._rows.known.schema

    @property
    def contract(self) -> pa.Schema:
        """The same: what every answer of the saved ETL is held to."""
        return self.schema

    @property
    def version(self) -> Version:
        """The rows show at least this version."""
        return self._rows.known.version

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch."""
        return self._rows.batches()

    def to_arrow(self) -> pa.Table:
        """All rows."""
        return self._rows.table()

    def __repr__(self) -> str:
        if self._spool is None:
            return "TrainedEtl (not run yet: it runs at the first read)"
        columns = "\n".join(f"  {field.name}: {field.type}" for field in self.schema)
        return f"TrainedEtl {self.etl_id or '(not saved)'} of {self.query_id} at version {self.version.sequence}\n{columns}"


class AsyncTrainedEtl:
    """What an ETL makes of a query's rows.

    It runs once: with `save=True` before this is returned, else at the first read. What is known only after the run
    (`schema`, `contract`, `version`, `query_id`) is read from what `await ran()` returns.
    """

    def __init__(self, run: Callable[[], Awaitable[Spool]], spool: Spool | None) -> None:
        """Keep the recipe: `run` runs the ETL to its end."""
        self._run = run
        self._spool = spool

    async def ran(self) -> TrainedEtl:
        """The result after the run, as the blocking client has it: its rows are spooled on this machine."""
        if self._spool is None:
            self._spool = await self._run()
        spool = self._spool
        return TrainedEtl(lambda: spool, spool)

    @property
    def etl_id(self) -> str:
        """The saved ETL's id; empty when it was not saved."""
        return self._spool.etl_id if self._spool is not None else ""

    async def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        """The rows, batch by batch."""
        for batch in await self.ran():
            yield batch

    async def to_arrow(self) -> pa.Table:
        """All rows."""
        return (await self.ran()).to_arrow()

    async def to_pandas(self) -> pd.DataFrame:
        """All rows as pandas; dtypes depend on the schema alone."""
        return (await self.ran()).to_pandas()

    async def to_polars(self) -> pl.DataFrame:
        """All rows as polars."""
        return (await self.ran()).to_polars()
