"""Whatever the model can say survives the wire."""

import uuid
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from functools import partial

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.api.extraction.v1 import extraction_pb2
from featurestore.api.gateway.v1 import gateway_pb2
from featurestore.api.realtime.v1 import realtime_pb2
from featurestore.model.etl import Etl, EtlDraft
from featurestore.model.names import Kind
from featurestore.model.query import Query, QueryDraft
from featurestore.model.serving import (
    Answer,
    AnswerFormat,
    CatalogStatus,
    EtlRun,
    Explanation,
    ExtractionStatus,
    Occurrence,
    RealtimeStatus,
    TrainHead,
    TrainStream,
    Verdict,
)
from featurestore.model.table import (
    Frame,
    Published,
    Put,
    TableInfo,
    TableRows,
)
from featurestore.model.warming import CacheReport, Warmed
from featurestore.rpc import (
    convert_answer,
    convert_catalog,
    convert_extraction,
    convert_realtime,
    convert_saved,
    convert_table,
    convert_value,
    convert_verifying,
    convert_warming,
)
from tests.property.model_strategies import (
    BYTES,
    CACHE_USE,
    COLUMNS,
    COUNT,
    DECLARED,
    DEFINITION,
    FORM,
    INFO,
    INT32,
    KEPT,
    KEY_ANSWER,
    KEYS,
    MOMENT,
    NEIGHBOURS,
    NOTES,
    OPERATION,
    PROVENANCE,
    REPORT,
    RUN,
    SCHEMA,
    SCRIPT,
    SOURCE,
    TEXT,
    VALUE,
    VERSION,
    WARNINGS,
    tuples,
)

seldom = settings(deadline=None, max_examples=20, derandomize=True)

