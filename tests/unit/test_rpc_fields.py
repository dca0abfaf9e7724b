"""Absent, unknown and invalid are three different errors, and each names the field."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from featurestore.api.catalog.v1 import catalog_pb2
from featurestore.api.common.v1 import common_pb2
from featurestore.api.extraction.v1 import extraction_pb2
from featurestore.api.realtime.v1 import realtime_pb2
from featurestore.model import frames, schema
from featurestore.model.errors import InvalidArgument
from featurestore.model.serving import Keys
from featurestore.rpc import (
    convert_answer,
    convert_catalog,
    convert_extraction,
    convert_realtime,
    convert_saved,
    convert_table,
    convert_value,
)
from featurestore.rpc.fields import table_from_stream

ARROW = schema.to_bytes(pa.schema([("a", pa.int64())]))


@pytest.mark.parametrize(
    ("convert", "message", "reason", "field"),
    [
        (convert_saved.query_from_proto, common_pb2.Query(), "MISSING_FIELD", "Query.schema"),
        (
            convert_saved.query_from_proto,
            common_pb2.Query(schema=common_pb2.Schema(arrow_schema=ARROW), engine_types=["BIGINT"]),
            "MISSING_FIELD",
            "Query.create_time",
        ),
        (
            convert_saved.query_from_proto,
            common_pb2.Query(schema=common_pb2.Schema(arrow_schema=ARROW)),
            "BAD_FIELD",
            "Query.engine_types",
        ),
        (convert_saved.etl_from_proto, common_pb2.Etl(), "MISSING_FIELD", "Etl.contract"),
        (
            convert_saved.etl_from_proto,
            common_pb2.Etl(contract=common_pb2.Schema(arrow_schema=ARROW)),
            "MISSING_FIELD",
            "Etl.provenances",
        ),
        (convert_saved.etl_source_from_proto, common_pb2.EtlSource(), "MISSING_FIELD", "EtlSource.source"),
        (
            convert_saved.etl_source_from_proto,
            common_pb2.EtlSource(local=common_pb2.LocalScript(text="x")),
            "MISSING_FIELD",
            "LocalScript.path",
        ),
        (
            convert_saved.pinned_script_from_proto,
            common_pb2.PinnedScript(),
            "MISSING_FIELD",
            "PinnedScript.provenance",
        ),
        (
            convert_saved.declarations_from_proto,
            common_pb2.Declarations(granularity="rows", kind="spark"),
            "BAD_FIELD",
            "declared",
        ),
        (
            convert_table.table_definition_from_proto,
            common_pb2.TableDefinition(),
            "MISSING_FIELD",
            "TableDefinition.arrow_schema",
        ),
        (
            convert_table.table_definition_from_proto,
            common_pb2.TableDefinition(arrow_schema=b"not arrow at all"),
            "BAD_ARROW",
            "TableDefinition.arrow_schema",
        ),
        (
            convert_table.table_info_from_proto,
            common_pb2.TableInfo(),
            "MISSING_FIELD",
            "TableInfo.definition",
        ),
        (convert_answer.key_answer_from_proto, common_pb2.KeyAnswer(), "MISSING_FIELD", "KeyAnswer.outcome"),
        (
            convert_answer.key_answer_from_proto,
            common_pb2.KeyAnswer(outcome=77),
            "BAD_FIELD",
            "KeyAnswer.outcome",
        ),
        (convert_answer.answer_format_from_proto, 77, "BAD_FIELD", "format"),
        (
            convert_answer.explanation_from_proto,
            common_pb2.Explanation(),
            "MISSING_FIELD",
            "Explanation.verdict",
        ),
        (
            convert_answer.answer_info_from_proto,
            common_pb2.AnswerInfo(),
            "MISSING_FIELD",
            "AnswerInfo.data_version",
        ),
        (convert_catalog.kind_from_proto, 0, "MISSING_FIELD", "ListNameVersionsRequest.kind"),
        (
            convert_catalog.query_draft_from_proto,
            catalog_pb2.SaveQueryRequest(),
            "MISSING_FIELD",
            "SaveQueryRequest.query",
        ),
        (
            convert_realtime.delete_selector_from_proto,
            realtime_pb2.DeleteRequest(),
            "MISSING_FIELD",
            "DeleteRequest.selector",
        ),
        (
            convert_realtime.frame_from_proto,
            realtime_pb2.LogFrame(body=b"\0\0\0"),
            "BAD_FIELD",
            "LogFrame.body",
        ),
        (
            convert_extraction.extract_source_from_proto,
            extraction_pb2.ExtractTrainRequest(),
            "MISSING_FIELD",
            "ExtractTrainRequest.etl",
        ),
        (convert_value.value_from_proto, common_pb2.Value(), "MISSING_FIELD", "value"),
        (convert_value.value_from_proto, common_pb2.Value(decimal_value="1e5"), "BAD_VALUE", "value"),
        (convert_value.value_from_proto, common_pb2.Value(decimal_value="\u0661"), "BAD_VALUE", "value"),
        (
            convert_value.value_from_proto,
            common_pb2.Value(date_value=common_pb2.Date(year=2023, month=2, day=29)),
            "BAD_VALUE",
            "value",
        ),
        (
            convert_value.value_from_proto,
            common_pb2.Value(time_value=common_pb2.TimeOfDay(micros=86_400_000_000)),
            "BAD_VALUE",
            "value",
        ),
        (
            convert_value.value_from_proto,
            common_pb2.Value(time_value=common_pb2.TimeOfDay(micros=-1)),
            "BAD_VALUE",
            "value",
        ),
    ],
)
def test_a_field_that_is_absent_unknown_or_invalid_is_named(convert, message, reason, field):
    with pytest.raises(InvalidArgument) as refused:
        convert(message)
    assert (refused.value.reason, refused.value.details["field"]) == (reason, field)


def test_an_unspecified_format_is_arrow_and_absent_notes_are_empty():
    assert convert_answer.answer_format_from_proto(0).value == "arrow"
    assert convert_saved.notes_from_proto(common_pb2.Query().notes).labels == {}


def test_an_index_value_without_a_kind_is_named_by_its_place():
    good = common_pb2.Value(int64_value=1)
    keys = common_pb2.Keys(
        columns=["a", "b"],
        tuples=[
            common_pb2.KeyTuple(values=[good, good]),
            common_pb2.KeyTuple(values=[good, common_pb2.Value()]),
        ],
    )
    with pytest.raises(InvalidArgument) as refused:
        convert_value.keys_from_proto(keys)
    assert refused.value.details["field"] == "Keys.tuples[1].values[1]"


@pytest.mark.parametrize(
    "value",
    [Fraction(1, 3), object(), float, Decimal("NaN"), "\ud800", {1: 2}, pd.NaT, pd.NA, [1, {"a": set()}]],
    ids=repr,
)
def test_an_index_value_that_can_not_be_sent_is_named_by_column_and_place(value):
    with pytest.raises(InvalidArgument) as refused:
        convert_value.keys_to_proto(Keys(("a", "b"), ((1, 2), (1, value))))
    assert refused.value.reason == "BAD_VALUE"
    assert (refused.value.details["column"], refused.value.details["position"]) == ("b", "1")


def test_what_pandas_and_numpy_hold_is_sent_whole():
    sent = convert_value.value_to_proto
    assert sent(np.int64(7)).int64_value == 7
    assert sent(np.float64(0.5)).double_value == 0.5
    assert sent(np.str_("a")).string_value == "a"
    stamp = sent(pd.Timestamp("2020-01-01T00:00:00.123456789")).timestamp_value
    assert (stamp.seconds, stamp.nanos) == (int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()), 123_456_789)
    assert sent(pd.Timedelta(1_000_000_001, "ns")).duration_value.nanos == 1


def damaged() -> bytes:
    """A stream whose string offsets point far outside of its data: reading such a table crashes."""
    stream = bytearray(frames.table_to_stream(pa.table({"s": ["abcdefgh", "ijklmnop"]})))
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 8, 16))
    at = stream.index(offsets)
    stream[at + 4 : at + 8] = (2**31 - 1).to_bytes(4, "little")
    return bytes(stream)


@pytest.mark.parametrize(
    "stream", [b"garbage", b"\xff" * 64, damaged(), frames.table_to_stream(pa.table({"a": [1]}))[:150]]
)
def test_a_damaged_arrow_stream_is_refused_by_field(stream):
    with pytest.raises(InvalidArgument) as refused:
        table_from_stream(stream, "tables[0].arrow_stream")
    assert (refused.value.reason, refused.value.details["field"]) == ("BAD_ARROW", "tables[0].arrow_stream")


def test_an_empty_arrow_stream_is_absent():
    with pytest.raises(InvalidArgument, match="MISSING_FIELD"):
        table_from_stream(b"", "x")
