import pyarrow as pa
import pytest

from featurestore.engine import order, profile
from featurestore.engine.describe import describe
from featurestore.engine.sql_check import parse
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import OrderTerm


@pytest.fixture(scope="module")
def engine():
    with profile.connect(threads=2, memory_limit="500MB") as connection:
        connection.execute(
            "CREATE TABLE feature_store.quotes (user_id INTEGER, amount DOUBLE, seen TIMESTAMP)"
        )
        connection.execute("CREATE TABLE feature_store.users (user_id INTEGER, name VARCHAR)")
        yield connection


def described(engine, sql):
    return describe(engine.cursor(), parse(sql).sql)


@pytest.mark.parametrize(
    ("expression", "engine_type", "leaves_as"),
    [
        ("true", "BOOLEAN", pa.bool_()),
        ("1::TINYINT", "TINYINT", pa.int8()),
        ("1::USMALLINT", "USMALLINT", pa.uint16()),
        ("1", "INTEGER", pa.int32()),
        ("1::UBIGINT", "UBIGINT", pa.uint64()),
        ("sum(1)", "HUGEINT", pa.int64()),
        ("1::UHUGEINT", "UHUGEINT", pa.int64()),
        ("1::FLOAT", "FLOAT", pa.float32()),
        ("1 / 2", "DOUBLE", pa.float64()),
        ("1.50", "DECIMAL(3,2)", pa.decimal128(3, 2)),
        ("'a'", "VARCHAR", pa.string()),
        ("'a'::ENUM('a', 'b')", "ENUM('a', 'b')", pa.string()),
        ("'{}'::JSON", "JSON", pa.string()),
        ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID", "UUID", pa.string()),
        ("'a'::BLOB", "BLOB", pa.binary()),
        ("DATE '2024-02-29'", "DATE", pa.date32()),
        ("TIME '12:00'", "TIME", pa.time64("us")),
        ("TIMESTAMP '2024-02-29'", "TIMESTAMP", pa.timestamp("us")),
        ("TIMESTAMP '2024-02-29'::TIMESTAMP_S", "TIMESTAMP_S", pa.timestamp("s")),
        ("TIMESTAMP '2024-02-29'::TIMESTAMP_MS", "TIMESTAMP_MS", pa.timestamp("ms")),
        ("TIMESTAMP '2024-02-29'::TIMESTAMP_NS", "TIMESTAMP_NS", pa.timestamp("ns")),
        ("TIMESTAMPTZ '2024-02-29'", "TIMESTAMP WITH TIME ZONE", pa.timestamp("us", "UTC")),
        ("INTERVAL 1 DAY", "INTERVAL", pa.duration("us")),
        ("NULL", "INTEGER", pa.int32()),
        ("[1, NULL]", "INTEGER[]", pa.list_(pa.int32())),
        ("[1]::INTEGER[1]", "INTEGER[1]", pa.list_(pa.int32())),
        (
            "{'a': [sum(1)], 'b c': 'x'}",
            'STRUCT(a HUGEINT[], "b c" VARCHAR)',
            pa.struct([("a", pa.list_(pa.int64())), ("b c", pa.string())]),
        ),
    ],
)
def test_each_engine_type_leaves_as_one_arrow_type(engine, expression, engine_type, leaves_as):
    (column,) = described(engine, f"SELECT {expression} AS x")
    assert (column.name, column.engine_type, column.type) == ("x", engine_type, leaves_as)
    assert str(column.type) == str(leaves_as)


@pytest.mark.parametrize(
    "expression",
    [
        "MAP {1: 2}",
        "1::UNION(a INTEGER)",
        "'101'::BIT",
        "TIME '12:00'::TIME WITH TIME ZONE",
        "TIME '12:00'::TIME_NS",
        "1::VARIANT",
        "1::BIGNUM",
        "[INTERVAL 1 DAY]",
        "[MAP {1: 2}]",
        "{'a': {'b': '1'::BIT}}",
        "(1, 2)",
    ],
)
def test_a_type_that_cannot_leave_is_refused_by_name(engine, expression):
    with pytest.raises(InvalidArgument) as refused:
        described(engine, f"SELECT 1 AS a, {expression} AS odd")
    assert refused.value.reason == "UNSUPPORTED_TYPE"
    assert refused.value.details["column"] == "odd"
    assert refused.value.details["position"] == "2"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM feature_store.quotes JOIN feature_store.users ON quotes.user_id = users.user_id",
        "SELECT 1 AS a, 2 AS A",
        "SELECT user_id, user_id FROM feature_store.users",
    ],
)
def test_two_columns_of_one_name_are_refused(engine, sql):
    with pytest.raises(InvalidArgument) as refused:
        described(engine, sql)
    assert refused.value.reason == "DUPLICATE_COLUMN"