ROUND_TRIPS = [
    ("value", VALUE, convert_value.value_to_proto, convert_value.value_from_proto),
    ("keys", KEYS, convert_value.keys_to_proto, convert_value.keys_from_proto),
    ("version", VERSION, convert_table.version_to_proto, convert_table.version_from_proto),
    ("schema", SCHEMA, convert_table.schema_to_proto, convert_table.schema_from_proto),
    (
        "table definition",
        DEFINITION,
        convert_table.table_definition_to_proto,
        convert_table.table_definition_from_proto,
    ),
    (
        "table info",
        st.builds(TableInfo, DEFINITION, COUNT, VERSION),
        convert_table.table_info_to_proto,
        convert_table.table_info_from_proto,
    ),
    (
        "table rows",
        st.builds(TableRows, TEXT, BYTES, st.none() | tuples(TEXT), st.none() | TEXT),
        convert_table.table_rows_to_proto,
        convert_table.table_rows_from_proto,
    ),
    ("notes", NOTES, convert_saved.notes_to_proto, convert_saved.notes_from_proto),
    (
        "query",
        st.builds(
            Query,
            TEXT,
            FORM,
            TEXT,
            tuples(TEXT),
            NOTES,
            WARNINGS,
            st.booleans(),
            MOMENT,
            tuples(TEXT),
            tuples(tuples(TEXT)),
            tuples(TEXT),
            tuples(KEPT),
        ),
        convert_saved.query_to_proto,
        convert_saved.query_from_proto,
    ),
    (
        "etl",
        st.builds(
            Etl,
            TEXT,
            TEXT,
            TEXT,
            NEIGHBOURS,
            SCHEMA,
            tuples(PROVENANCE, min_size=1),
            NOTES,
            MOMENT,
            tuples(TEXT),
            DECLARED,
            tuples(KEPT),
        ),
        convert_saved.etl_to_proto,
        convert_saved.etl_from_proto,
    ),
    ("etl source", SOURCE, convert_saved.etl_source_to_proto, convert_saved.etl_source_from_proto),
    ("script", SCRIPT, convert_saved.pinned_script_to_proto, convert_saved.pinned_script_from_proto),
    (
        "answer format",
        st.sampled_from(AnswerFormat),
        convert_answer.answer_format_to_proto,
        convert_answer.answer_format_from_proto,
    ),
    (
        "explanation",
        st.builds(
            Explanation,
            TEXT,
            tuples(TEXT),
            st.sampled_from(Verdict),
            tuples(st.builds(Occurrence, TEXT, TEXT, TEXT, TEXT, tuples(TEXT), TEXT, TEXT, COUNT)),
            st.booleans(),
            TEXT,
            TEXT,
            WARNINGS,
            st.none() | CACHE_USE,
        ),
        convert_answer.explanation_to_proto,
        convert_answer.explanation_from_proto,
    ),
    (
        "verify report",
        REPORT,
        convert_verifying.verify_report_to_proto,
        convert_verifying.verify_report_from_proto,
    ),
    ("query form", FORM, convert_realtime.query_form_to_proto, convert_realtime.query_form_from_proto),
    (
        "published",
        st.builds(Published, COUNT, VERSION),
        convert_realtime.published_to_proto,
        convert_realtime.published_from_proto,
    ),
    (
        "deleted",
        st.builds(Published, COUNT, VERSION),
        convert_realtime.deleted_to_proto,
        convert_realtime.deleted_from_proto,
    ),
    (
        "frame",
        st.builds(Frame, COUNT, TEXT, tuples(OPERATION, min_size=1)),
        convert_realtime.frame_to_proto,
        convert_realtime.frame_from_proto,
    ),
    (
        "realtime status",
        st.builds(RealtimeStatus, VERSION, COUNT, COUNT, st.booleans(), TEXT),
        convert_realtime.realtime_status_to_proto,
        convert_realtime.realtime_status_from_proto,
    ),
    (
        "cache report",
        st.builds(CacheReport, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT, tuples(CACHE_USE)),
        convert_warming.cache_report_to_proto,
        convert_warming.cache_report_from_proto,
    ),
    (
        "warmed, by realtime",
        st.builds(Warmed, COUNT, COUNT, COUNT, COUNT, COUNT),
        partial(convert_warming.warmed_to_proto, realtime_pb2.WarmResponse),
        convert_warming.warmed_from_proto,
    ),
    (
        "warmed, by the gateway",
        st.builds(Warmed, COUNT, COUNT, COUNT, COUNT, COUNT),
        partial(convert_warming.warmed_to_proto, gateway_pb2.WarmResponse),
        convert_warming.warmed_from_proto,
    ),
    ("etl run", RUN, convert_extraction.etl_run_to_proto, convert_extraction.etl_run_from_proto),
    (
        "extraction status",
        st.builds(ExtractionStatus, VERSION, INT32, st.booleans(), TEXT),
        convert_extraction.extraction_status_to_proto,
        convert_extraction.extraction_status_from_proto,
    ),
    (
        "query draft",
        st.builds(
            QueryDraft, FORM, TEXT, tuples(TEXT), TEXT, tuples(TEXT), TEXT, NOTES, WARNINGS, st.booleans()
        ),
        convert_catalog.query_draft_to_proto,
        convert_catalog.query_draft_from_proto,
    ),
    (
        "etl draft",
        st.builds(EtlDraft, TEXT, SCRIPT, SCHEMA, TEXT, tuples(TEXT), TEXT, NOTES),
        convert_catalog.etl_draft_to_proto,
        convert_catalog.etl_draft_from_proto,
    ),
    ("kind", st.sampled_from(Kind), convert_catalog.kind_to_proto, convert_catalog.kind_from_proto),
    (
        "catalog status",
        st.builds(CatalogStatus, COUNT, COUNT, TEXT),
        convert_catalog.catalog_status_to_proto,
        convert_catalog.catalog_status_from_proto,
    ),
]


def over_the_wire(message):
    """As another process would see it; enums travel inside messages."""
    return message if isinstance(message, int) else type(message).FromString(message.SerializeToString())


@pytest.mark.parametrize(
    ("models", "to_proto", "from_proto"),
    [case[1:] for case in ROUND_TRIPS],
    ids=[case[0].replace(" ", "-") for case in ROUND_TRIPS],
)
@seldom
@given(data=st.data())
def test_a_model_survives_the_wire(models, to_proto, from_proto, data):
    model = data.draw(models)
    assert from_proto(over_the_wire(to_proto(model))) == model


@seldom
@given(keys=tuples(KEY_ANSWER), payload=BYTES, info=INFO, answer_format=st.sampled_from(AnswerFormat))
def test_an_answer_survives_the_wire(keys, payload, info, answer_format):
    answer = Answer(keys, answer_format, payload, info)
    for to_proto in (convert_realtime.answer_to_proto, convert_extraction.features_to_proto):
        assert convert_realtime.answer_from_proto(over_the_wire(to_proto(answer)), answer_format) == answer


@seldom
@given(run=RUN, keys=tuples(KEY_ANSWER), payload=BYTES, info=INFO)
def test_the_rows_for_an_etl_survive_the_wire(run, keys, payload, info):
    answer = Answer(keys, AnswerFormat.ARROW, payload, info)
    message = over_the_wire(convert_extraction.run_etl_to_proto(run, answer, AnswerFormat.ROWS))
    assert convert_extraction.run_etl_answer_from_proto(message) == answer
    assert convert_extraction.etl_run_from_proto(message.run) == run
    assert convert_answer.answer_format_from_proto(message.format) is AnswerFormat.ROWS


