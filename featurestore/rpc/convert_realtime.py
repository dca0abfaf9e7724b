"""What only realtime and its callers exchange: model <-> `realtime.v1`."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import pyarrow as pa

from featurestore.api.extraction.v1 import extraction_pb2
from featurestore.api.realtime.v1 import realtime_pb2 as pb
from featurestore.model import frames, schema
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import Answer, AnswerFormat, Keys, RealtimeStatus
from featurestore.model.table import Frame, Published
from featurestore.rpc.convert_answer import (
    answer_info_from_proto,
    key_answers_from_proto,
    write_answer,
)
from featurestore.rpc.convert_saved import columns_from_proto, order_term_from_proto, order_term_to_proto
from featurestore.rpc.convert_table import version_from_proto, version_to_proto
from featurestore.rpc.convert_value import keys_from_proto, keys_to_proto
from featurestore.rpc.convert_warming import cache_report_from_proto, cache_report_to_proto
from featurestore.rpc.fields import arrow_schema_from_proto, invalid, require

_PIECE_BYTES = 4 * 2**20


def query_form_to_proto(form: QueryForm) -> pb.QueryForm:
    """What runs, on the wire."""
    return pb.QueryForm(
        sql=form.sql,
        arrow_schema=schema.to_bytes(form.schema),
        engine_types=[column.engine_type for column in form.columns],
        order=[order_term_to_proto(term) for term in form.order],
    )


def query_form_from_proto(message: pb.QueryForm) -> QueryForm:
    """What runs.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_ARROW`, `BAD_FIELD`.
    """
    return _query_form(message.SerializeToString(deterministic=True))


@functools.lru_cache(1_024)  # the same few forms come again and again, with every call that is served
def _query_form(encoded: bytes) -> QueryForm:
    message = pb.QueryForm.FromString(encoded)
    arrow = arrow_schema_from_proto(message, "arrow_schema")
    return QueryForm(
        message.sql,
        columns_from_proto(arrow, message.engine_types, "QueryForm.engine_types"),
        tuple(order_term_from_proto(term) for term in message.order),
    )


def bound_columns_to_proto(columns: Sequence[Column]) -> tuple[list[pb.BoundColumn], bytes]:
    """The columns of a query that was bound: the two fields of a DescribeResponse."""
    bound = [pb.BoundColumn(name=column.name, engine_type=column.engine_type) for column in columns]
    arrow = pa.schema([pa.field(column.name, column.type) for column in columns])
    return bound, schema.to_bytes(arrow)


def bound_columns_from_proto(
    message: pb.DescribeResponse | extraction_pb2.DescribeResponse,
) -> tuple[Column, ...]:
    """The columns of a query that was bound.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_ARROW`, `BAD_FIELD`.
    """
    arrow = arrow_schema_from_proto(message, "arrow_schema")
    engine_types = [column.engine_type for column in message.columns]
    return columns_from_proto(arrow, engine_types, "DescribeResponse.columns")


def answer_to_proto(answer: Answer) -> pb.QueryResponse:
    """An answer on the wire, its rows as they are."""
    message = pb.QueryResponse(payload=answer.payload)
    write_answer(answer, message)
    return message


def answer_from_proto(
    message: pb.QueryResponse | extraction_pb2.RunEtlResponse, answer_format: AnswerFormat
) -> Answer:
    """An answer in the format that was asked for.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_FIELD`.
    """
    require(message, "info")
    return Answer(
        keys=key_answers_from_proto(message.answers),
        format=answer_format,
        payload=message.payload,
        info=answer_info_from_proto(message.info),
    )


def published_to_proto(published: Published) -> pb.PublishResponse:
    """The acknowledgement of a publish, on the wire."""
    return pb.PublishResponse(row_count=published.rows, version=version_to_proto(published.version))


def published_from_proto(message: pb.PublishResponse) -> Published:
    """The acknowledgement of a publish.

    Raises:
        InvalidArgument: `MISSING_FIELD`.
    """
    require(message, "version")
    return Published(message.row_count, version_from_proto(message.version))


def deleted_to_proto(published: Published) -> pb.DeleteResponse:
    """The acknowledgement of a delete, on the wire."""
    return pb.DeleteResponse(key_count=published.rows, version=version_to_proto(published.version))


def deleted_from_proto(message: pb.DeleteResponse) -> Published:
    """The acknowledgement of a delete; its rows are the keys that came in.

    Raises:
        InvalidArgument: `MISSING_FIELD`.
    """
    require(message, "version")
    return Published(message.key_count, version_from_proto(message.version))


def delete_to_proto(publish_id: str, table: str, keys: bytes | Keys) -> pb.DeleteRequest:
    """A delete on the wire."""
    if isinstance(keys, Keys):
        return pb.DeleteRequest(publish_id=publish_id, table=table, keys=keys_to_proto(keys))
    return pb.DeleteRequest(publish_id=publish_id, table=table, arrow_stream=keys)


def delete_selector_from_proto(message: pb.DeleteRequest) -> bytes | Keys:
    """Which rows a delete means; an Arrow stream is left to the service to read.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_VALUE`.
    """
    require(message, "selector")
    return keys_from_proto(message.keys) if message.HasField("keys") else message.arrow_stream


def frame_to_proto(frame: Frame) -> pb.LogFrame:
    """One entry of the log on the wire, its body as the log holds it."""
    return pb.LogFrame(
        sequence=frame.sequence, publish_id=frame.publish_id, body=frames.encode(frame.operations)
    )


def frame_from_proto(message: pb.LogFrame) -> Frame:
    """One entry of the log.

    Raises:
        InvalidArgument: `BAD_FIELD` for a body that this version can't read.
    """
    try:
        operations = frames.decode(message.body)
    except (ValueError, LookupError, StopIteration, pa.ArrowException) as error:
        raise invalid("LogFrame.body", f"can't be read: {error}", sequence=message.sequence) from None
    return Frame(message.sequence, message.publish_id, operations)


def follow_responses(log_id: str, piece: Sequence[Frame]) -> list[pb.FollowResponse]:
    """Frames on the wire, in messages of some MiB each, however many came in one piece and however large they are."""
    responses: list[pb.FollowResponse] = []
    size = 0
    for frame in piece:
        whole = frame_to_proto(frame)
        for message in _in_parts(whole) if len(whole.body) > _PIECE_BYTES else (whole,):
            if not responses or size + len(message.body) > _PIECE_BYTES:
                responses.append(pb.FollowResponse(log_id=log_id))
                size = 0
            responses[-1].frames.append(message)
            size += len(message.body)
    return responses


def _in_parts(whole: pb.LogFrame) -> Iterator[pb.LogFrame]:
    for start in range(0, len(whole.body), _PIECE_BYTES):
        yield pb.LogFrame(
            sequence=whole.sequence,
            publish_id=whole.publish_id,
            body=whole.body[start : start + _PIECE_BYTES],
            continues=start + _PIECE_BYTES < len(whole.body),
        )


class FollowReader:
    """Puts the frames of a Follow stream together again, message by message."""

    def __init__(self) -> None:
        """Start between two frames."""
        self._parts: list[bytes] = []

    def take(self, message: pb.FollowResponse) -> tuple[str, Sequence[Frame]]:
        """The log's id, and the frames that are complete with this message.

        Raises:
            InvalidArgument: `BAD_FIELD`.
        """
        complete: list[Frame] = []
        for part in message.frames:
            self._parts.append(part.body)
            if not part.continues:
                whole = pb.LogFrame(
                    sequence=part.sequence, publish_id=part.publish_id, body=b"".join(self._parts)
                )
                self._parts.clear()
                complete.append(frame_from_proto(whole))
        return message.log_id, tuple(complete)


def realtime_status_to_proto(status: RealtimeStatus) -> pb.GetStatusResponse:
    """How realtime is, on the wire."""
    return pb.GetStatusResponse(
        version=version_to_proto(status.version),
        table_count=status.tables,
        row_count=status.rows,
        writable=status.writable,
        not_writable_because=status.not_writable_because,
        plans_dropped=status.plans_dropped,
        cache=cache_report_to_proto(status.cache),
    )


def realtime_status_from_proto(message: pb.GetStatusResponse) -> RealtimeStatus:
    """How realtime is.

    Raises:
        InvalidArgument: `MISSING_FIELD`.
    """
    require(message, "version")
    return RealtimeStatus(
        version_from_proto(message.version),
        message.table_count,
        message.row_count,
        message.writable,
        message.not_writable_because,
        message.plans_dropped,
        cache_report_from_proto(message.cache),
    )
