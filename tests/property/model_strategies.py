"""Strategies for what the model can say."""

from datetime import UTC

import pyarrow as pa
from hypothesis import strategies as st

from featurestore.model.etl import Declarations, EtlSource, PinnedScript, Provenance
from featurestore.model.query import Column, Notes, OrderTerm, QueryForm, Warned
from featurestore.model.serving import (
    AnswerInfo,
    EtlRun,
    KeyAnswer,
    Keys,
    LibraryDifference,
    Outcome,
)
from featurestore.model.table import (
    Define,
    Drop,
    Put,
    Remove,
    TableDefinition,
    Version,
)
from featurestore.model.verifying import Difference, KeptReport, VerifyReport
from featurestore.model.warming import CacheUse, KeptUp

TEXT = st.text(max_size=12)
NAME = st.text(min_size=1, max_size=8)
COUNT = st.integers(0, 2**62)
INT32 = st.integers(0, 2**31 - 1)
BYTES = st.binary(max_size=20)
LABELS = st.dictionaries(TEXT, TEXT, max_size=3)
MOMENT = st.datetimes(timezones=st.just(UTC))


def tuples(elements: st.SearchStrategy, **sizes) -> st.SearchStrategy:
    return st.lists(elements, max_size=sizes.pop("max_size", 3), **sizes).map(tuple)


TYPE = st.sampled_from(
    [
        pa.bool_(),
        pa.int8(),
        pa.int64(),
        pa.uint64(),
        pa.float64(),
        pa.decimal128(38, 2),
        pa.string(),
        pa.binary(),
        pa.timestamp("us"),
        pa.timestamp("ns", "UTC"),
        pa.date32(),
        pa.time64("us"),
        pa.duration("us"),
        pa.list_(pa.int64()),
        pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))]),
    ]
)
SCHEMA = st.lists(st.tuples(NAME, TYPE), min_size=1, max_size=4, unique_by=lambda pair: pair[0]).map(
    lambda pairs: pa.schema([pa.field(name, kind) for name, kind in pairs])
)
VERSION = st.builds(Version, TEXT, COUNT)
COLUMNS = tuples(st.builds(Column, NAME, TYPE, TEXT), min_size=1)
FORM = st.builds(QueryForm, TEXT, COLUMNS, tuples(st.builds(OrderTerm, TEXT, st.booleans(), st.booleans())))
REPORT = st.builds(
    VerifyReport,
    COUNT,
    COUNT,
    COUNT,
    tuples(st.builds(Difference, TEXT, TEXT, TEXT, TEXT, TEXT)),
    VERSION,
    tuples(TEXT),
    st.booleans(),
    COUNT,
    COUNT,
    st.floats(0, allow_nan=False),
)
KEPT = st.builds(KeptReport, tuples(TEXT), REPORT, MOMENT)
NOTES = st.builds(Notes, TEXT, TEXT, LABELS)
WARNINGS = tuples(st.builds(Warned, TEXT, TEXT))
PROVENANCE = st.builds(Provenance, TEXT, TEXT, TEXT, TEXT, LABELS)
NEIGHBOURS = tuples(st.tuples(TEXT, TEXT))
DECLARED = st.builds(
    Declarations,
    st.sampled_from(["rows", "key", "frame"]),
    st.booleans(),
    st.sampled_from(["pandas", "arrow", "polars", "sql"]),
)
SCRIPT = st.builds(PinnedScript, TEXT, PROVENANCE, NEIGHBOURS, DECLARED)
INFO = st.builds(
    AnswerInfo,
    TEXT,
    VERSION,
    TEXT,
    TEXT,
    TEXT,
    st.booleans(),
    st.booleans(),
    tuples(st.builds(LibraryDifference, TEXT, TEXT, TEXT)),
)
CACHE_USE = st.builds(
    CacheUse,
    TEXT,
    tuples(TEXT),
    st.sampled_from(KeptUp),
    COUNT,
    COUNT,
    COUNT,
    COUNT,
    st.floats(0, allow_infinity=False),
)
KEY_ANSWER = st.builds(KeyAnswer, st.sampled_from(Outcome), COUNT)
BESIDE = st.lists(st.tuples(NAME, TEXT), max_size=2).map(tuple)
SOURCE = st.builds(EtlSource, address=NAME) | st.builds(
    EtlSource, local_path=NAME, text=TEXT, neighbours=BESIDE
)
RUN = st.builds(EtlRun, TEXT, TEXT, SCRIPT, COLUMNS, SCHEMA)
DEFINITION = st.builds(TableDefinition, TEXT, SCHEMA, tuples(TEXT), st.none() | NAME)
ROWS = st.lists(st.integers(0, 9), max_size=3).map(
    lambda values: pa.table({"a": values}, pa.schema([("a", pa.int64())]))
)
OPERATION = st.one_of(
    st.builds(Define, DEFINITION),
    st.builds(Drop, TEXT),
    st.builds(Put, TEXT, ROWS),
    st.builds(Remove, TEXT, ROWS),
)
SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False, allow_infinity=False, places=4),
    TEXT,
    BYTES,
    MOMENT,
    st.dates(),
    st.times(),
    st.timedeltas(),
)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
KEYS = st.builds(Keys, tuples(TEXT), tuples(tuples(SCALAR)))
