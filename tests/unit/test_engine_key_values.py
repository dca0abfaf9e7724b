from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pytest

from featurestore.engine.key_values import check_key_columns, convert, convert_keys
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import Keys

NOON = datetime(2024, 2, 29, 12)  # noqa: DTZ001 - a TIMESTAMP has no zone
ZONED = NOON.replace(tzinfo=UTC)
ID = UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")


def column(engine_type, name="k"):
    return Column(name, pa.null(), engine_type)


TAKEN = [
    ("BOOLEAN", True, True),
    ("BOOLEAN", "false", False),
    ("INTEGER", 15, 15),
    ("INTEGER", 15.0, 15),
    ("INTEGER", Decimal("15.00"), 15),
    ("INTEGER", "-15", -15),
    ("TINYINT", -128, -128),
    ("UBIGINT", 2**64 - 1, 2**64 - 1),
    ("HUGEINT", str(-(2**127)), -(2**127)),
    ("DECIMAL(10,2)", "1.5", Decimal("1.50")),
    ("DECIMAL(10,2)", Decimal("1.5000"), Decimal("1.50")),
    ("DECIMAL(10,2)", 3, Decimal("3.00")),
    ("DECIMAL(10,2)", 0.25, Decimal("0.25")),
    ("DECIMAL(10,2)", "-0.00", Decimal("0.00")),
    ("DECIMAL(38,0)", "9" * 38, Decimal("9" * 38)),
    ("DECIMAL(2,2)", "0.99", Decimal("0.99")),
    ("VARCHAR", "", ""),
    ("VARCHAR", " 1'\0ä", " 1'\0ä"),
    ("DATE", date(2024, 2, 29), date(2024, 2, 29)),
    ("DATE", "2024-02-29", date(2024, 2, 29)),
    ("TIMESTAMP", NOON, NOON),
    ("TIMESTAMP", ZONED, NOON),  # so a TIMESTAMP travels on the wire
    ("TIMESTAMP", "2024-02-29T12:00:00", NOON),
    ("TIMESTAMP", "2024-02-29 12:00:00.000001", NOON.replace(microsecond=1)),
    ("TIMESTAMP_S", NOON, NOON),
    ("TIMESTAMP_MS", NOON.replace(microsecond=1000), NOON.replace(microsecond=1000)),
    ("TIMESTAMP_NS", NOON.replace(microsecond=1), NOON.replace(microsecond=1)),
    ("TIMESTAMP WITH TIME ZONE", ZONED, ZONED),
    ("TIMESTAMP WITH TIME ZONE", ZONED.astimezone(timezone(timedelta(hours=9))), ZONED),
    ("TIMESTAMP WITH TIME ZONE", "2024-02-29T21:00:00+09:00", ZONED),
    ("TIMESTAMP WITH TIME ZONE", "2024-02-29T12:00:00Z", ZONED),
    ("UUID", ID, str(ID)),
    ("UUID", str(ID), str(ID)),
    ("BLOB", b"\0\xff", b"\0\xff"),
    ("BLOB", bytearray(b"a"), b"a"),
]


@pytest.mark.parametrize(("type_", "value", "wanted"), TAKEN)
def test_a_value_that_the_type_holds_exactly_is_taken(type_, value, wanted):
    converted = convert(value, column(type_))
    assert converted == wanted
    assert type(converted) is type(wanted)
    assert str(converted) == str(wanted)


REFUSED = [
    *(("BOOLEAN", value) for value in (1, 0.0, "True", "1", "t", "", b"true")),
    *(
        ("INTEGER", value)
        for value in (
            *(
                "1.5",
                " 1",
                "1 ",
                "+1",
                "01",
                "-",
                "",
                "0x1",
                "1e3",
                "1_000",
                "\uff11",
                "1\n",
                "true",
                "9" * 5000,
            ),
            *(
                1.5,
                True,
                False,
                float("nan"),
                float("inf"),
                Decimal("NaN"),
                Decimal("1E+5000"),
                2**31,
                -(2**31) - 1,
            ),
            *("2147483648", 10**4000, b"1", [1], date(2024, 2, 29), ID),
        )
    ),
    ("UTINYINT", -1),
    ("UTINYINT", 256),
    ("HUGEINT", 2**127),
    *(
        ("DECIMAL(10,2)", value)
        for value in (
            *("1.500", "1.", ".5", "1e2", "1,5", "NaN", "Infinity", " 1", "123456789", "9" * 5000),
            *(0.1, 1.005, float("inf"), Decimal("1.005"), Decimal("sNaN"), Decimal(100000000), True, 10**8),
        )
    ),
    ("DECIMAL(2,2)", 1),
    ("VARCHAR", 1),
    ("VARCHAR", b"a"),
    ("VARCHAR", "\ud800"),
    *(
        ("DATE", value)
        for value in (
            "2023-02-29",
            "2024-2-9",
            "20240229",
            "2024-02-29T00:00:00",
            "infinity",
            "today",
            NOON,
            1,
            "",
        )
    ),
    *(
        ("TIMESTAMP", value)
        for value in (
            *(
                "2024-02-29",
                "2024-02-29T12:00",
                "2024-02-29T12:00:00Z",
                "2024-02-29T25:00:00",
                "infinity",
                "now",
            ),
            *(
                "2024-02-29T12:00:00.0000001",
                date(2024, 2, 29),
                1709208000,
                ZONED.astimezone(timezone(timedelta(hours=9))),
            ),
        )
    ),
    ("TIMESTAMP_S", NOON.replace(microsecond=1)),
    ("TIMESTAMP_MS", NOON.replace(microsecond=1)),
    ("TIMESTAMP_NS", NOON.replace(year=1600)),
    ("TIMESTAMP WITH TIME ZONE", NOON),
    ("TIMESTAMP WITH TIME ZONE", "2024-02-29T12:00:00"),
    ("TIMESTAMP WITH TIME ZONE", datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))),
    ("UUID", str(ID).upper()),
    ("UUID", "{" + str(ID) + "}"),
    ("UUID", ID.hex),
    ("UUID", ID.int),
    ("BLOB", "a"),
    ("BLOB", 1),
]


