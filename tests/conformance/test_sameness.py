"""One promise in many dresses: what training shows for a key is what serving answers for it, asked alone or with others."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from featurestore.api.common.v1 import common_pb2 as common
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.client.results import Served
from featurestore.client.sync import Store
from featurestore.rpc.rows import decode_rows
from tests.conformance.world import World

UTC = dt.UTC
TYPES = {
    "id": pa.int64(),
    "total": pa.int64(),  # a HUGEINT inside
    "took": pa.duration("us"),  # an INTERVAL inside
    "price": pa.decimal128(12, 3),
    "ticket": pa.string(),  # a UUID inside
    "day": pa.date32(),
    "moment": pa.timestamp("us", tz="UTC"),
    "n": pa.int64(),
    "flag": pa.bool_(),
    "ratio": pa.float64(),
    "raw": pa.binary(),
    "both": pa.list_(pa.int64()),
    "pair": pa.struct([("a", pa.int64()), ("b", pa.string())]),
}


def things() -> pa.Table:
    """Rows of every kind; one has nulls wherever they may be."""
    start = dt.datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    rows: list[dict[str, Any]] = [
        {
            "id": number,
            "n": number * 10,
            "price": Decimal(number) / 8,
            "ticket": f"00000000-0000-4000-8000-{number:012d}",
            "day": dt.date(2024, 2, 29),
            "moment": start + dt.timedelta(hours=number, microseconds=number),
            "since": start,
            "flag": number % 2 == 0,
            "ratio": number / 8,
            "raw": bytes([number, 0, 255]),
            "text": f"naïve {number}",
        }
        for number in range(1, 6)
    ]
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("n", pa.int64()),
            ("price", pa.decimal128(12, 3)),
            ("ticket", pa.string()),
            ("day", pa.date32()),
            ("moment", pa.timestamp("us", tz="UTC")),
            ("since", pa.timestamp("us", tz="UTC")),
            ("flag", pa.bool_()),
            ("ratio", pa.float64()),
            ("raw", pa.binary()),
            ("text", pa.string()),
        ]
    )
    return pa.Table.from_pylist([*rows, {"id": 6}], schema)


@pytest.fixture(scope="module")
def typed(store: Store, world: World) -> str:
    """A query with a column of each kind."""
    table = world.name("things")
    store.publish(table, things(), primary_key="id")
    sql = f"""
        SELECT id, sum(n) OVER (PARTITION BY id) AS total, moment - since AS took, price, CAST(ticket AS UUID) AS ticket,
            day, moment, n, flag, ratio, raw, CASE WHEN n IS NOT NULL THEN [id, n, NULL] END AS both,
            {{'a': id, 'b': text}} AS pair
        FROM feature_store.{table} -- the last word"""
    return store.query_train(sql, save=True, index_key="id").query_id


@pytest.fixture(scope="module")
def visits(store: Store, world: World) -> str:
    """A query with a composite key, some keys with several rows."""
    table = world.name("visits")
    rows = [
        {"visit_id": number, "user_id": number % 4, "shop": "abc"[number % 3], "amount": number / 8}
        for number in range(40)
    ]
    store.publish(table, rows, primary_key="visit_id")
    return store.query_train(
        f"SELECT user_id, shop, visit_id, amount FROM feature_store.{table} ORDER BY user_id, shop, visit_id DESC",
        save=True,
        index_key=["user_id", "shop"],
    ).query_id


def same(many: Served, singles: list[Served]) -> None:
    """The answer to many values is the answers to each of them, one after the other."""
    assert len(many.answers) == len(singles)
    for answer, single in zip(many.answers, singles, strict=True):
        (alone,) = single.answers
        assert (answer.key, answer.outcome, answer.row_count) == (alone.key, alone.outcome, alone.row_count)
        assert answer.to_arrow().equals(alone.to_arrow())
        assert many.schema == single.schema
    assert many.to_arrow().equals(pa.concat_tables([single.to_arrow() for single in singles]))


def test_training_and_serving_agree_in_schema_and_in_values_of_every_kind(store: Store, typed: str) -> None:
    trained = store.query_train(typed).to_arrow()
    assert dict(zip(trained.schema.names, trained.schema.types, strict=True)) == TYPES

    served = store.query_realtime(typed, index_key="id", index_values=list(range(1, 7)))

    assert served.schema == trained.schema
    assert served.to_arrow().equals(trained.sort_by("id"))
    first = served.answers[0].to_pylist()[0]
    assert (first["total"], first["took"]) == (10, dt.timedelta(hours=1, microseconds=1))
    assert (first["price"], first["day"]) == (Decimal("0.125"), dt.date(2024, 2, 29))
    assert first["both"] == [1, 10, None]


def test_typed_rows_say_what_the_arrow_answer_says(store: Store, world: World, typed: str) -> None:
    keys = common.Keys(
        columns=["id"],
        tuples=[common.KeyTuple(values=[common.Value(int64_value=number)]) for number in (6, 99, 2, 6)],
    )
    reply: Any = world.raw(
        "QueryRealtime",
        pb.QueryRealtimeRequest(query=typed, keys=keys, format=common.ANSWER_FORMAT_ROWS),
    )

    arrow = store.query_realtime(typed, index_key="id", index_values=[6, 99, 2, 6])
    assert decode_rows(reply.rows) == arrow.to_pylist()
    assert [column.type for column in reply.rows.columns] == [str(kind) for kind in arrow.schema.types]
    assert [answer.row_count for answer in reply.answers] == [1, 0, 1, 1]


def test_a_null_integer_stays_an_integer_in_pandas_on_both_sides(store: Store, typed: str) -> None:
    trained = store.query_train(typed).to_pandas()
    for key in (1, 6, 99):  # a number, a null, no row at all
        served = store.query_realtime(typed, index_key="id", index_value=key).to_pandas()
        assert str(served["n"].dtype) == "Int64"
        assert list(served.dtypes) == list(trained.dtypes)


@pytest.mark.parametrize(
    "values", [[1, 3, 1, 99, 2, 1], ["2", 2, "-7", "3"], [99, 98], [5]], ids=["ints", "text", "absent", "one"]
)
def test_many_values_are_so_many_singles(store: Store, typed: str, values: list[object]) -> None:
    many = store.query_realtime(typed, index_key="id", index_values=values)
    same(many, [store.query_realtime(typed, index_key="id", index_value=value) for value in values])


def test_many_composite_values_are_so_many_singles(store: Store, visits: str) -> None:
    key = ["user_id", "shop"]
    values = [(1, "a"), (1, "zzz"), ("2", "b"), (1, "a"), (9, "a"), (3, "c")]
    many = store.query_realtime(visits, index_key=key, index_values=values)
    same(many, [store.query_realtime(visits, index_key=key, index_value=value) for value in values])
    assert [answer.outcome for answer in many.answers].count("absent") == 2


def test_the_columns_of_a_key_may_come_in_any_order(store: Store, visits: str) -> None:
    one = store.query_realtime(visits, index_key=["user_id", "shop"], index_value=(1, "a"))
    other = store.query_realtime(visits, index_key=["shop", "user_id"], index_value=("a", 1))
    assert one.to_arrow().equals(other.to_arrow())
    assert one.to_arrow().num_rows > 1


def test_the_order_of_the_saved_text_is_kept_on_both_sides(store: Store, visits: str) -> None:
    trained = store.query_train(visits).to_pylist()
    assert trained == sorted(trained, key=lambda row: (row["user_id"], row["shop"], -row["visit_id"]))
    served = store.query_realtime(visits, index_key="user_id", index_values=[0, 1, 2, 3])
    assert served.to_pylist() == trained


def test_many_values_are_so_many_singles_for_an_etl(store: Store, world: World) -> None:
    etl = world.etl("good.py")
    values = [2, 1, 77, "1", 2]

    many = store.extract_realtime(world.query, etl, index_key="user_id", index_values=values)

    singles = [store.extract_realtime(None, etl, index_key="user_id", index_value=value) for value in values]
    same(many, singles)
    assert [answer.outcome for answer in many.answers] == ["found", "found", "absent", "found", "found"]
    assert many.schema == store.get_etl(etl).contract


def test_verify_finds_that_a_joined_and_aggregated_query_and_its_etl_agree(
    store: Store, fresh: Callable[[str], str], world: World
) -> None:
    users, payments = fresh("users"), fresh("payments")
    store.publish(
        {
            users: [{"user_id": number, "age": number % 7 or None} for number in range(60)],
            payments: [
                {"user_id": number % 45, "amount": number / 8, "failed": number % 3 == 0}
                for number in range(200)
            ],
        }
    )
    sql = f"""
        SELECT u.user_id, u.age AS age, sum(p.amount) AS amount,
            count(*) FILTER (WHERE p.failed) AS failures, max(p.amount) AS largest
        FROM feature_store.{users} u LEFT JOIN feature_store.{payments} p ON p.user_id = u.user_id
        GROUP BY u.user_id, u.age"""
    query = store.query_train(sql, save=True, index_key="user_id").query_id
    etl = store.extract_train(query, world.script("good.py"), save=True).etl_id

    for report in (
        store.verify(query, index_key="user_id", sample=50),
        store.verify(query, etl, index_key="user_id", sample=50),
    ):
        assert report.consistent, report
        assert report.checked >= 50
        assert report.agreed == report.checked
        assert report.differences == ()


def test_verify_finds_an_etl_that_is_not_a_function_of_its_rows_alone(store: Store, world: World) -> None:
    etl = world.etl("breaks_contract.py")
    report = store.verify(world.query, etl, index_key="user_id", sample=10)
    assert not report.consistent
    assert "CONTRACT" in [difference.cause for difference in report.differences]


def test_verify_without_a_key_to_check_is_a_failure(store: Store, fresh: Callable[[str], str]) -> None:
    table = fresh("empty")
    store.create_table(table, pa.schema([("k", pa.int64())]), primary_key="k")
    query = store.query_train(f"SELECT k FROM feature_store.{table}", save=True, index_key="k").query_id
    report = store.verify(query, index_key="k")
    assert (report.consistent, report.agreed) == (False, report.checked)


def test_a_save_with_an_index_key_is_verified_by_itself_and_shown_with_what_was_saved(
    store: Store, fresh: Callable[[str], str], world: World
) -> None:
    table = fresh("verified")
    store.publish(table, [{"user_id": k % 5, "amount": k / 8} for k in range(10)])
    query = store.query_train(
        f"SELECT user_id, amount FROM feature_store.{table}", save=True, index_key="user_id"
    ).query_id
    honest = store.extract_train(query, world.script("good.py"), save=True, index_key="user_id").etl_id
    broken = store.extract_train(query, world.script("breaks_contract.py"), save=True).etl_id
    assert store.get_etl(broken).verified == ()
    store.verify(query, broken, index_key="user_id", sample=5)  # as with an index key, but now
    ends = time.monotonic() + 90
    while not (store.get_query(query).verified and store.get_etl(honest).verified):
        assert time.monotonic() < ends
        time.sleep(0.2)
    (of_query,) = store.get_query(query).verified
    assert (of_query.consistent, of_query.index_key, of_query.checked) == (True, ("user_id",), 7)
    assert of_query.verified_at is not None
    listed = {etl.etl_id: etl.verified for etl in store.list_etls()}
    assert [each.summary for each in listed[honest]] == ["7 of 7 keys agree"]
    assert [list(each.causes) for each in listed[broken]] == [["CONTRACT"]]
