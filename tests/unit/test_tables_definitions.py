"""What may be defined as a table, and what counts as the same table."""

import pyarrow as pa
import pytest

from featurestore.engine.column_types import duckdb_type, exactly_castable, storage_type
from featurestore.engine.tables import altered, checked
from featurestore.model.errors import AlreadyExists, InvalidArgument
from featurestore.model.table import TableDefinition


def defined(columns, key=(), event_time=None, name="quotes"):
    return TableDefinition(name, pa.schema(columns), key, event_time)


def refusal(definition):
    with pytest.raises(InvalidArgument) as caught:
        checked(definition)
    return caught.value


def test_a_definition_is_stored_in_plain_types_with_keys_not_nullable_and_no_metadata():
    schema = pa.schema(
        [
            ("id", pa.large_string()),
            ("kind", pa.dictionary(pa.int8(), pa.string())),
            ("at", pa.timestamp("ns", "Europe/Berlin")),
            ("tags", pa.large_list(pa.field("tag", pa.string_view(), nullable=False))),
        ],
        metadata={"pandas": "{}"},
    )

    stored = checked(TableDefinition("quotes", schema, ("id",), "at")).schema

    assert stored.equals(
        pa.schema(
            [
                pa.field("id", pa.string(), nullable=False),
                ("kind", pa.string()),
                ("at", pa.timestamp("us", "UTC")),
                ("tags", pa.list_(pa.string())),
            ]
        ),
        check_metadata=True,
    )


@pytest.mark.parametrize("name", ["", "1a", "a b", "a-b", 'a"b', "ä", "__fs_x", "__FS", "a" * 129])
def test_a_name_outside_the_grammar_is_refused_for_table_and_column(name):
    assert refusal(defined([("a", pa.int64())], name=name)).reason == "BAD_NAME"
    error = refusal(defined([(name, pa.int64())]))
    assert (error.reason, error.details["name"]) == ("BAD_NAME", name)


@pytest.mark.parametrize(
    "type_",
    [
        pa.null(),
        pa.map_(pa.string(), pa.int64()),
        pa.month_day_nano_interval(),
        pa.decimal256(50, 2),
        pa.decimal128(5, -1),
        pa.list_(pa.null()),
        pa.struct([]),
        pa.uuid(),
        pa.dense_union([pa.field("a", pa.int64())]),
    ],
)
def test_an_unsupported_type_is_refused_by_name_with_all_its_columns(type_):
    error = refusal(defined([("a", type_), ("b", pa.int64()), ("c", type_)]))
    assert error.reason == "UNSUPPORTED_TYPE"
    assert error.details["columns"] == "a, c"
    assert f"a ({type_})" in error.message


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (defined([]), "no columns"),
        (defined([("a", pa.int64()), ("A", pa.int64())]), "twice"),
        (defined([("a", pa.int64())], key=("b",)), "'b'"),
        (defined([("a", pa.int64())], key=("a", "a")), "twice"),
        (defined([("a", pa.int64())], event_time="b"), "'b'"),
        (defined([("a", pa.int64())], event_time="a"), "int64"),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused_and_says_how(definition, words):
    error = refusal(definition)
    assert error.reason == "BAD_TABLE"
    assert words in error.message


@pytest.mark.parametrize("type_", [pa.float64(), pa.list_(pa.int64()), pa.duration("us"), pa.time64("us")])
def test_a_key_column_needs_a_type_whose_equality_is_identity(type_):
    error = refusal(defined([("a", type_)], key=("a",)))
    assert (error.reason, error.details["column"]) == ("UNSUPPORTED_TYPE", "a")


def test_a_superset_with_nullable_additions_alters_and_adds_them_behind():
    old = checked(defined([("id", pa.int64()), ("v", pa.string())], key=("id",)))
    new = checked(defined([("w", pa.float64()), ("v", pa.string()), ("id", pa.int64())], key=("id",)))
    assert altered(old, new).schema.names == ["id", "v", "w"]
    assert altered(old, old) is old


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (defined([("id", pa.int64())], key=("id",)), "it has a column v"),
        (defined([("id", pa.int64()), ("v", pa.int64())], key=("id",)), "column v is string, not int64"),
        (defined([("id", pa.int64()), ("v", pa.string())]), "primary key is (id), not none"),
        (
            defined([("id", pa.int64()), ("v", pa.string()), ("t", pa.date32())], ("id",), "t"),
            "event time is none, not t",
        ),
        (
            defined(
                [("id", pa.int64()), ("v", pa.string()), pa.field("n", pa.int64(), nullable=False)], ("id",)
            ),
            "column n would be new and is not nullable",
        ),
        (defined([("id", pa.int64()), pa.field("v", pa.string(), nullable=False)], key=("id",)), "not null"),
        (defined([("id", pa.int64()), ("V", pa.string())], key=("id",)), "spelled in other cases"),
    ],
)
def test_another_definition_is_refused_and_says_what_differs(other, words):
    old = checked(defined([("id", pa.int64()), ("v", pa.string())], key=("id",)))
    with pytest.raises(AlreadyExists) as caught:
        altered(old, checked(other))
    assert caught.value.reason == "TABLE_DEFINED_OTHERWISE"
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("source", "stored", "exact"),
    [
        (pa.null(), pa.list_(pa.int64()), True),
        (pa.int32(), pa.int64(), True),
        (pa.uint32(), pa.int64(), True),
        (pa.uint64(), pa.int64(), False),
        (pa.int64(), pa.int32(), False),
        (pa.int8(), pa.uint64(), False),
        (pa.int64(), pa.float64(), False),
        (pa.float64(), pa.int64(), False),
        (pa.float32(), pa.float64(), True),
        (pa.float64(), pa.float32(), False),
        (pa.float16(), pa.float32(), True),
        (pa.bool_(), pa.int64(), False),
        (pa.large_string(), pa.string(), True),
        (pa.string_view(), pa.string(), True),
        (pa.dictionary(pa.int32(), pa.large_string()), pa.string(), True),
        (pa.dictionary(pa.int32(), pa.int32()), pa.int64(), True),
        (pa.string(), pa.binary(), False),
        (pa.timestamp("s"), pa.timestamp("us"), True),
        (pa.timestamp("ns"), pa.timestamp("us"), False),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), False),
        (pa.timestamp("us", "UTC"), pa.timestamp("us"), False),
        (pa.timestamp("s", "America/Lima"), pa.timestamp("us", "UTC"), True),
        (pa.decimal128(5, 2), pa.decimal128(10, 4), True),
        (pa.decimal128(5, 2), pa.decimal128(6, 4), False),
        (pa.decimal128(5, 2), pa.decimal128(10, 1), False),
        (pa.date32(), pa.timestamp("us"), False),
        (pa.list_(pa.int32()), pa.list_(pa.int64()), True),
        (pa.list_(pa.int64()), pa.list_(pa.int32()), False),
        (pa.struct([("a", pa.int32())]), pa.struct([("a", pa.int64())]), True),
        (pa.struct([("b", pa.int32())]), pa.struct([("a", pa.int64())]), False),
    ],
)
def test_which_casts_are_exact_follows_from_the_types(source, stored, exact):
    assert exactly_castable(source, stored) is exact


def test_every_storage_type_is_its_own_storage_type_and_has_an_engine_type():
    for type_ in (
        pa.list_(pa.struct([("a b", pa.decimal128(38, 5))])),
        pa.timestamp("ns"),
        pa.duration("us"),
    ):
        assert storage_type(type_) == type_
        assert duckdb_type(type_)
