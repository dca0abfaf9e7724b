"""Realtime's service: decode, one call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from featurestore.api.realtime.v1 import realtime_pb2 as pb
from featurestore.api.realtime.v1.realtime_pb2_grpc import RealtimeServiceServicer
from featurestore.model.frames import table_to_stream
from featurestore.model.peers import Realtime
from featurestore.rpc.closing import closing, until
from featurestore.rpc.convert_answer import answer_format_from_proto, explanation_to_proto
from featurestore.rpc.convert_realtime import (
    answer_to_proto,
    bound_columns_to_proto,
    delete_selector_from_proto,
    deleted_to_proto,
    follow_responses,
    published_to_proto,
    query_form_from_proto,
    realtime_status_to_proto,
)
from featurestore.rpc.convert_table import (
    table_definition_from_proto,
    table_info_to_proto,
    table_rows_from_proto,
    version_from_proto,
    version_to_proto,
)
from featurestore.rpc.convert_value import keys_from_proto
from featurestore.rpc.convert_warming import keep_from_proto, warm_keys_from_proto, warmed_to_proto
from featurestore.rpc.fields import require


class RealtimeServicer(RealtimeServiceServicer):
    """Answers RealtimeService from realtime."""

    def __init__(self, realtime: Realtime, draining: asyncio.Event) -> None:
        """Take the service's own object.

        Args:
            draining: set when the server is about to stop: followers, whose calls never end, are let go then.
        """
        self._realtime = realtime
        self._draining = draining

    async def CreateTable(self, request: pb.CreateTableRequest, _: object) -> pb.CreateTableResponse:
        require(request, "table")
        info = await self._realtime.create_table(table_definition_from_proto(request.table))
        return pb.CreateTableResponse(table=table_info_to_proto(info))

    async def DropTable(self, request: pb.DropTableRequest, _: object) -> pb.DropTableResponse:
        version = await self._realtime.drop_table(request.table)
        return pb.DropTableResponse(version=version_to_proto(version))

    async def Publish(self, request: pb.PublishRequest, _: object) -> pb.PublishResponse:
        tables = [table_rows_from_proto(rows) for rows in request.tables]
        return published_to_proto(await self._realtime.publish(request.publish_id, tables))

    async def Delete(self, request: pb.DeleteRequest, _: object) -> pb.DeleteResponse:
        keys = delete_selector_from_proto(request)
        return deleted_to_proto(await self._realtime.delete(request.publish_id, request.table, keys))

    async def GetTable(self, request: pb.GetTableRequest, _: object) -> pb.GetTableResponse:
        return pb.GetTableResponse(table=table_info_to_proto(await self._realtime.get_table(request.table)))

    async def ListTables(self, _request: pb.ListTablesRequest, _: object) -> pb.ListTablesResponse:
        tables = await self._realtime.list_tables()
        return pb.ListTablesResponse(tables=[table_info_to_proto(table) for table in tables])

    async def Describe(self, request: pb.DescribeRequest, _: object) -> pb.DescribeResponse:
        columns, arrow_schema = bound_columns_to_proto(await self._realtime.describe(request.sql))
        return pb.DescribeResponse(columns=columns, arrow_schema=arrow_schema)

    async def Query(self, request: pb.QueryRequest, _: object) -> pb.QueryResponse:
        require(request, "form", "keys")
        answer = await self._realtime.query(
            request.query_id,
            query_form_from_proto(request.form),
            keys_from_proto(request.keys),
            answer_format_from_proto(request.format),
        )
        return answer_to_proto(answer)

    async def Explain(self, request: pb.ExplainRequest, _: object) -> pb.ExplainResponse:
        require(request, "form")
        explanation = await self._realtime.explain(
            request.query_id, query_form_from_proto(request.form), tuple(request.index_key)
        )
        return pb.ExplainResponse(explanation=explanation_to_proto(explanation))

    async def Warm(self, request: pb.WarmRequest, _: object) -> pb.WarmResponse:
        require(request, "form")
        warmed = await self._realtime.warm(
            request.query_id,
            query_form_from_proto(request.form),
            tuple(request.index_key),
            warm_keys_from_proto(request),
            keep=keep_from_proto(request),
            answer_format=answer_format_from_proto(request.format),
        )
        return warmed_to_proto(pb.WarmResponse, warmed)

    async def Declare(self, request: pb.DeclareRequest, _: object) -> pb.DeclareResponse:
        require(request, "form")
        explanation = await self._realtime.declare(
            request.query_id, query_form_from_proto(request.form), tuple(request.index_key)
        )
        return pb.DeclareResponse(explanation=explanation_to_proto(explanation))

    async def SampleKeys(self, request: pb.SampleKeysRequest, _: object) -> pb.SampleKeysResponse:
        require(request, "form")
        keys = await self._realtime.sample_keys(
            query_form_from_proto(request.form), tuple(request.index_key), request.count
        )
        return pb.SampleKeysResponse(arrow_stream=table_to_stream(keys))

    async def GetVersion(self, _request: pb.GetVersionRequest, _: object) -> pb.GetVersionResponse:
        return pb.GetVersionResponse(version=version_to_proto(await self._realtime.version()))

    async def Follow(self, request: pb.FollowRequest, _: object) -> AsyncIterator[pb.FollowResponse]:
        after = version_from_proto(request.after) if request.HasField("after") else None
        async with closing(self._realtime.follow(after)) as pieces:
            async for log_id, frames in until(self._draining, pieces):
                # Encoding copies the rows, which may be many MiB: not on the event loop.
                for response in await asyncio.to_thread(follow_responses, log_id, frames):
                    yield response

    async def GetStatus(self, _request: pb.GetStatusRequest, _: object) -> pb.GetStatusResponse:
        return realtime_status_to_proto(await self._realtime.status())
