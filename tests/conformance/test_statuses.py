"""Every RPC with every status and reason that its proto comment names: bad input's table, and what is no input's fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore.api.common.v1 import common_pb2 as common
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from tests.conformance import bad_input
from tests.conformance.cases import (
    EXHAUSTED,
    EXISTS,
    INVALID,
    MISSING,
    NETWORKED,
    NO_ETL,
    NO_QUERY,
    PRECONDITION,
    Case,
    refused,
    said_by_the_command_line,
    sql,
    trained,
)
from tests.conformance.world import World

PROTO = Path(__file__).parents[2] / "protos/featurestore/api/gateway/v1/gateway.proto"
MAP = pa.map_(pa.string(), pa.int64())


def int_keys(column: str, *keys: int) -> common.Keys:
    """Keys of one integer column."""
    tuples = [common.KeyTuple(values=[common.Value(int64_value=key)]) for key in keys]
    return common.Keys(columns=[column], tuples=tuples)


def behind(w: World) -> common.Version:
    """A version that the log won't reach."""
    return common.Version(log_id=w.store.status().realtime_version.log_id, sequence=10**9)


def raw(method: str, request: Callable[[World], object], seconds: float = 30.0) -> Callable[[World], object]:
    return lambda w: w.raw(method, request(w), seconds)


def stale(rpc: str, act: Callable[[World], object], says: str) -> Case:
    """The table has lost the column `v` that the saved query returns."""
    return Case(rpc, PRECONDITION, "QUERY_SCHEMA_CHANGED", act, says)


def bad_page(rpc: str, request: object, field: str) -> Case:
    return Case(rpc, INVALID, "BAD_PAGE", raw(rpc, lambda _: request), field)


def fails_on_its_data(w: World) -> object:
    """A save reads no rows, so this one is possible."""
    text = f"SELECT order_id, CAST(day AS INTEGER) AS d FROM feature_store.{w.orders}"
    query = w.store.query_train(text, save=True).query_id
    return w.store.query_realtime(query, index_key="order_id", index_value=1)


def keyless(w: World) -> object:
    table = w.name("keyless")
    w.store.publish(table, [{"a": 1}])
    return w.store.delete(table, [1])


def null_in_a_column_that_may_not_be(w: World) -> object:
    table = w.name("strict")
    w.store.create_table(table, pa.schema([("k", pa.int64()), pa.field("v", pa.int64(), nullable=False)]))
    return w.store.publish(table, [{"k": 1, "v": None}])


def warms_what_fails_on_its_data(w: World) -> object:
    text = f"SELECT order_id, CAST(day AS INTEGER) AS d FROM feature_store.{w.orders}"
    query = w.store.query_train(text, save=True).query_id
    return w.store.warm(query, "order_id", [1])


def tells_the_time(w: World) -> str:
    """A saved query whose answers change with time alone."""
    text = f"SELECT user_id, now() AS asked_at FROM feature_store.{w.orders}"
    return w.store.query_train(text, save=True).query_id


def warmed(reason: str, says: str, *values: object, key: str | list[str] = "user_id") -> Case:
    """Keys that are refused in warming as they are in serving."""
    return Case("Warm", INVALID, reason, lambda w: w.store.warm(w.query, key, list(values)), says)


def delete_id_again(w: World) -> object:
    publish_id = w.name("delete")
    w.store.delete(w.orders, [101], publish_id=publish_id)
    return w.store.delete(w.orders, [102], publish_id=publish_id)


def contract_broken_in_training(w: World) -> object:
    """Honest over three rows, and of another type over what is left of them."""
    table = w.name("shrinking")
    w.store.publish(table, [{"user_id": k} for k in range(3)], primary_key="user_id")
    query = w.store.query_train(f"SELECT user_id FROM feature_store.{table}", save=True).query_id
    etl = w.store.extract_train(query, w.script("breaks_contract.py"), save=True).etl_id
    w.store.delete(table, [0, 1])
    return w.store.extract_train(query, etl).to_arrow()


def references(rpc: str, ask: Callable[[World, str], object], other: str, prefix: str) -> list[Case]:
    """What can be wrong with an id or a name."""

    def case(reason: str, reference: str, says: str) -> Case:
        return Case(rpc, INVALID, reason, lambda w: ask(w, reference), says)

    return [
        case("BAD_ID", f"{prefix}_short", "short"),
        case("ID_OF_OTHER_KIND", other, other),
        case("MISSING_ID", "", "is empty"),
        case("BAD_NAME", "a name", "a name"),
    ]


