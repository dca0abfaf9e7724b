"""One call of each method of each peer, and its result: what the tests of remote peers go through."""

from datetime import UTC, datetime

import pyarrow as pa

from featurestore.model.etl import Declarations, Etl, EtlDraft, EtlSource, PinnedScript, Provenance
from featurestore.model.frames import table_to_stream
from featurestore.model.names import Kind
from featurestore.model.query import Column, Notes, OrderTerm, Query, QueryDraft, QueryForm, Warned
from featurestore.model.serving import (
    Answer,
    AnswerFormat,
    AnswerInfo,
    CatalogStatus,
    EtlRun,
    Explanation,
    ExtractionStatus,
    KeyAnswer,
    Keys,
    LibraryDifference,
    Occurrence,
    Outcome,
    RealtimeStatus,
    Verdict,
)
from featurestore.model.table import (
    Define,
    Frame,
    Published,
    Put,
    TableDefinition,
    TableInfo,
    TableRows,
    Version,
)
from featurestore.model.verifying import Difference, KeptReport, VerifyReport
from featurestore.model.warming import CacheReport, CacheUse, KeptUp, Warmed

VERSION = Version("log", 7)
SCHEMA = pa.schema([("user_id", pa.int64()), ("at", pa.timestamp("us", "UTC"))])
COLUMNS = (Column("user_id", pa.int64(), "BIGINT"), Column("at", pa.timestamp("us", "UTC"), "TIMESTAMP"))
FORM = QueryForm("SELECT 1", COLUMNS, (OrderTerm("at", descending=True, nulls_first=False),))
NOTES = Notes("ann", "what it is", {"team": "a"})
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
REPORT = VerifyReport(
    10, 9, 1, (Difference("1", "at", "a", "b", "DATA_DIFFERS"),), VERSION, ("by rows",), True, 40, 39, 1e-12
)
KEPT = KeptReport(("user_id",), REPORT, NOW)
QUERY = Query(
    "qry_1",
    FORM,
    "select 1",
    ("quotes",),
    NOTES,
    (Warned("W", "w"),),
    True,
    NOW,
    ("q@1",),
    (("user_id",),),
    ("indexed",),
    (KEPT,),
)
PROVENANCE = Provenance("https://host/repo", "main", "0" * 40, "etl.py", {"pandas": "3"})
DECLARED = Declarations("key", pure=True, kind="sql")
SCRIPT = PinnedScript("ab" * 32, PROVENANCE, (("n.py", "cd" * 32),), DECLARED)
ETL = Etl(
    "etl_1",
    "qry_1",
    "ab" * 32,
    SCRIPT.neighbours,
    SCHEMA,
    (PROVENANCE,),
    NOTES,
    NOW,
    ("e",),
    DECLARED,
    (KEPT,),
)
RUN = EtlRun("etl_1", "qry_1", SCRIPT, COLUMNS, SCHEMA)
INFO = AnswerInfo(
    "qry_1",
    VERSION,
    "etl_1",
    "ab",
    "cd",
    from_cache=True,
    features_from_cache=True,
    library_differences=(LibraryDifference("pandas", "3", "4"),),
)
KEYS = Keys(("user_id",), ((1,), ("2",), (1,)))
FOUND = (KeyAnswer(Outcome.FOUND, 2), KeyAnswer(Outcome.ABSENT, 0), KeyAnswer(Outcome.FOUND, 2))
ARROW_ANSWER = Answer(FOUND, AnswerFormat.ARROW, b"arrow", INFO)
ROWS_ANSWER = Answer(FOUND, AnswerFormat.ROWS, b"rows", INFO)
TABLE = TableDefinition("quotes", SCHEMA, ("user_id",), "at")
TABLE_INFO = TableInfo(TABLE, 3, VERSION)
ROWS = pa.table({"user_id": [1, 2], "at": pa.array([NOW, NOW], pa.timestamp("us", "UTC"))})
USE = CacheUse("qry_1", ("user_id",), KeptUp.BY_ITSELF, 7, 3, 5, 4_000, 12.5)
EXPLANATION = Explanation(
    "qry_1",
    ("user_id",),
    Verdict.PARTLY_INDEXED,
    (Occurrence("quotes", "q", "user_id", "key user_id", ("GROUP_BY",), "", "i", 3),),
    False,
    "now()",
    "plan",
    (),
    USE,
)
FRAMES = (Frame(8, "p8", (Define(TABLE), Put("quotes", ROWS))), Frame(9, "p9", (Put("quotes", ROWS),)))

