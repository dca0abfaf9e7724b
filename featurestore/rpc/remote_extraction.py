"""Extraction, when it runs elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import grpc.aio

from featurestore.api.extraction.v1 import extraction_pb2 as pb
from featurestore.api.extraction.v1.extraction_pb2_grpc import ExtractionServiceStub
from featurestore.model.etl import EtlSource, PinnedScript
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import (
    Answer,
    AnswerFormat,
    EtlRun,
    ExtractionStatus,
    Progress,
    TrainHead,
    TrainStream,
)
from featurestore.model.table import Version
from featurestore.model.verifying import VerifyReport
from featurestore.rpc.convert_extraction import (
    etl_run_to_proto,
    extraction_status_from_proto,
    run_etl_to_proto,
    train_head_from_proto,
)
from featurestore.rpc.convert_realtime import (
    answer_from_proto,
    bound_columns_from_proto,
    query_form_to_proto,
)
from featurestore.rpc.convert_saved import etl_source_to_proto
from featurestore.rpc.convert_table import version_to_proto
from featurestore.rpc.convert_verifying import verify_report_from_proto
from featurestore.rpc.deadlines import ORDINARY_SECONDS, SERVING_SECONDS, TRAINING_SECONDS
from featurestore.rpc.fields import missing, require
from featurestore.rpc.peer import Peer


class RemoteExtraction:
    """A `featurestore.model.peers.Extraction` over its generated stub."""

    def __init__(self, channel: grpc.aio.Channel, target: str) -> None:
        """Use an open channel.

        Args:
            target: where it goes, for errors.
        """
        self._stub = ExtractionServiceStub(channel)
        self._peer = Peer(f"extraction at {target}")

    async def describe(self, sql: str, at_least: Version) -> tuple[Column, ...]:
        """See `Extraction.describe`."""
        request = pb.DescribeRequest(sql=sql, at_least=version_to_proto(at_least))
        return await self._peer.call(self._stub.Describe, request, bound_columns_from_proto, ORDINARY_SECONDS)

    async def query_train(
        self, form: QueryForm, at_least: Version, *, head_only: bool = False
    ) -> TrainStream:
        """See `Extraction.query_train`."""
        request = pb.QueryTrainRequest(
            form=query_form_to_proto(form), at_least=version_to_proto(at_least), head_only=head_only
        )
        progress = Progress()
        replies = self._peer.stream(self._stub.QueryTrain, request, _batch_in(progress), TRAINING_SECONDS)
        head, _, _ = await replies.first(_head_in)
        return TrainStream(head, replies, progress=progress)

    async def extract_train(
        self,
        form: QueryForm,
        at_least: Version,
        source: EtlSource | EtlRun,
        *,
        pin: bool,
        index_key: tuple[str, ...] = (),
    ) -> TrainStream:
        """See `Extraction.extract_train`."""
        request = pb.ExtractTrainRequest(
            form=query_form_to_proto(form),
            at_least=version_to_proto(at_least),
            pin=pin,
            index_key=index_key,
        )
        if isinstance(source, EtlRun):
            request.saved.CopyFrom(etl_run_to_proto(source))
        else:
            request.source.CopyFrom(etl_source_to_proto(source))
        progress = Progress()
        replies = self._peer.stream(self._stub.ExtractTrain, request, _batch_in(progress), TRAINING_SECONDS)
        head, script, undecided = await replies.first(_head_in)
        return TrainStream(head, replies, script, undecided, progress)

    async def run_etl(self, run: EtlRun, answer: Answer, answer_format: AnswerFormat) -> Answer:
        """See `Extraction.run_etl`."""
        return await self._peer.call(
            self._stub.RunEtl,
            run_etl_to_proto(run, answer, answer_format),
            lambda reply: answer_from_proto(reply, answer_format),
            SERVING_SECONDS,
        )

    async def verify(
        self,
        query_id: str,
        form: QueryForm,
        etl: EtlRun | None,
        index_key: tuple[str, ...],
        sample: int,
        *,
        exact: bool = False,
    ) -> VerifyReport:
        """See `Extraction.verify`."""
        request = pb.VerifyRequest(
            query_id=query_id,
            form=query_form_to_proto(form),
            etl=None if etl is None else etl_run_to_proto(etl),
            index_key=index_key,
            sample=sample,
            exact=exact,
        )
        return await self._peer.call(self._stub.Verify, request, _report_in, TRAINING_SECONDS)

    async def status(self) -> ExtractionStatus:
        """See `Extraction.status`."""
        return await self._peer.call(
            self._stub.GetStatus, pb.GetStatusRequest(), extraction_status_from_proto, ORDINARY_SECONDS
        )


def _head_in(
    reply: pb.QueryTrainResponse | pb.ExtractTrainResponse,
) -> tuple[TrainHead, PinnedScript | None, tuple[str, ...]]:
    require(reply, "head")
    return train_head_from_proto(reply.head)


def _batch_in(progress: Progress) -> Callable[[pb.QueryTrainResponse | pb.ExtractTrainResponse], bytes]:
    def batch_in(reply: pb.QueryTrainResponse | pb.ExtractTrainResponse) -> bytes:
        if not reply.arrow_batch:
            raise missing("arrow_batch")
        progress.done_share = reply.done_share if reply.HasField("done_share") else None
        return reply.arrow_batch

    return batch_in


def _report_in(reply: pb.VerifyResponse) -> VerifyReport:
    require(reply, "report")
    return verify_report_from_proto(reply.report)