@seldom
@given(schema=SCHEMA, version=VERSION, script=st.none() | SCRIPT, undecided=tuples(TEXT))
def test_the_head_of_a_training_stream_survives_the_wire(schema, version, script, undecided):
    async def no_batches():
        return
        yield

    stream = TrainStream(TrainHead(schema, version), no_batches(), script, undecided)
    message = over_the_wire(convert_extraction.train_head_to_proto(stream))
    assert convert_extraction.train_head_from_proto(message) == (stream.head, script, undecided)


@seldom
@given(source=SOURCE | RUN)
def test_what_an_extract_runs_survives_the_wire(source):
    if isinstance(source, EtlRun):
        request = extraction_pb2.ExtractTrainRequest(saved=convert_extraction.etl_run_to_proto(source))
    else:
        request = extraction_pb2.ExtractTrainRequest(source=convert_saved.etl_source_to_proto(source))
    assert convert_extraction.extract_source_from_proto(over_the_wire(request)) == source


@seldom
@given(columns=COLUMNS)
def test_the_columns_of_a_bound_query_survive_the_wire(columns):
    bound, arrow_schema = convert_realtime.bound_columns_to_proto(columns)
    message = extraction_pb2.DescribeResponse(columns=bound, arrow_schema=arrow_schema)
    assert convert_realtime.bound_columns_from_proto(over_the_wire(message)) == columns


@seldom
@given(publish_id=TEXT, table=TEXT, keys=KEYS | BYTES)
def test_a_delete_survives_the_wire(publish_id, table, keys):
    message = over_the_wire(convert_realtime.delete_to_proto(publish_id, table, keys))
    assert (message.publish_id, message.table) == (publish_id, table)
    assert convert_realtime.delete_selector_from_proto(message) == keys


@seldom
@given(frames=tuples(st.builds(Frame, COUNT, TEXT, tuples(OPERATION, min_size=1)), max_size=5))
def test_followed_frames_survive_the_wire_in_order(frames):
    messages = [over_the_wire(message) for message in convert_realtime.follow_responses("log", frames)]
    reader = convert_realtime.FollowReader()
    pieces = [reader.take(message) for message in messages]
    assert tuple(frame for _, piece in pieces for frame in piece) == frames
    assert {log_id for log_id, _ in pieces} <= {"log"}


@seldom
@given(moment=st.datetimes(timezones=st.sampled_from([timezone(timedelta(hours=h)) for h in (-12, 0, 5)])))
def test_a_moment_is_the_same_moment_in_any_zone(moment):
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError:
        return
    assert convert_value.value_from_proto(convert_value.value_to_proto(moment)) == in_utc
    naive = in_utc.replace(tzinfo=None)
    assert convert_value.value_from_proto(convert_value.value_to_proto(naive)) == in_utc


def test_what_python_writes_otherwise_has_one_form_on_the_wire():
    identifier = uuid.UUID("12345678-1234-5678-1234-567812345678")

    def there_and_back(value):
        return convert_value.value_from_proto(convert_value.value_to_proto(value))

    assert there_and_back(identifier) == str(identifier)
    assert there_and_back((1, "a")) == [1, "a"]
    assert there_and_back(2**63) == Decimal(2**63)
    assert there_and_back(Decimal("1E+3")) == Decimal(1000)
    assert convert_value.value_to_proto(Decimal("1E+3")).decimal_value == "1000"
    assert convert_value.value_to_proto(True).WhichOneof("kind") == "bool_value"
    assert there_and_back(timedelta(microseconds=-1)) == timedelta(microseconds=-1)
    span = convert_value.value_to_proto(timedelta(seconds=-1.5)).duration_value
    assert (span.seconds, span.nanos) == (-1, -500_000_000)


@pytest.mark.parametrize("rows", [1, 200_000, 1_500_000])
def test_a_frame_of_any_size_follows_in_messages_of_some_mib(rows):
    small = Frame(1, "small", (Put("a", pa.table({"x": [1]})),))
    large = Frame(2, "large", (Put("a", pa.table({"x": pa.array(range(rows), pa.int64())})),))
    messages = convert_realtime.follow_responses("log", [small, large, small])
    assert max(message.ByteSize() for message in messages) < 5 * 2**20
    reader = convert_realtime.FollowReader()
    frames = [frame for message in messages for frame in reader.take(message)[1]]
    assert frames == [small, large, small]
