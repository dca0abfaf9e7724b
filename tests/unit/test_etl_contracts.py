"""Contracts compared, and types read from their text."""

import json

import pyarrow as pa
import pytest

from featurestore.etl.type_text import parse_type
from featurestore.model.errors import FailedPrecondition
from services.extraction import contracts

CONTRACT = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.float64())])


def differing(schema):
    with pytest.raises(FailedPrecondition) as caught:
        contracts.check(schema, CONTRACT)
    assert caught.value.reason == "CONTRACT_BROKEN"
    found = json.loads(caught.value.details["differences"])
    assert all(each["column"] in caught.value.message for each in found)
    return {(each["column"], each["kind"], each["expected"], each["found"]) for each in found}


def test_nullability_and_metadata_do_not_count():
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False), *list(CONTRACT)[1:]], metadata={"k": "v"})
    contracts.check(schema, CONTRACT)


def test_names_inside_nested_types_count():
    lists = pa.schema([("x", pa.list_(pa.field("l", pa.int64())))])
    contracts.check(lists, lists)
    with pytest.raises(FailedPrecondition, match="list<l: int64>, the contract says list<item: int64>"):
        contracts.check(lists, pa.schema([("x", pa.list_(pa.int64()))]))


def test_missing_unexpected_and_wrong_columns_are_all_listed():
    assert differing(pa.schema([("a", pa.int32()), ("c", pa.float64()), ("d", pa.bool_())])) == {
        ("a", "type", "int64", "int32"),
        ("b", "missing", "string", ""),
        ("d", "unexpected", "", "bool"),
    }


def test_a_moved_column_is_named_with_both_positions():
    assert differing(pa.schema([CONTRACT.field("b"), CONTRACT.field("a"), CONTRACT.field("c")])) == {
        ("a", "order", "1", "2"),
        ("b", "order", "2", "1"),
    }


def test_a_column_that_is_there_twice_is_unexpected():
    assert ("a", "unexpected", "", "int64") in differing(pa.schema([*CONTRACT, CONTRACT.field("a")]))


def test_undecided_columns_are_named():
    contracts.require_decided(())
    with pytest.raises(FailedPrecondition, match="'x', 'y'") as caught:
        contracts.require_decided(("x", "y"))
    assert caught.value.reason == "CONTRACT_UNDECIDED"


@pytest.mark.parametrize(
    "kind",
    [
        pa.int64(),
        pa.uint8(),
        pa.float64(),
        pa.float32(),
        pa.bool_(),
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.date32(),
        pa.time64("us"),
        pa.time32("s"),
        pa.timestamp("ns"),
        pa.timestamp("us", "Europe/Berlin"),
        pa.duration("us"),
        pa.decimal128(38, 2),
        pa.decimal256(50, 3),
        pa.list_(pa.int64()),
        pa.large_list(pa.string()),
        pa.list_(pa.struct([("a b", pa.decimal128(10, 2)), ("c", pa.list_(pa.bool_()))])),
    ],
    ids=str,
)
def test_a_type_is_read_back_from_its_text(kind):
    assert parse_type(str(kind)) == kind


def test_a_lists_element_needs_no_name():
    assert parse_type("list<duration[us]>") == pa.list_(pa.duration("us"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "integer",
        "int64 x",
        "list<>",
        "list<int64",
        "list<a: int64, b: int64>",
        "struct<int64>",
        "timestamp[h]",
    ],
)
def test_a_text_that_is_no_type_is_refused(text):
    with pytest.raises(ValueError, match="no Arrow type"):
        parse_type(text)
