"""Answers, plans and reports: `featurestore.model.serving` <-> `common.v1`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

from featurestore.api.common.v1 import common_pb2 as pb
from featurestore.model.serving import (
    Answer,
    AnswerFormat,
    AnswerInfo,
    Explanation,
    KeyAnswer,
    LibraryDifference,
    Occurrence,
    Outcome,
    Verdict,
)
from featurestore.rpc.convert_saved import warned_from_proto, warned_to_proto
from featurestore.rpc.convert_table import version_from_proto
from featurestore.rpc.convert_warming import cache_use_from_proto, cache_use_to_proto
from featurestore.rpc.fields import enum_from_proto, require

_FORMATS: dict[int, AnswerFormat] = {
    pb.ANSWER_FORMAT_UNSPECIFIED: AnswerFormat.ARROW,
    pb.ANSWER_FORMAT_ARROW: AnswerFormat.ARROW,
    pb.ANSWER_FORMAT_ROWS: AnswerFormat.ROWS,
}
_OUTCOMES: dict[int, Outcome] = {pb.OUTCOME_FOUND: Outcome.FOUND, pb.OUTCOME_ABSENT: Outcome.ABSENT}
_VERDICTS: dict[int, Verdict] = {
    pb.VERDICT_INDEXED: Verdict.INDEXED,
    pb.VERDICT_PARTLY_INDEXED: Verdict.PARTLY_INDEXED,
    pb.VERDICT_SCAN: Verdict.SCAN,
}
_FORMAT_TO_PROTO: dict[AnswerFormat, pb.AnswerFormat.ValueType] = {
    AnswerFormat.ARROW: pb.ANSWER_FORMAT_ARROW,
    AnswerFormat.ROWS: pb.ANSWER_FORMAT_ROWS,
}
_OUTCOME_TO_PROTO: dict[Outcome, pb.Outcome.ValueType] = {
    Outcome.FOUND: pb.OUTCOME_FOUND,
    Outcome.ABSENT: pb.OUTCOME_ABSENT,
}
_VERDICT_TO_PROTO: dict[Verdict, pb.Verdict.ValueType] = {
    Verdict.INDEXED: pb.VERDICT_INDEXED,
    Verdict.PARTLY_INDEXED: pb.VERDICT_PARTLY_INDEXED,
    Verdict.SCAN: pb.VERDICT_SCAN,
}


class _Reply(Protocol):
    """Any message with what is told of an answer."""

    @property
    def answers(self) -> RepeatedCompositeFieldContainer[pb.KeyAnswer]: ...

    @property
    def info(self) -> pb.AnswerInfo: ...


def answer_format_to_proto(answer_format: AnswerFormat) -> pb.AnswerFormat.ValueType:
    """How rows are to be encoded, on the wire."""
    return _FORMAT_TO_PROTO[answer_format]


def answer_format_from_proto(number: int) -> AnswerFormat:
    """How rows are to be encoded; unspecified is Arrow.

    Raises:
        InvalidArgument: `BAD_FIELD` for a number that this version does not know.
    """
    return enum_from_proto(number, _FORMATS, "format")


def key_answer_from_proto(message: pb.KeyAnswer) -> KeyAnswer:
    """What was found for one asked value.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_FIELD` for its outcome.
    """
    return KeyAnswer(enum_from_proto(message.outcome, _OUTCOMES, "KeyAnswer.outcome"), message.row_count)


def key_answers_from_proto(messages: Iterable[pb.KeyAnswer]) -> tuple[KeyAnswer, ...]:
    """What was found, in the order asked.

    Raises:
        InvalidArgument: as `key_answer_from_proto`.
    """
    return tuple([key_answer_from_proto(message) for message in messages])


def write_answer(answer: Answer, message: _Reply) -> None:
    """All of an answer but its rows, into a message; in its place, as each answer that is served pays for a copy."""
    add = message.answers.add
    for each in answer.keys:
        add(outcome=_OUTCOME_TO_PROTO[each.outcome], row_count=each.row_count)
    info, into = answer.info, message.info
    into.query_id = info.query_id
    into.etl_id = info.etl_id
    into.blob_sha256 = info.blob_sha256
    into.contract_sha256 = info.contract_sha256
    into.data_version.log_id = info.data_version.log_id
    into.data_version.sequence = info.data_version.sequence
    into.from_cache = info.from_cache
    into.features_from_cache = info.features_from_cache
    for difference in info.library_differences:
        into.library_differences.add(name=difference.name, saved=difference.saved, served=difference.served)


def answer_info_from_proto(message: pb.AnswerInfo) -> AnswerInfo:
    """What made an answer.

    Raises:
        InvalidArgument: `MISSING_FIELD`.
    """
    require(message, "data_version")
    return AnswerInfo(
        query_id=message.query_id,
        data_version=version_from_proto(message.data_version),
        etl_id=message.etl_id,
        blob_sha256=message.blob_sha256,
        contract_sha256=message.contract_sha256,
        from_cache=message.from_cache,
        features_from_cache=message.features_from_cache,
        library_differences=tuple(
            [LibraryDifference(each.name, each.saved, each.served) for each in message.library_differences]
        ),
    )


def occurrence_to_proto(occurrence: Occurrence) -> pb.Occurrence:
    """How one table occurrence is read, on the wire."""
    return pb.Occurrence(
        table=occurrence.table,
        alias=occurrence.alias,
        narrowed_on=occurrence.narrowed_on,
        narrowed_by=occurrence.narrowed_by,
        rules=occurrence.rules,
        stopped_by=occurrence.stopped_by,
        index=occurrence.index,
        estimated_rows=occurrence.estimated_rows,
    )


def occurrence_from_proto(message: pb.Occurrence) -> Occurrence:
    """How one table occurrence is read."""
    return Occurrence(
        table=message.table,
        alias=message.alias,
        narrowed_on=message.narrowed_on,
        narrowed_by=message.narrowed_by,
        rules=tuple(message.rules),
        stopped_by=message.stopped_by,
        index=message.index,
        estimated_rows=message.estimated_rows,
    )


def explanation_to_proto(explanation: Explanation) -> pb.Explanation:
    """How a query is served, on the wire."""
    return pb.Explanation(
        query_id=explanation.query_id,
        index_key=explanation.index_key,
        verdict=_VERDICT_TO_PROTO[explanation.verdict],
        occurrences=[occurrence_to_proto(occurrence) for occurrence in explanation.occurrences],
        cacheable=explanation.cacheable,
        not_cacheable_because=explanation.not_cacheable_because,
        plan=explanation.plan,
        warnings=[warned_to_proto(warned) for warned in explanation.warnings],
        cache=None if explanation.cache is None else cache_use_to_proto(explanation.cache),
    )


def explanation_from_proto(message: pb.Explanation) -> Explanation:
    """How a query is served.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_FIELD` for its verdict, or for why it is kept warm.
    """
    return Explanation(
        query_id=message.query_id,
        index_key=tuple(message.index_key),
        verdict=enum_from_proto(message.verdict, _VERDICTS, "Explanation.verdict"),
        occurrences=tuple(occurrence_from_proto(occurrence) for occurrence in message.occurrences),
        cacheable=message.cacheable,
        not_cacheable_because=message.not_cacheable_because,
        plan=message.plan,
        warnings=tuple(warned_from_proto(warning) for warning in message.warnings),
        cache=cache_use_from_proto(message.cache) if message.HasField("cache") else None,
    )