OTHERS = [
    # Data and definitions that went on without the query
    stale("QueryTrain", lambda w: w.store.query_train(w.stale_query).to_arrow(), "v was DOUBLE"),
    stale(
        "QueryRealtime",
        lambda w: w.store.query_realtime(w.stale_query, index_key="k", index_value=1),
        "v was DOUBLE",
    ),
    stale(
        "ExtractTrain",
        lambda w: w.store.extract_train(w.stale_query, w.script("good.py")).to_arrow(),
        "v was DOUBLE",
    ),
    stale(
        "ExtractRealtime",
        lambda w: w.store.extract_realtime(None, w.stale_etl, index_key="k", index_value=1),
        "v was DOUBLE",
    ),
    stale("Explain", lambda w: w.store.explain(w.stale_query, index_key="k"), "v was DOUBLE"),
    stale("Verify", lambda w: w.store.verify(w.stale_query, index_key="k"), "v was DOUBLE"),
    stale("Warm", lambda w: w.store.warm(w.stale_query, "k"), "v was DOUBLE"),
    # Warming
    Case(
        "Warm",
        PRECONDITION,
        "NOT_CACHEABLE",
        lambda w: w.store.warm(tells_the_time(w), "user_id"),
        "now()",
        lambda w: ["warm", tells_the_time(w), "--index-key", "user_id"],
    ),
    Case(
        "Warm",
        MISSING,
        "UNKNOWN_QUERY",
        lambda w: w.store.warm(NO_QUERY, "user_id"),
        NO_QUERY,
        lambda _: ["warm", NO_QUERY, "--key", "user_id=1"],
    ),
    *references("Warm", lambda w, query: w.store.warm(query, "k"), NO_ETL, "qry"),
    warmed("UNKNOWN_KEY_COLUMN", "nobody", 1, key="nobody"),
    warmed("KEY_TYPE", "amount", 1.5, key="amount"),
    warmed("KEY_VALUE", "user_id", "one"),
    warmed("KEY_NULL", "user_id", None),
    warmed("KEY_WIDTH", "2", (1,), key=["user_id", "order_id"]),
    warmed("KEYS_EMPTY", "no index values"),
    Case(
        "Warm",
        INVALID,
        "KEYS_TOO_MANY",
        raw("Warm", lambda w: pb.WarmRequest(query=w.query, keys=int_keys("user_id", *range(10_001)))),
        "10001",
    ),
    Case("Warm", INVALID, "SQL_VALUE", warms_what_fails_on_its_data, "column day"),
    Case(
        "QueryTrain",
        "UNAVAILABLE",
        "WAREHOUSE_BEHIND",
        raw("QueryTrain", lambda w: pb.QueryTrainRequest(query=w.query, at_least=behind(w)), 1.5),
        str(10**9),
    ),
    Case(
        "ExtractTrain",
        "UNAVAILABLE",
        "WAREHOUSE_BEHIND",
        raw(
            "ExtractTrain",
            lambda w: pb.ExtractTrainRequest(
                query=w.query,
                source=common.EtlSource(address=w.script("good.py")),
                at_least=behind(w),
            ),
            1.5,
        ),
        str(10**9),
    ),
    Case("ExtractTrain", PRECONDITION, "CONTRACT_BROKEN", contract_broken_in_training, "mean"),
    Case("QueryRealtime", INVALID, "SQL_VALUE", fails_on_its_data, "column day"),
    # Sizes
    Case(
        "QueryRealtime",
        EXHAUSTED,
        "ANSWER_TOO_LARGE",
        raw(
            "QueryRealtime",
            lambda w: pb.QueryRealtimeRequest(query=w.wide_query, keys=int_keys("k", 0, 1, 2)),
        ),
        "at most 1",
    ),
    Case(
        "ExtractRealtime",
        EXHAUSTED,
        "ANSWER_TOO_LARGE",
        raw(
            "ExtractRealtime",
            lambda w: pb.ExtractRealtimeRequest(etl=w.etl("wide_on_few.py"), keys=int_keys("user_id", 1, 2)),
        ),
        "at most 1",
    ),
    Case("ExtractTrain", EXHAUSTED, "ETL_OUTPUT", trained("huge.py"), "2147483648"),
    # References, beside those in the table of bad input
    *references("Explain", lambda w, query: w.store.explain(query, index_key="k"), NO_ETL, "qry"),
    *references("Verify", lambda w, query: w.store.verify(query, index_key="k"), NO_ETL, "qry"),
    *references(
        "QueryRealtime",
        lambda w, query: w.store.query_realtime(query, index_key="k", index_value=1),
        NO_ETL,
        "qry",
    ),
    *references(
        "ExtractTrain",
        lambda w, query: w.store.extract_train(query, w.script("good.py")).to_arrow(),
        NO_ETL,
        "qry",
    ),
    Case("QueryTrain", INVALID, "BAD_ID", lambda w: w.store.query_train("qry_short"), "short"),
    Case("QueryTrain", INVALID, "ID_OF_OTHER_KIND", lambda w: w.store.query_train(NO_ETL), NO_ETL),
    *references("GetEtl", lambda w, etl: w.store.get_etl(etl), NO_QUERY, "etl"),
    Case(
        "ExtractRealtime",
        MISSING,
        "UNKNOWN_QUERY",
        lambda w: w.store.extract_realtime("nobody", w.etl("good.py"), index_key="user_id", index_value=1),
        "nobody",
    ),
    Case(
        "Verify",
        MISSING,
        "UNKNOWN_ETL",
        lambda w: w.store.verify(w.query, NO_ETL, index_key="user_id"),
        NO_ETL,
    ),
    Case(
        "Verify",
        INVALID,
        "ETL_OF_OTHER_QUERY",
        lambda w: w.store.verify(w.other_query, w.etl("good.py"), index_key="user_id"),
        "qry_",
    ),
    # Index keys
    Case("Explain", INVALID, "KEY_TYPE", lambda w: w.store.explain(w.query, index_key="amount"), "amount"),
    Case("Verify", INVALID, "KEY_TYPE", lambda w: w.store.verify(w.query, index_key="amount"), "amount"),
    Case(
        "Explain",
        INVALID,
        "UNKNOWN_KEY_COLUMN",
        raw("Explain", lambda w: pb.ExplainRequest(query=w.query)),
        "order_id",
    ),
    Case(
        "Verify",
        INVALID,
        "UNKNOWN_KEY_COLUMN",
        raw("Verify", lambda w: pb.VerifyRequest(query=w.query)),
        "order_id",
    ),
    Case(
        "QueryTrain",
        INVALID,
        "KEY_COLUMN_TWICE",
        lambda w: w.store.query_train(w.sql, save=True, index_key=["user_id", "user_id"]),
        "user_id",
    ),
    # SQL
    sql(lambda w: f"SELECT sum(day) AS s FROM feature_store.{w.orders}", "SQL_BIND", "sum"),
    sql(lambda _: "SELECT 1" + " + 1" * 5_000 + " AS many", "SQL_TOO_DEEP", "too deep"),
    sql(
        lambda w: f"SELECT day COLLATE NOCASE AS d FROM feature_store.{w.orders}",
        "SQL_UNSUPPORTED",
        "COLLATE",
    ),
    # Tables
    Case(
        "CreateTable",
        INVALID,
        "BAD_ARROW",
        raw(
            "CreateTable",
            lambda w: pb.CreateTableRequest(
                table=common.TableDefinition(name=w.name("t"), arrow_schema=b"no arrow")
            ),
        ),
        "Arrow",
    ),
    Case(
        "CreateTable",
        INVALID,
        "BAD_NAME",
        lambda w: w.store.create_table("a table", pa.schema([("a", pa.int64())])),
        "a table",
    ),
    Case(
        "CreateTable",
        INVALID,
        "UNSUPPORTED_TYPE",
        lambda w: w.store.create_table(w.name("t"), pa.schema([("m", MAP)])),
        "hold m (map",
    ),
    Case("Publish", INVALID, "NULL_VALUE", null_in_a_column_that_may_not_be, "column v"),
    Case("Delete", INVALID, "NO_PRIMARY_KEY", keyless, "keyless"),
    Case(
        "Delete",
        INVALID,
        "KEY_WIDTH",
        lambda w: w.store.delete(w.orders, [(1, 2)]),
        "order_id",
        lambda w: ["delete", w.orders, "--key", "order_id=1,user_id=2"],
    ),
    Case(
        "Delete", INVALID, "PUBLISH_ID", lambda w: w.store.delete(w.orders, [1], publish_id="x" * 129), "128"
    ),
    Case("Delete", INVALID, "PUBLISH_ID_REUSED", delete_id_again, "publish_id"),
    Case(
        "Delete",
        INVALID,
        "BAD_ARROW",
        raw(
            "Delete",
            lambda w: pb.DeleteRequest(publish_id=w.name("d"), table=w.orders, arrow_stream=b"no arrow"),
        ),
        "Arrow",
    ),
    # Pages
    bad_page("ListTables", pb.ListTablesRequest(page_token="no token"), "page_token"),
    bad_page("ListTables", pb.ListTablesRequest(page_size=-1), "page_size"),
    bad_page("ListQueries", pb.ListQueriesRequest(page_size=-1), "page_size"),
    bad_page("ListEtls", pb.ListEtlsRequest(page_token="no token"), "page_token"),
    # Scripts
    Case(
        "ExtractTrain",
        INVALID,
        "ETL_SOURCE",
        lambda w: w.store.extract_train(w.query, str(w.folder / "not_there.py")).to_arrow(),
        "not_there.py",
        lambda w: ["extract", "train", w.query, w.folder / "not_there.py"],
    ),
    # Demo and lease
    Case("PublishDemo", INVALID, "BAD_COUNT", lambda w: w.store.publish_demo(0), "n_flows", only=("local",)),
    Case("PublishDemo", PRECONDITION, "DEMO_OFF", lambda w: w.store.publish_demo(1), "DEMO", only=NETWORKED),
    Case(
        "PublishDemo",
        EXISTS,
        "TABLE_DEFINED_OTHERWISE",
        lambda w: (w.store.publish("users", [{"a": 1}]), w.store.publish_demo(1)),
        "users",
        only=("local",),
    ),
    Case("Attach", PRECONDITION, "NOT_LOCAL", lambda w: w.raw("Attach", pb.AttachRequest()), only=NETWORKED),
    Case(
        "Attach",
        PRECONDITION,
        "VERSION_MISMATCH",
        lambda w: w.raw("Attach", pb.AttachRequest(package_version="0")),
        "of version",
        only=("local",),
    ),
]
CASES = [*bad_input.CASES, *OTHERS]
NOT_HERE = {
    ("PublishDemo", PRECONDITION, "DEMO_NOT_INSTALLED"): "the development environment has the demo",
    (
        "ExtractRealtime",
        EXHAUSTED,
        "ETL_OUTPUT",
    ): "2 GiB within the 2 s of a serving call; unit/test_worker_failures.py",
    ("ExtractTrain", PRECONDITION, "ETL_UNSEALED"): "needs another kernel; unit/test_canary.py",
    ("ExtractRealtime", PRECONDITION, "ETL_UNSEALED"): "needs another kernel; unit/test_canary.py",
    ("ExtractTrain", EXHAUSTED, "ETL_INPUT"): "more than 2 GiB of rows; contract/test_extraction_bulk.py",
    ("ExtractTrain", "INTERNAL", "ETL_BAD_RESULT"): "each kind of it is in hostile/test_forged_arrow.py",
    ("ExtractRealtime", "INTERNAL", "ETL_BAD_RESULT"): "each kind of it is in hostile/test_forged_arrow.py",
    ("Explain", INVALID, "KEYS_EMPTY"): "an index key without columns is UNKNOWN_KEY_COLUMN",
    ("Verify", INVALID, "KEYS_EMPTY"): "an index key without columns is UNKNOWN_KEY_COLUMN",
    ("QueryTrain", INVALID, "MISSING_ID"): "an empty query can't be told from an empty text: SQL_EMPTY",
}
"""What the protos name and no case meets, and why."""


