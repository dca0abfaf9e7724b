"""The async client; the same methods as the blocking one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import pyarrow as pa

from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.api.gateway.v1.gateway_pb2_grpc import FeatureStoreServiceStub
from featurestore.client import calls
from featurestore.client.calls import (
    LONG_SECONDS,
    SERVING_SECONDS,
    IndexKey,
    Steps,
    extract_train_request,
    no_head,
    query_train_again,
    query_train_request,
)
from featurestore.client.results import (
    DemoPublished,
    Explained,
    SavedEtl,
    SavedQuery,
    Served,
    Status,
    TableShown,
)
from featurestore.client.training import AsyncTrainedEtl, AsyncTrainedQuery, Head, Spool, spooled_async
from featurestore.client.verified import Verified
from featurestore.model.query import Notes
from featurestore.model.table import Published, Version
from featurestore.model.warming import Warmed
from featurestore.rpc.channels import open_channel
from featurestore.rpc.errors import from_rpc_error

_T = TypeVar("_T")


class AsyncStore:
    """A feature store. An async context manager, of one event loop.

    Every method takes `timeout=` in seconds; without, reads have 10 s, publishing and training 300 s.
    Every method may also raise `Unavailable`, `DeadlineExceeded` and `Internal`.
    """

    def __init__(
        self, target: str, token: str | None = None, *, on_close: Callable[[], None] | None = None
    ) -> None:
        """Use `featurestore.aio.connect` or `featurestore.aio.local`."""
        self._target = target
        self._channel = open_channel(target)
        self._stub = FeatureStoreServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else None
        self._on_close = on_close

    async def close(self) -> None:
        """Give the connection back; a local store's server ends some seconds after its last client."""
        await self._channel.close()
        if self._on_close is not None:
            self._on_close()
            self._on_close = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncStore({self._target!r})"

    async def _drive(self, steps: Steps[_T], timeout: float) -> _T:
        try:
            call = next(steps)
            while True:
                try:
                    method = getattr(self._stub, call.method)
                    reply = await method(call.request, timeout=timeout, metadata=self._metadata)
                except grpc.RpcError as error:
                    call = steps.throw(from_rpc_error(error, self._target))
                else:
                    call = steps.send(reply)
        except StopIteration as done:
            result: _T = done.value
            return result

    async def _head(self, request: pb.QueryTrainRequest, timeout: float) -> Head:
        async for message in self._stream("QueryTrain", request, timeout):
            return Head(message.head)
        raise no_head(self._target)

    async def _stream(self, method: str, request: Any, timeout: float) -> AsyncGenerator[Any, None]:
        call = getattr(self._stub, method)(request, timeout=timeout, metadata=self._metadata)
        try:
            async for message in call:
                yield message
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._target) from None
        finally:
            call.cancel()

    async def create_table(
        self,
        table: str,
        schema: pa.Schema,
        primary_key: IndexKey | None = None,
        event_time: str | None = None,
        *,
        timeout: float | None = None,
    ) -> TableShown:
        """Create a table, or alter it to a superset of its columns; the same again changes nothing.

        Publishing can define a table too; this is for when its schema should be known first.

        Args:
            schema: an Arrow schema; a field that is not nullable must be given in every row.
            primary_key: a column or columns; with one, a publish is an upsert of whole rows.
            event_time: the column that says when a row became true.

        Raises:
            InvalidArgument: `BAD_TABLE`, `BAD_NAME`, `UNSUPPORTED_TYPE`.
            AlreadyExists: `TABLE_DEFINED_OTHERWISE`.
        """
        return await self._drive(
            calls.create_table(table, schema, primary_key, event_time), timeout or SERVING_SECONDS
        )

    async def drop_table(self, table: str, *, force: bool = False, timeout: float | None = None) -> Version:
        """Drop a table and its rows.

        Args:
            force: even though saved queries read it.

        Raises:
            NotFound: `UNKNOWN_TABLE`.
            FailedPrecondition: `TABLE_IN_USE`.
        """
        return await self._drive(calls.drop_table(table, force=force), timeout or SERVING_SECONDS)

    async def publish(
        self,
        table: str | Mapping[str, Any],
        frame: Any = None,
        *,
        primary_key: IndexKey | None = None,
        event_time: str | None = None,
        publish_id: str | None = None,
        timeout: float | None = None,
    ) -> Published:
        """Publish rows; when this returns they are durable, and visible to every read that starts then.

        Args:
            table: a table's name, or a dict of table names and frames, which become one atomic version.
            frame: pandas, polars, pyarrow, or anything with `__arrow_c_stream__`. A frame of more than 64 MiB is sent
                in pieces, each a version.
            primary_key: None means "as the table has it", or none for a new table.
            event_time: likewise.
            publish_id: repeat it to repeat a publish whose answer was lost; it is applied once. Default: a new one.

        Returns:
            `.rows` that came in, and the `.version` that shows them.

        Raises:
            InvalidArgument: `UNKNOWN_COLUMN`, `MISSING_COLUMN`, `COLUMN_TYPE`, `NULL_IN_KEY`, `NULL_VALUE`,
                `PUBLISH_ID_REUSED`, `BAD_FRAME`.
            AlreadyExists: `TABLE_DEFINED_OTHERWISE`.
            ResourceExhausted: `PUBLISH_TOO_LARGE`.
        """
        return await self._drive(
            calls.publish(table, frame, primary_key, event_time, publish_id), timeout or LONG_SECONDS
        )

    async def publish_demo(
        self, n_flows: int = 100, seed: int | None = None, *, timeout: float | None = None
    ) -> DemoPublished:
        """Publish simulated insurance customers, each flow one version.

        Args:
            n_flows: customers, 1 to 100,000.
            seed: the same seed gives the same customers.

        Raises:
            FailedPrecondition: `DEMO_OFF`, `DEMO_NOT_INSTALLED`.
            InvalidArgument: `BAD_COUNT`.
        """
        return await self._drive(calls.publish_demo(n_flows, seed), timeout or LONG_SECONDS)

    async def delete(
        self, table: str, keys: Any, *, publish_id: str | None = None, timeout: float | None = None
    ) -> Published:
        """Delete rows by primary key; a key without a row is no error.

        Args:
            keys: a list of values, or of tuples for a composite key, or a frame whose primary-key columns count.
            publish_id: as in `publish`.

        Raises:
            NotFound: `UNKNOWN_TABLE`.
            InvalidArgument: `NO_PRIMARY_KEY`, `KEY_VALUE`, `KEY_NULL`, `KEY_WIDTH`, `MISSING_COLUMN`.
        """
        return await self._drive(calls.delete(table, keys, publish_id), timeout or LONG_SECONDS)

    async def query_train(
        self,
        sql: str,
        *,
        save: bool = False,
        name: str | None = None,
        index_key: IndexKey | None = None,
        owner: str = "",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> AsyncTrainedQuery:
        """Run a query on the warehouse, over every publish acknowledged before this call.

        Args:
            sql: a SELECT over tables in the schema `feature_store`; or a saved query's id or name.
            save: store it; saving the same content again is the same query.
            name: the label to save it under; other content under the same name becomes its next version.
            index_key: the column or columns that it will be served by; checked and explained at the save.
            owner: who to ask; stored with the first save, like `description` and `labels`.
            timeout: seconds for this call, and for each read of the result.

        Returns:
            A recipe: `.query_id .schema .version`; each read opens a stream at least that new.

        Raises:
            InvalidArgument: the text is not one pure SELECT, or it does not bind; names the position or the name.
            Unavailable: `WAREHOUSE_BEHIND`.
        """
        notes = Notes(owner, description, dict(labels or {}))
        first = query_train_request(sql, save=save, name=name, index_key=index_key, notes=notes)
        head = await self._head(first, timeout or LONG_SECONDS)
        again = query_train_again(first, head)
        return AsyncTrainedQuery(head, lambda: self._stream("QueryTrain", again, timeout or LONG_SECONDS))

    async def query_realtime(
        self,
        query: str,
        *,
        index_key: IndexKey,
        index_value: Any = None,
        index_values: Sequence[Any] | None = None,
        timeout: float | None = None,
    ) -> Served:
        """Serve a saved query: by definition the rows that training would show for each value.

        Args:
            query: an id, a name, or `name@version`.
            index_key: a column, or the columns of a composite key.
            index_value: one value; a tuple for a composite key.
            index_values: or many, each answered as if it were asked alone; duplicates are kept.

        Returns:
            Rows, with `.answers` per value and `.info`.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`, `KEY_VALUE`, `KEY_NULL`, `KEYS_EMPTY`, `KEYS_TOO_MANY`.
            NotFound: `UNKNOWN_QUERY`.
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
        """
        return await self._drive(
            calls.served("QueryRealtime", query, None, index_key, index_value, index_values),
            timeout or SERVING_SECONDS,
        )

    async def extract_train(
        self,
        query: str,
        etl: str,
        *,
        save: bool = False,
        name: str | None = None,
        index_key: IndexKey | None = None,
        owner: str = "",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        progress: bool | None = None,
        timeout: float | None = None,
    ) -> AsyncTrainedEtl:
        """Run a saved query on the warehouse, then an ETL over all of its rows.

        Args:
            query: an id or a name.
            etl: `git+https://host/org/repo.git@ref#path/to/etl.py`, a GitHub or GitLab file link, a path on this machine,
                or a saved ETL's id or name.
            save: pin the script's blob and save it with the contract that it produced; runs to the end before this
                returns. Without, the ETL runs once, at the first read.
            name: the label to save it under.
            index_key: the column or columns that it will be served by.
            owner: who to ask; stored with the first save, like `description` and `labels`.
            progress: show rows, rate and time left while it runs; None: in a notebook, or on a terminal.
            timeout: seconds for call and read.

        Returns:
            `.etl_id .contract`, and the rows.

        Raises:
            NotFound: `UNKNOWN_QUERY`, `ETL_SOURCE`.
            FailedPrecondition: `ETL_EXCEPTION`, `ETL_NO_FRAME`, `ETL_NOT_COMMITTED`, `CONTRACT_UNDECIDED`.
            PermissionDenied: `GIT_SCHEME`.
            Unavailable: `GIT_UNREACHABLE`.
        """
        notes = Notes(owner, description, dict(labels or {}))
        request = extract_train_request(query, etl, save=save, name=name, index_key=index_key, notes=notes)

        async def run() -> Spool:
            stream = self._stream("ExtractTrain", request, timeout or LONG_SECONDS)
            return await spooled_async(stream, shown=progress)

        return AsyncTrainedEtl(run, await run() if save else None)

    async def extract_realtime(
        self,
        query: str | None,
        etl: str,
        *,
        index_key: IndexKey,
        index_value: Any = None,
        index_values: Sequence[Any] | None = None,
        timeout: float | None = None,
    ) -> Served:
        """Serve a saved ETL of a saved query: the features of each value, held to the ETL's contract.

        Args:
            query: the ETL's query, by id or name; None for "the ETL's own".
            etl: an id, a name, or `name@version`.
            index_key: as in `query_realtime`; likewise the values.

        Raises:
            InvalidArgument: those of `query_realtime`; `ETL_OF_OTHER_QUERY`.
            NotFound: `UNKNOWN_QUERY`, `UNKNOWN_ETL`.
            FailedPrecondition: `CONTRACT_BROKEN`, `ETL_EXCEPTION`, `ETL_NO_FRAME`.
            DeadlineExceeded: `ETL_TIMEOUT`.
        """
        return await self._drive(
            calls.served("ExtractRealtime", query or "", etl, index_key, index_value, index_values),
            timeout or SERVING_SECONDS,
        )

    async def explain(self, query: str, *, index_key: IndexKey, timeout: float | None = None) -> Explained:
        """How a saved query is served by an index key: `.verdict`, and a row per table occurrence.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`.
            NotFound: `UNKNOWN_QUERY`.
        """
        return await self._drive(calls.explain(query, index_key), timeout or SERVING_SECONDS)

    async def warm(
        self,
        query: str,
        index_key: IndexKey,
        values: Sequence[Any] | None = None,
        *,
        keep: bool | None = None,
        rows: bool = False,
        timeout: float | None = None,
    ) -> Warmed:
        """Have answers of a saved query kept before anybody asks; behind serving and publishing, pushing nothing out.

        Args:
            values: for which keys; tuples for a composite key. Default: all that the query shows.
            keep: True to have answers that writes spoil computed again behind them, until realtime ends: the query is then
                a view that is kept up. False to have that no longer; without values nothing is computed then.
            rows: warm the plain rows that generated stubs may ask for, instead of the Arrow that this client asks for.

        Returns:
            `.computed .kept .already_there .no_room .overtaken`: numbers of keys.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`, `KEY_VALUE`, `KEY_NULL`, `KEYS_EMPTY`.
            NotFound: `UNKNOWN_QUERY`.
            FailedPrecondition: `NOT_CACHEABLE`, such as for a query that calls now(); `QUERY_SCHEMA_CHANGED`.
        """
        return await self._drive(
            calls.warm(query, index_key, values, keep=keep, rows=rows), timeout or LONG_SECONDS
        )

    async def verify(
        self,
        query: str,
        etl: str | None = None,
        *,
        index_key: IndexKey,
        sample: int = 100,
        exact: bool = False,
        timeout: float | None = None,
    ) -> Verified:
        """Serve sampled keys through the real path, compare them with training, by value, and say why they differ.

        Args:
            sample: keys of training at random; nasty ones, some from realtime and some absent ones come on top.
            exact: floats must be equal to the last bit; else within 1e-9 relative.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`, `BAD_SAMPLE`, `ETL_OF_OTHER_QUERY`.
        """
        return await self._drive(
            calls.verify(query, etl, index_key, sample, exact=exact), timeout or LONG_SECONDS
        )

    async def get_query(self, query: str, *, timeout: float | None = None) -> SavedQuery:
        """A saved query, by id or name.

        Raises:
            NotFound: `UNKNOWN_QUERY`.
        """
        return await self._drive(calls.get_query(query), timeout or SERVING_SECONDS)

    async def get_etl(self, etl: str, *, timeout: float | None = None) -> SavedEtl:
        """A saved ETL, by id or name.

        Raises:
            NotFound: `UNKNOWN_ETL`.
        """
        return await self._drive(calls.get_etl(etl), timeout or SERVING_SECONDS)

    async def get_table(self, table: str, *, timeout: float | None = None) -> TableShown:
        """A table as it is now.

        Raises:
            NotFound: `UNKNOWN_TABLE`.
        """
        return await self._drive(calls.get_table(table), timeout or SERVING_SECONDS)

    async def list_queries(self, *, timeout: float | None = None) -> list[SavedQuery]:
        """All saved queries, newest first."""
        return await self._drive(calls.list_queries(), timeout or SERVING_SECONDS)

    async def list_etls(self, *, timeout: float | None = None) -> list[SavedEtl]:
        """All saved ETLs, newest first."""
        return await self._drive(calls.list_etls(), timeout or SERVING_SECONDS)

    async def list_tables(self, *, timeout: float | None = None) -> list[TableShown]:
        """All tables, by name."""
        return await self._drive(calls.list_tables(), timeout or SERVING_SECONDS)

    async def status(self, *, timeout: float | None = None) -> Status:
        """The store at a glance: versions, lag, counts, problems."""
        return await self._drive(calls.status(), timeout or SERVING_SECONDS)
