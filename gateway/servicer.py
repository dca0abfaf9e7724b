"""The public service: decode, one call, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from featurestore.api.common.v1 import common_pb2 as common
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.api.gateway.v1.gateway_pb2_grpc import FeatureStoreServiceServicer
from featurestore.model.errors import FailedPrecondition
from featurestore.model.query import Warned
from featurestore.model.serving import Answer, AnswerFormat, Explanation, Keys, TrainHead
from featurestore.model.table import Version
from featurestore.rpc.convert_answer import (
    answer_format_from_proto,
    explanation_to_proto,
    write_answer,
)
from featurestore.rpc.convert_saved import (
    etl_source_from_proto,
    etl_to_proto,
    notes_from_proto,
    query_to_proto,
    warned_to_proto,
)
from featurestore.rpc.convert_table import (
    schema_to_proto,
    table_definition_from_proto,
    table_info_to_proto,
    table_rows_from_proto,
    version_from_proto,
    version_to_proto,
)
from featurestore.rpc.convert_value import keys_from_proto
from featurestore.rpc.convert_verifying import verify_report_to_proto
from featurestore.rpc.convert_warming import (
    cache_report_to_proto,
    keep_from_proto,
    warm_keys_from_proto,
    warmed_to_proto,
)
from featurestore.rpc.fields import missing, require
from featurestore.version import __version__
from gateway.front import Front, SaveAs
from gateway.lease import Leases
from gateway.paging import page_of

_Reply = TypeVar("_Reply", pb.QueryRealtimeResponse, pb.ExtractRealtimeResponse)


class GatewayServicer(FeatureStoreServiceServicer):
    """Decode, one call of the front, encode."""

    def __init__(self, front: Front, *, demo: bool, leases: Leases | None) -> None:
        """Answer with `front`.

        Args:
            demo: whether PublishDemo is on.
            leases: set in local mode.
        """
        self._front = front
        self._demo = demo
        self._leases = leases

    async def CreateTable(self, request: pb.CreateTableRequest, context: Any) -> pb.CreateTableResponse:
        require(request, "table")
        info = await self._front.create_table(table_definition_from_proto(request.table))
        return pb.CreateTableResponse(table=table_info_to_proto(info))

    async def DropTable(self, request: pb.DropTableRequest, context: Any) -> pb.DropTableResponse:
        version = await self._front.drop_table(request.table, force=request.force)
        return pb.DropTableResponse(version=version_to_proto(version))

    async def GetTable(self, request: pb.GetTableRequest, context: Any) -> pb.GetTableResponse:
        return pb.GetTableResponse(table=table_info_to_proto(await self._front.get_table(request.table)))

    async def ListTables(self, request: pb.ListTablesRequest, context: Any) -> pb.ListTablesResponse:
        tables, token = page_of(
            await self._front.list_tables(),
            request.page_size,
            request.page_token,
            lambda info: info.definition.name,
        )
        return pb.ListTablesResponse(tables=map(table_info_to_proto, tables), next_page_token=token)

    async def Publish(self, request: pb.PublishRequest, context: Any) -> pb.PublishResponse:
        published = await self._front.publish(
            request.publish_id, [table_rows_from_proto(rows) for rows in request.tables]
        )
        return pb.PublishResponse(row_count=published.rows, version=version_to_proto(published.version))

    async def PublishDemo(self, request: pb.PublishDemoRequest, context: Any) -> pb.PublishDemoResponse:
        if not self._demo:
            raise FailedPrecondition(
                "DEMO_OFF",
                "this server publishes no simulated customers; FEATURESTORE__GATEWAY__DEMO=true lets it",
            )
        seed = request.seed if request.HasField("seed") else None
        published = await self._front.publish_demo(request.n_flows, seed)
        return pb.PublishDemoResponse(
            flow_count=request.n_flows, row_count=published.rows, version=version_to_proto(published.version)
        )

    async def Delete(self, request: pb.DeleteRequest, context: Any) -> pb.DeleteResponse:
        match request.WhichOneof("selector"):
            case "keys":
                keys: bytes | Keys = keys_from_proto(request.keys)
            case "arrow_stream":
                keys = request.arrow_stream
            case _:
                raise missing("keys")
        deleted = await self._front.delete(request.publish_id, request.table, keys)
        return pb.DeleteResponse(key_count=deleted.rows, version=version_to_proto(deleted.version))

    async def QueryTrain(
        self, request: pb.QueryTrainRequest, context: Any
    ) -> AsyncIterator[pb.QueryTrainResponse]:
        trained = await self._front.query_train(
            sql=request.sql,
            query=request.query,
            save_as=_save_as(request),
            head_only=request.head_only,
            at_least=_at_least(request),
        )
        try:
            yield pb.QueryTrainResponse(
                head=_head(trained.head, trained.query_id, trained.warnings, trained.explanation)
            )
            async for batch in trained.batches:
                yield pb.QueryTrainResponse(arrow_batch=batch, done_share=trained.progress.done_share)
        finally:
            await trained.batches.aclose()

    async def ExtractTrain(
        self, request: pb.ExtractTrainRequest, context: Any
    ) -> AsyncIterator[pb.ExtractTrainResponse]:
        require(request, "etl")
        trained = await self._front.extract_train(
            request.query,
            request.saved_etl
            if request.WhichOneof("etl") == "saved_etl"
            else etl_source_from_proto(request.source),
            _save_as(request),
            _at_least(request),
        )
        try:
            yield pb.ExtractTrainResponse(head=_head(trained.head, trained.query_id))
            async for batch in trained.batches:
                yield pb.ExtractTrainResponse(arrow_batch=batch, done_share=trained.progress.done_share)
            if trained.draft is not None:
                saved = await self._front.save_etl(trained.draft)
                yield pb.ExtractTrainResponse(foot=pb.ExtractTrainFoot(etl=etl_to_proto(saved)))
        finally:
            await trained.batches.aclose()

    async def QueryRealtime(self, request: pb.QueryRealtimeRequest, context: Any) -> pb.QueryRealtimeResponse:
        answer = await self._front.query_realtime(
            request.query, _keys(request), answer_format_from_proto(request.format)
        )
        return _answered(pb.QueryRealtimeResponse, answer)

    async def ExtractRealtime(
        self, request: pb.ExtractRealtimeRequest, context: Any
    ) -> pb.ExtractRealtimeResponse:
        answer = await self._front.extract_realtime(
            request.query, request.etl, _keys(request), answer_format_from_proto(request.format)
        )
        return _answered(pb.ExtractRealtimeResponse, answer)

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        found = await self._front.explain(request.query, tuple(request.index_key))
        return pb.ExplainResponse(explanation=explanation_to_proto(found))

    async def Warm(self, request: pb.WarmRequest, context: Any) -> pb.WarmResponse:
        warmed = await self._front.warm(
            request.query,
            tuple(request.index_key),
            warm_keys_from_proto(request),
            keep=keep_from_proto(request),
            answer_format=answer_format_from_proto(request.format),
        )
        return warmed_to_proto(pb.WarmResponse, warmed)

    async def Verify(self, request: pb.VerifyRequest, context: Any) -> pb.VerifyResponse:
        report = await self._front.verify(
            request.query, request.etl, tuple(request.index_key), request.sample, exact=request.exact
        )
        return pb.VerifyResponse(report=verify_report_to_proto(report))

    async def GetQuery(self, request: pb.GetQueryRequest, context: Any) -> pb.GetQueryResponse:
        return pb.GetQueryResponse(query=query_to_proto(await self._front.get_query(request.query)))

    async def ListQueries(self, request: pb.ListQueriesRequest, context: Any) -> pb.ListQueriesResponse:
        queries, token = await self._front.list_queries(request.page_size, request.page_token)
        return pb.ListQueriesResponse(queries=map(query_to_proto, queries), next_page_token=token)

    async def GetEtl(self, request: pb.GetEtlRequest, context: Any) -> pb.GetEtlResponse:
        return pb.GetEtlResponse(etl=etl_to_proto(await self._front.get_etl(request.etl)))

    async def ListEtls(self, request: pb.ListEtlsRequest, context: Any) -> pb.ListEtlsResponse:
        etls, token = await self._front.list_etls(request.page_size, request.page_token)
        return pb.ListEtlsResponse(etls=map(etl_to_proto, etls), next_page_token=token)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> pb.GetStatusResponse:
        status = await self._front.status()
        return pb.GetStatusResponse(
            package_version=__version__,
            realtime_version=_version(status.realtime_version),
            warehouse_version=_version(status.warehouse_version),
            table_count=status.tables,
            row_count=status.rows,
            query_count=status.queries,
            etl_count=status.etls,
            etl_worker_count=status.etl_workers,
            problems=status.problems,
            cache=None if status.cache is None else cache_report_to_proto(status.cache),
        )

    async def Attach(self, request: pb.AttachRequest, context: Any) -> AsyncIterator[pb.AttachResponse]:
        if self._leases is None:
            raise FailedPrecondition(
                "NOT_LOCAL", "this server is not a local store: connect to it, there is no lease"
            )
        if request.package_version != __version__:
            raise FailedPrecondition(
                "VERSION_MISMATCH",
                f"the running local store is of version {__version__}, the client of {request.package_version}: "
                "close the other clients of this store, then open it again",
                server=__version__,
                client=request.package_version,
            )
        async with self._leases.held():
            yield pb.AttachResponse(package_version=__version__)
            await self._leases.closing()


def _save_as(request: pb.QueryTrainRequest | pb.ExtractTrainRequest) -> SaveAs:
    return SaveAs(request.save, request.name, tuple(request.index_key), notes_from_proto(request.notes))


def _at_least(request: pb.QueryTrainRequest | pb.ExtractTrainRequest) -> Version | None:
    return version_from_proto(request.at_least) if request.HasField("at_least") else None


def _keys(request: pb.QueryRealtimeRequest | pb.ExtractRealtimeRequest) -> Keys:
    require(request, "keys")
    return keys_from_proto(request.keys)


def _version(version: Version | None) -> common.Version | None:
    return None if version is None else version_to_proto(version)


def _head(
    head: TrainHead, query_id: str, warnings: tuple[Warned, ...] = (), explanation: Explanation | None = None
) -> pb.TrainHead:
    return pb.TrainHead(
        query_id=query_id,
        schema=schema_to_proto(head.schema),
        version=version_to_proto(head.version),
        warnings=map(warned_to_proto, warnings),
        explanation=None if explanation is None else explanation_to_proto(explanation),
    )


def _answered(kind: type[_Reply], answer: Answer) -> _Reply:
    reply = kind()
    write_answer(answer, reply)
    if answer.format is AnswerFormat.ARROW:
        reply.arrow_stream = answer.payload
    else:
        reply.rows.ParseFromString(answer.payload)
    return reply