@pytest.mark.parametrize("case", OTHERS, ids=str)
def test_it_is_refused_with_its_reason_and_names_what_is_wrong(world: World, case: Case) -> None:
    refused(world, case)


@pytest.mark.parametrize("case", [case for case in OTHERS if case.command], ids=str)
def test_the_command_line_says_so_in_one_line_and_fails(world: World, case: Case) -> None:
    said_by_the_command_line(world, case)


def promised() -> Iterator[tuple[str, str, str]]:
    """Every RPC, status and reason that `gateway.proto` names in the comment of the RPC."""
    for comment, rpc in re.findall(r"((?:  //[^\n]*\n)+)  rpc (\w+)", PROTO.read_text()):
        errors = comment.replace("  //", "").replace("\n", " ").partition("Errors:")[2]
        for code, said in re.findall(r"\b([A-Z][A-Z_]+)\s*\(([^()]*)\)", errors):
            for reason in re.findall(r"`([A-Z_]+)`", said):
                yield rpc, code, reason


def test_there_is_a_case_for_every_rpc_and_status_that_the_protos_promise() -> None:
    statuses = {(rpc, code) for rpc, code, _ in promised()}
    assert len(statuses) > 40
    assert statuses - {(case.rpc, case.code) for case in CASES} == set()


def test_there_is_a_case_for_every_reason_that_the_protos_promise() -> None:
    met = {(case.rpc, case.code, case.reason) for case in CASES}
    assert set(promised()) - met <= set(NOT_HERE)


def test_the_protos_promise_every_reason_that_the_cases_meet() -> None:
    text = PROTO.read_text()
    statuses = {(rpc, code) for rpc, code, _ in promised()}
    for case in CASES:
        assert (case.rpc, case.code) in statuses, case
        assert f"`{case.reason}`" in text, case
