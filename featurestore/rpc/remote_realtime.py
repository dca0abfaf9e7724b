"""Realtime, when it runs elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc.aio
import pyarrow as pa

from featurestore.api.realtime.v1 import realtime_pb2 as pb
from featurestore.api.realtime.v1.realtime_pb2_grpc import RealtimeServiceStub
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import Answer, AnswerFormat, Explanation, Keys, RealtimeStatus
from featurestore.model.table import Frame, Published, TableDefinition, TableInfo, TableRows, Version
from featurestore.model.warming import Warmed
from featurestore.rpc.convert_answer import answer_format_to_proto, explanation_from_proto
from featurestore.rpc.convert_realtime import (
    FollowReader,
    answer_from_proto,
    bound_columns_from_proto,
    delete_to_proto,
    deleted_from_proto,
    published_from_proto,
    query_form_to_proto,
    realtime_status_from_proto,
)
from featurestore.rpc.convert_table import (
    table_definition_to_proto,
    table_info_from_proto,
    table_rows_to_proto,
    version_from_proto,
    version_to_proto,
)
from featurestore.rpc.convert_value import keys_to_proto
from featurestore.rpc.convert_warming import warmed_from_proto
from featurestore.rpc.deadlines import ORDINARY_SECONDS, SERVING_SECONDS, TRAINING_SECONDS, WRITING_SECONDS
from featurestore.rpc.fields import require, table_from_stream
from featurestore.rpc.peer import Peer


class RemoteRealtime:
    """A `featurestore.model.peers.Realtime` over its generated stub."""

    def __init__(self, channel: grpc.aio.Channel, target: str) -> None:
        """Use an open channel.

        Args:
            target: where it goes, for errors.
        """
        self._stub = RealtimeServiceStub(channel)
        self._peer = Peer(f"realtime at {target}")

    async def create_table(self, table: TableDefinition) -> TableInfo:
        """See `Realtime.create_table`."""
        request = pb.CreateTableRequest(table=table_definition_to_proto(table))
        return await self._peer.call(self._stub.CreateTable, request, _table_in, WRITING_SECONDS)

    async def drop_table(self, table: str) -> Version:
        """See `Realtime.drop_table`."""
        request = pb.DropTableRequest(table=table)
        return await self._peer.call(self._stub.DropTable, request, _version_in, WRITING_SECONDS)

    async def publish(self, publish_id: str, tables: Sequence[TableRows]) -> Published:
        """See `Realtime.publish`."""
        request = pb.PublishRequest(
            publish_id=publish_id, tables=[table_rows_to_proto(rows) for rows in tables]
        )
        return await self._peer.call(self._stub.Publish, request, published_from_proto, WRITING_SECONDS)

    async def delete(self, publish_id: str, table: str, keys: bytes | Keys) -> Published:
        """See `Realtime.delete`."""
        request = delete_to_proto(publish_id, table, keys)
        return await self._peer.call(self._stub.Delete, request, deleted_from_proto, WRITING_SECONDS)

    async def get_table(self, table: str) -> TableInfo:
        """See `Realtime.get_table`."""
        request = pb.GetTableRequest(table=table)
        return await self._peer.call(self._stub.GetTable, request, _table_in, ORDINARY_SECONDS)

    async def list_tables(self) -> tuple[TableInfo, ...]:
        """See `Realtime.list_tables`."""
        return await self._peer.call(
            self._stub.ListTables,
            pb.ListTablesRequest(),
            lambda reply: tuple(table_info_from_proto(table) for table in reply.tables),
            ORDINARY_SECONDS,
        )

    async def describe(self, sql: str) -> tuple[Column, ...]:
        """See `Realtime.describe`."""
        request = pb.DescribeRequest(sql=sql)
        return await self._peer.call(self._stub.Describe, request, bound_columns_from_proto, ORDINARY_SECONDS)

    async def query(self, query_id: str, form: QueryForm, keys: Keys, answer_format: AnswerFormat) -> Answer:
        """See `Realtime.query`."""
        request = pb.QueryRequest(
            query_id=query_id,
            form=query_form_to_proto(form),
            keys=keys_to_proto(keys),
            format=answer_format_to_proto(answer_format),
        )
        return await self._peer.call(
            self._stub.Query, request, lambda reply: answer_from_proto(reply, answer_format), SERVING_SECONDS
        )

    async def explain(self, query_id: str, form: QueryForm, index_key: tuple[str, ...]) -> Explanation:
        """See `Realtime.explain`."""
        request = pb.ExplainRequest(query_id=query_id, form=query_form_to_proto(form), index_key=index_key)
        return await self._peer.call(self._stub.Explain, request, _explanation_in, ORDINARY_SECONDS)

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
        """See `Realtime.warm`."""
        request = pb.WarmRequest(
            query_id=query_id,
            form=query_form_to_proto(form),
            index_key=index_key,
            keys=None if keys is None else keys_to_proto(keys),
            keep=keep,
            format=answer_format_to_proto(answer_format),
        )
        return await self._peer.call(self._stub.Warm, request, warmed_from_proto, TRAINING_SECONDS)

    async def declare(self, query_id: str, form: QueryForm, index_key: tuple[str, ...]) -> Explanation:
        """See `Realtime.declare`."""
        request = pb.DeclareRequest(query_id=query_id, form=query_form_to_proto(form), index_key=index_key)
        return await self._peer.call(self._stub.Declare, request, _explanation_in, ORDINARY_SECONDS)

    async def sample_keys(self, form: QueryForm, index_key: tuple[str, ...], count: int) -> pa.Table:
        """See `Realtime.sample_keys`."""
        request = pb.SampleKeysRequest(form=query_form_to_proto(form), index_key=index_key, count=count)
        return await self._peer.call(self._stub.SampleKeys, request, _sample_in, ORDINARY_SECONDS)

    async def version(self) -> Version:
        """See `Realtime.version`."""
        return await self._peer.call(
            self._stub.GetVersion, pb.GetVersionRequest(), _version_in, ORDINARY_SECONDS
        )

    def follow(self, after: Version | None) -> AsyncIterator[tuple[str, Sequence[Frame]]]:
        """See `Realtime.follow`; without a deadline. Close it, or the stream stays."""
        request = pb.FollowRequest(after=None if after is None else version_to_proto(after))
        return self._peer.stream(self._stub.Follow, request, FollowReader().take, None)

    async def status(self) -> RealtimeStatus:
        """See `Realtime.status`."""
        return await self._peer.call(
            self._stub.GetStatus, pb.GetStatusRequest(), realtime_status_from_proto, ORDINARY_SECONDS
        )


def _table_in(reply: pb.CreateTableResponse | pb.GetTableResponse) -> TableInfo:
    require(reply, "table")
    return table_info_from_proto(reply.table)


def _version_in(reply: pb.DropTableResponse | pb.GetVersionResponse) -> Version:
    require(reply, "version")
    return version_from_proto(reply.version)


def _explanation_in(reply: pb.ExplainResponse | pb.DeclareResponse) -> Explanation:
    require(reply, "explanation")
    return explanation_from_proto(reply.explanation)


def _sample_in(reply: pb.SampleKeysResponse) -> pa.Table:
    return table_from_stream(reply.arrow_stream, "SampleKeysResponse.arrow_stream")
