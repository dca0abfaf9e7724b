"""What only extraction and its callers exchange: model <-> `extraction.v1`."""

from __future__ import annotations

import pyarrow as pa

from featurestore.api.extraction.v1 import extraction_pb2 as pb
from featurestore.model import schema
from featurestore.model.etl import EtlSource, PinnedScript
from featurestore.model.serving import (
    Answer,
    AnswerFormat,
    EtlRun,
    ExtractionStatus,
    TrainHead,
    TrainStream,
)
from featurestore.rpc.convert_answer import (
    answer_format_to_proto,
    answer_info_from_proto,
    key_answers_from_proto,
    write_answer,
)
from featurestore.rpc.convert_saved import (
    columns_from_proto,
    etl_source_from_proto,
    pinned_script_from_proto,
    pinned_script_to_proto,
)
from featurestore.rpc.convert_table import version_from_proto, version_to_proto
from featurestore.rpc.fields import arrow_schema_from_proto, require


def etl_run_to_proto(run: EtlRun) -> pb.EtlRun:
    """A pinned ETL and what it takes to run it, on the wire."""
    columns = run.input_columns
    return pb.EtlRun(
        etl_id=run.etl_id,
        query_id=run.query_id,
        script=pinned_script_to_proto(run.script),
        input_schema=schema.to_bytes(pa.schema([pa.field(column.name, column.type) for column in columns])),
        input_engine_types=[column.engine_type for column in columns],
        contract=schema.to_bytes(run.contract),
    )


def etl_run_from_proto(message: pb.EtlRun) -> EtlRun:
    """A pinned ETL and what it takes to run it.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_ARROW`, `BAD_FIELD`.
    """
    require(message, "script")
    arrow = arrow_schema_from_proto(message, "input_schema")
    return EtlRun(
        etl_id=message.etl_id,
        query_id=message.query_id,
        script=pinned_script_from_proto(message.script),
        input_columns=columns_from_proto(arrow, message.input_engine_types, "EtlRun.input_engine_types"),
        contract=arrow_schema_from_proto(message, "contract"),
    )


def extract_source_from_proto(message: pb.ExtractTrainRequest) -> EtlSource | EtlRun:
    """What a training extract runs on the query's rows.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_ARROW`, `BAD_FIELD`.
    """
    require(message, "etl")
    if message.HasField("source"):
        return etl_source_from_proto(message.source)
    return etl_run_from_proto(message.saved)


def train_head_to_proto(stream: TrainStream) -> pb.TrainHead:
    """What comes before the rows, on the wire."""
    return pb.TrainHead(
        arrow_schema=schema.to_bytes(stream.head.schema),
        version=version_to_proto(stream.head.version),
        script=None if stream.script is None else pinned_script_to_proto(stream.script),
        undecided_columns=stream.undecided,
    )


def train_head_from_proto(message: pb.TrainHead) -> tuple[TrainHead, PinnedScript | None, tuple[str, ...]]:
    """What comes before the rows: the head; for an ETL, the script that ran and the undecided columns.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_ARROW`.
    """
    require(message, "version")
    head = TrainHead(arrow_schema_from_proto(message, "arrow_schema"), version_from_proto(message.version))
    script = pinned_script_from_proto(message.script) if message.HasField("script") else None
    return head, script, tuple(message.undecided_columns)


def run_etl_to_proto(run: EtlRun, answer: Answer, answer_format: AnswerFormat) -> pb.RunEtlRequest:
    """The run of an ETL on served rows, on the wire; the rows as they are, in Arrow."""
    message = pb.RunEtlRequest(
        run=etl_run_to_proto(run),
        arrow_stream=answer.payload,
        format=answer_format_to_proto(answer_format),
    )
    write_answer(answer, message)
    return message


def run_etl_answer_from_proto(message: pb.RunEtlRequest) -> Answer:
    """The served rows that an ETL is to run on.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_FIELD`.
    """
    require(message, "info")
    return Answer(
        keys=key_answers_from_proto(message.answers),
        format=AnswerFormat.ARROW,
        payload=message.arrow_stream,
        info=answer_info_from_proto(message.info),
    )


def features_to_proto(answer: Answer) -> pb.RunEtlResponse:
    """Features on the wire, as they are."""
    message = pb.RunEtlResponse(payload=answer.payload)
    write_answer(answer, message)
    return message


def extraction_status_to_proto(status: ExtractionStatus) -> pb.GetStatusResponse:
    """How extraction is, on the wire."""
    return pb.GetStatusResponse(
        warehouse_version=version_to_proto(status.warehouse_version),
        etl_worker_count=status.etl_workers,
        following=status.following,
        last_error=status.last_error,
        etls_refused=status.etls_refused,
    )


def extraction_status_from_proto(message: pb.GetStatusResponse) -> ExtractionStatus:
    """How extraction is.

    Raises:
        InvalidArgument: `MISSING_FIELD`.
    """
    require(message, "warehouse_version")
    return ExtractionStatus(
        version_from_proto(message.warehouse_version),
        message.etl_worker_count,
        message.following,
        message.last_error,
        message.etls_refused,
    )