CALLS = {
    "catalog": [
        (
            "save_query",
            (QueryDraft(FORM, "select 1", ("quotes",), "q", ("user_id",), "indexed", NOTES),),
            {},
            QUERY,
        ),
        ("save_etl", (EtlDraft("qry_1", SCRIPT, SCHEMA, "e", ("user_id",), "indexed", NOTES),), {}, ETL),
        ("save_report", ("etl_1", KEPT), {}, None),
        ("get_query", ("qry_1",), {}, QUERY),
        ("get_etl", ("etl_1",), {}, ETL),
        ("name_versions", (Kind.ETL, "e"), {}, ("etl_1", "etl_2")),
        ("list_queries", (10, "token"), {}, ((QUERY,), "next")),
        ("list_etls", (10, ""), {}, ((ETL,), "")),
        ("status", (), {}, CatalogStatus(1, 2, "sqlite")),
    ],
    "realtime": [
        ("create_table", (TABLE,), {}, TABLE_INFO),
        ("drop_table", ("quotes",), {}, VERSION),
        (
            "publish",
            (
                "p1",
                [TableRows("a", table_to_stream(ROWS), ("user_id",), "at"), TableRows("b", b"", None, None)],
            ),
            {},
            Published(2, VERSION),
        ),
        ("delete", ("p2", "quotes", KEYS), {}, Published(3, VERSION)),
        ("delete", ("p3", "quotes", table_to_stream(ROWS)), {}, Published(2, VERSION)),
        ("get_table", ("quotes",), {}, TABLE_INFO),
        ("list_tables", (), {}, (TABLE_INFO,)),
        ("describe", ("SELECT 1",), {}, COLUMNS),
        ("query", ("qry_1", FORM, KEYS, AnswerFormat.ARROW), {}, ARROW_ANSWER),
        ("query", ("qry_1", FORM, KEYS, AnswerFormat.ROWS), {}, ROWS_ANSWER),
        ("explain", ("qry_1", FORM, ("user_id",)), {}, EXPLANATION),
        ("declare", ("qry_1", FORM, ("user_id",)), {}, EXPLANATION),
        ("sample_keys", (FORM, ("user_id",), 5), {}, ROWS),
        ("version", (), {}, VERSION),
        (
            "warm",
            ("qry_1", FORM, ("user_id",), KEYS),
            {"keep": True, "answer_format": AnswerFormat.ROWS},
            Warmed(5, 1, 2, 3, 4),
        ),
        (
            "warm",
            ("qry_1", FORM, ("user_id",), None),
            {"keep": None, "answer_format": AnswerFormat.ARROW},
            Warmed(),
        ),
        (
            "warm",
            ("qry_1", FORM, ("user_id",), None),
            {"keep": False, "answer_format": AnswerFormat.ARROW},
            Warmed(),
        ),
        (
            "status",
            (),
            {},
            RealtimeStatus(
                VERSION,
                1,
                3,
                writable=False,
                not_writable_because="disk",
                cache=CacheReport(1, 2, 3, 4, 5, 6, (USE,)),
            ),
        ),
    ],
    "extraction": [
        ("describe", ("SELECT 1", VERSION), {}, COLUMNS),
        ("run_etl", (RUN, ARROW_ANSWER, AnswerFormat.ROWS), {}, ROWS_ANSWER),
        ("verify", ("qry_1", FORM, RUN, ("user_id",), 10), {"exact": True}, REPORT),
        ("verify", ("qry_1", FORM, None, ("user_id",), 10), {"exact": False}, REPORT),
        (
            "status",
            (),
            {},
            ExtractionStatus(VERSION, 2, following=True, last_error="", etls_refused="no Landlock"),
        ),
    ],
}
STREAM_CALLS = [
    ("query_train", (FORM, VERSION), {"head_only": False}),
    ("extract_train", (FORM, VERSION, RUN), {"pin": False, "index_key": ()}),
    (
        "extract_train",
        (FORM, VERSION, EtlSource(address="git+https://host/r#e.py")),
        {"pin": True, "index_key": ("user_id", "at")},
    ),
    (
        "extract_train",
        (FORM, VERSION, EtlSource(local_path="/e.py", text="x", neighbours=(("a.py", "y"),))),
        {"pin": True, "index_key": ("user_id",)},
    ),
]
UNARY = [(service, *call) for service, calls in CALLS.items() for call in calls]
UNARY_IDS = [f"{service}.{name}" for service, name, *_ in UNARY]
