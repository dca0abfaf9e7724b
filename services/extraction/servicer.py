"""Extraction's service: decode, one call, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from featurestore.api.extraction.v1 import extraction_pb2 as pb
from featurestore.api.extraction.v1.extraction_pb2_grpc import ExtractionServiceServicer
from featurestore.model.peers import Extraction
from featurestore.rpc.convert_answer import answer_format_from_proto
from featurestore.rpc.convert_extraction import (
    etl_run_from_proto,
    extract_source_from_proto,
    extraction_status_to_proto,
    features_to_proto,
    run_etl_answer_from_proto,
    train_head_to_proto,
)
from featurestore.rpc.convert_realtime import bound_columns_to_proto, query_form_from_proto
from featurestore.rpc.convert_table import version_from_proto
from featurestore.rpc.convert_verifying import verify_report_to_proto
from featurestore.rpc.fields import require


class ExtractionServicer(ExtractionServiceServicer):
    """Answers ExtractionService from extraction."""

    def __init__(self, extraction: Extraction) -> None:
        """Take the service's own object."""
        self._extraction = extraction

    async def Describe(self, request: pb.DescribeRequest, _: object) -> pb.DescribeResponse:
        require(request, "at_least")
        bound = await self._extraction.describe(request.sql, version_from_proto(request.at_least))
        columns, arrow_schema = bound_columns_to_proto(bound)
        return pb.DescribeResponse(columns=columns, arrow_schema=arrow_schema)

    async def QueryTrain(
        self, request: pb.QueryTrainRequest, _: object
    ) -> AsyncIterator[pb.QueryTrainResponse]:
        require(request, "form", "at_least")
        stream = await self._extraction.query_train(
            query_form_from_proto(request.form),
            version_from_proto(request.at_least),
            head_only=request.head_only,
        )
        async with aclosing(stream.batches) as batches:
            yield pb.QueryTrainResponse(head=train_head_to_proto(stream))
            async for batch in batches:
                yield pb.QueryTrainResponse(arrow_batch=batch, done_share=stream.progress.done_share)

    async def ExtractTrain(
        self, request: pb.ExtractTrainRequest, _: object
    ) -> AsyncIterator[pb.ExtractTrainResponse]:
        require(request, "form", "at_least")
        stream = await self._extraction.extract_train(
            query_form_from_proto(request.form),
            version_from_proto(request.at_least),
            extract_source_from_proto(request),
            pin=request.pin,
            index_key=tuple(request.index_key),
        )
        async with aclosing(stream.batches) as batches:
            yield pb.ExtractTrainResponse(head=train_head_to_proto(stream))
            async for batch in batches:
                yield pb.ExtractTrainResponse(arrow_batch=batch, done_share=stream.progress.done_share)

    async def RunEtl(self, request: pb.RunEtlRequest, _: object) -> pb.RunEtlResponse:
        require(request, "run")
        answer = await self._extraction.run_etl(
            etl_run_from_proto(request.run),
            run_etl_answer_from_proto(request),
            answer_format_from_proto(request.format),
        )
        return features_to_proto(answer)

    async def Verify(self, request: pb.VerifyRequest, _: object) -> pb.VerifyResponse:
        require(request, "form")
        report = await self._extraction.verify(
            request.query_id,
            query_form_from_proto(request.form),
            etl_run_from_proto(request.etl) if request.HasField("etl") else None,
            tuple(request.index_key),
            request.sample,
            exact=request.exact,
        )
        return pb.VerifyResponse(report=verify_report_to_proto(report))

    async def GetStatus(self, _request: pb.GetStatusRequest, _: object) -> pb.GetStatusResponse:
        return extraction_status_to_proto(await self._extraction.status())