def test_a_join_using_its_key_has_each_column_once(engine):
    columns = described(engine, "SELECT * FROM feature_store.quotes JOIN feature_store.users USING (user_id)")
    assert [column.name for column in columns] == ["user_id", "amount", "seen", "name"]


@pytest.mark.parametrize(
    ("sql", "reason", "names", "place"),
    [
        ("SELECT usr_id FROM feature_store.quotes", "UNKNOWN_COLUMN", ("usr_id", "user_id"), ("1", "8")),
        (
            "SELECT 'ä',\n  q.usr FROM feature_store.quotes q",
            "UNKNOWN_COLUMN",
            ("usr", "user_id"),
            ("2", "3"),
        ),
        ("SELECT * FROM feature_store.quots", "UNKNOWN_TABLE", ("quots", "quotes"), ("1", "15")),
        ("SELECT x.user_id FROM feature_store.quotes q", "UNKNOWN_TABLE", ("x", "q"), ("1", "8")),
        ("SELECT abs('a'::VARCHAR)", "SQL_BIND", ("abs(VARCHAR)",), ("1", "8")),
        ("SELECT user_id, sum(amount) FROM feature_store.quotes", "SQL_BIND", ("GROUP BY",), ("1", "8")),
        ("SELECT 1::mytype", "SQL_BIND", ("mytype",), ("1", "11")),
        ("SELECT * FROM feature_store.quotes ORDER BY 9", "SQL_BIND", ("ORDER",), None),
    ],
)
def test_what_does_not_bind_is_named_with_its_place(engine, sql, reason, names, place):
    with pytest.raises(InvalidArgument) as refused:
        described(engine, sql)
    assert refused.value.reason == reason
    assert all(name in refused.value.message for name in names)
    assert "exception_type" not in refused.value.message
    if place is not None:
        assert (refused.value.details["line"], refused.value.details["character"]) == place


def test_tables_of_the_engine_itself_are_no_candidates(engine):
    with pytest.raises(InvalidArgument) as refused:
        described(engine, "SELECT * FROM feature_store.pg_tabel")
    assert "pg_table" not in refused.value.message


@pytest.mark.parametrize(
    ("clause", "wanted"),
    [
        ("", ()),
        ("ORDER BY amount", (OrderTerm("amount", descending=False, nulls_first=False),)),
        ("ORDER BY AMOUNT DESC", (OrderTerm("amount", descending=True, nulls_first=False),)),
        (
            "ORDER BY 2 DESC NULLS FIRST, user_id",
            (
                OrderTerm("amount", descending=True, nulls_first=True),
                OrderTerm("user_id", descending=False, nulls_first=False),
            ),
        ),
        (
            "ORDER BY ALL DESC",
            (
                OrderTerm("user_id", descending=True, nulls_first=False),
                OrderTerm("amount", descending=True, nulls_first=False),
            ),
        ),
    ],
)
def test_an_order_by_output_columns_is_kept(engine, clause, wanted):
    checked = parse(f"SELECT user_id, amount FROM feature_store.quotes {clause}")
    assert order.terms(checked.order, describe(engine.cursor(), checked.sql)) == (wanted, ())


@pytest.mark.parametrize("clause", ["amount + 1", "seen", "quotes.amount", "user_id, -amount", "lower('a')"])
def test_an_order_by_anything_else_is_warned_of_and_not_refused(engine, clause):
    checked = parse(f"SELECT user_id, amount FROM feature_store.quotes ORDER BY {clause}")
    kept, warnings = order.terms(checked.order, describe(engine.cursor(), checked.sql))
    assert kept == ()
    assert [warning.reason for warning in warnings] == ["ORDER_NOT_KEPT"]