@pytest.mark.parametrize(("type_", "value"), REFUSED)
def test_a_value_that_conversion_would_change_is_refused(type_, value):
    with pytest.raises(InvalidArgument) as refused:
        convert(value, column(type_, "user_id"), position=7)
    assert refused.value.reason == "KEY_VALUE"
    assert refused.value.details["column"] == "user_id"
    assert refused.value.details["position"] == "7"
    assert type(value).__name__ in refused.value.message


def test_a_time_finer_than_microseconds_is_refused_not_cut():
    pandas = pytest.importorskip("pandas")
    assert convert(pandas.Timestamp("2024-02-29 12:00:00"), column("TIMESTAMP")) == NOON
    for type_ in ("TIMESTAMP", "TIMESTAMP_NS"):
        with pytest.raises(InvalidArgument):
            convert(pandas.Timestamp("2024-02-29 12:00:00.000000001"), column(type_))


@pytest.mark.parametrize(
    "type_",
    ["DOUBLE", "FLOAT", "TIME", "INTERVAL", "INTEGER[]", "STRUCT(a INTEGER)", "JSON", "ENUM('a', 'b')"],
)
def test_a_type_whose_equality_is_not_identity_is_no_key(type_):
    with pytest.raises(InvalidArgument) as refused:
        convert("1", column(type_))
    assert refused.value.reason == "KEY_TYPE"
    assert refused.value.details["type"] == type_


def test_null_is_refused():
    with pytest.raises(InvalidArgument) as refused:
        convert(None, column("INTEGER"))
    assert refused.value.reason == "KEY_NULL"


FORM = QueryForm("SELECT 1", (column("INTEGER", "a"), column("VARCHAR", "b"), column("DOUBLE", "x")))


@pytest.mark.parametrize(
    ("columns", "tuples", "reason"),
    [
        (("a",), (), "KEYS_EMPTY"),
        (("a",), ((1,),) * 10_001, "KEYS_TOO_MANY"),
        (("a",), ((1, 2),), "KEY_WIDTH"),
        (("a", "b"), ((1, "x"), (1,)), "KEY_WIDTH"),
        (("a", "b"), ((1, "x"), (1, 2)), "KEY_VALUE"),
        (("a",), ((None,),), "KEY_NULL"),
        (("c",), ((1,),), "UNKNOWN_KEY_COLUMN"),
        ((), ((1,),), "UNKNOWN_KEY_COLUMN"),
        (("a", "a"), ((1, 1),), "KEY_COLUMN_TWICE"),
        (("x",), ((1.0,),), "KEY_TYPE"),
    ],
)
def test_keys_that_can_not_be_asked_for_are_refused(columns, tuples, reason):
    with pytest.raises(InvalidArgument) as refused:
        convert_keys(FORM, Keys(columns, tuples))
    assert refused.value.reason == reason


def test_an_unknown_key_column_lists_the_columns():
    with pytest.raises(InvalidArgument, match="a, b, x"):
        check_key_columns(FORM, ["user_id"])


def test_keys_keep_their_order_and_duplicates():
    keys = convert_keys(FORM, Keys(("b", "a"), (("x", "2"), ("y", 1.0), ("x", 2))))
    assert [each.name for each in keys.columns] == ["b", "a"]
    assert keys.tuples == (("x", 2), ("y", 1), ("x", 2))


def test_ten_thousand_keys_are_taken():
    assert len(convert_keys(FORM, Keys(("a",), tuple((i,) for i in range(10_000)))).tuples) == 10_000
