"""One table of what is refused: the call, the code, the reason, and what the message must name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from featurestore.api.common.v1 import common_pb2 as common
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from tests.conformance.world import Act, World


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        rpc: the gateway's.
        code: the status's name.
        reason: in ErrorInfo.
        act: what is done.
        says: a part of the message.
        command: the same on the command line, without --target; None where it can't be said there.
        only: the arrangements it can happen in; empty for all.
    """

    rpc: str
    code: str
    reason: str
    act: Act
    says: str = ""
    command: Callable[[World], list[object]] | None = None
    only: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.rpc}-{self.reason}-{self.says}".replace(" ", "_").replace("/", "_")[:60]


INVALID, MISSING, EXISTS = "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS"
PRECONDITION, EXHAUSTED, LATE = "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"
NO_QUERY = "qry_" + "a" * 26
NO_ETL = "etl_" + "a" * 26
NETWORKED = ("processes", "compose")


def sql(text: Callable[[World], str], reason: str, says: str = "") -> Case:
    """A text that is refused in training, with save and without."""

    def act(w: World) -> object:
        return w.store.query_train(text(w), save=True)

    # An empty text can't be told from a missing one on the command line.
    command = None if reason == "SQL_EMPTY" else (lambda w: ["query", "train", text(w)])
    return Case("QueryTrain", INVALID, reason, act, says, command)


def served(reason: str, says: str, key: str = "user_id", **values: object) -> Case:
    """Index values that are refused in serving."""

    def act(w: World) -> object:
        return w.store.query_realtime(w.query, index_key=key, **values)

    command = None
    if isinstance(values.get("index_value"), str):
        command = lambda w: ["query", "realtime", w.query, "--key", f"{key}={values['index_value']}"]  # noqa: E731
    return Case("QueryRealtime", INVALID, reason, act, says, command)


def published(reason: str, says: str, rows: Callable[[], object], code: str = INVALID, **how: object) -> Case:
    """A frame that is refused; nothing of it is written."""

    def act(w: World) -> object:
        before = w.store.get_table(w.orders).row_count
        try:
            return w.store.publish(w.orders, rows(), **how)
        finally:
            assert w.store.get_table(w.orders).row_count == before

    return Case("Publish", code, reason, act, says)


def other_content(w: World) -> object:
    publish_id = w.name("publish")
    w.store.publish(
        w.orders, [{"order_id": 1, "amount": 1.5, "user_id": 1, "day": "a"}], publish_id=publish_id
    )
    return w.store.publish(w.orders, [{"order_id": 1, "amount": 9.5}], publish_id=publish_id)


def local_script(text: str) -> Callable[[World], object]:
    def act(w: World) -> object:
        path = w.folder / f"{w.name('etl')}.py"
        path.write_text(text)
        return w.store.extract_train(w.query, str(path), save=True)

    return act


def trained(path: str, *, save: bool = False, timeout: float | None = None) -> Act:
    return lambda w: w.store.extract_train(w.query, w.script(path), save=save, timeout=timeout).to_arrow()


def features(path: str, **how: object) -> Act:
    return lambda w: w.store.extract_realtime(w.query, w.etl(path), index_key="user_id", index_value=1, **how)


def train_command(path: str) -> Callable[[World], list[object]]:
    return lambda w: ["extract", "train", w.query, w.script(path)]


KEYS = common.Keys(columns=["user_id"], tuples=[common.KeyTuple(values=[common.Value(int64_value=1)])])
FROM = "SELECT 1 AS one FROM feature_store."

CASES = [
    # Ids
    Case(
        "GetQuery",
        MISSING,
        "UNKNOWN_QUERY",
        lambda w: w.store.get_query(NO_QUERY),
        NO_QUERY,
        lambda _: ["queries", NO_QUERY],
    ),
    Case(
        "GetQuery",
        MISSING,
        "UNKNOWN_QUERY",
        lambda w: w.store.get_query("nobody"),
        "nobody",
        lambda _: ["queries", "nobody"],
    ),
    Case("GetQuery", INVALID, "BAD_ID", lambda w: w.store.get_query("qry_short"), "qry_short"),
    Case("GetQuery", INVALID, "ID_OF_OTHER_KIND", lambda w: w.store.get_query(NO_ETL), NO_ETL),
    Case("GetQuery", INVALID, "MISSING_ID", lambda w: w.store.get_query(""), "query"),
    Case("GetQuery", INVALID, "BAD_NAME", lambda w: w.store.get_query("a name"), "a name"),
    Case(
        "GetEtl",
        MISSING,
        "UNKNOWN_ETL",
        lambda w: w.store.get_etl(NO_ETL),
        NO_ETL,
        lambda _: ["etls", NO_ETL],
    ),
    Case("GetEtl", INVALID, "ID_OF_OTHER_KIND", lambda w: w.store.get_etl(NO_QUERY), NO_QUERY),
    Case(
        "QueryRealtime",
        MISSING,
        "UNKNOWN_QUERY",
        lambda w: w.store.query_realtime(NO_QUERY, index_key="k", index_value=1),
        NO_QUERY,
    ),
    Case(
        "QueryRealtime",
        INVALID,
        "ID_OF_OTHER_KIND",
        lambda w: w.store.query_realtime(w.etl("good.py"), index_key="k", index_value=1),
        "etl_",
    ),
    Case(
        "QueryTrain",
        MISSING,
        "UNKNOWN_QUERY",
        lambda w: w.store.query_train(NO_QUERY),
        NO_QUERY,
        lambda _: ["query", "train", NO_QUERY],
    ),
    Case(
        "ExtractTrain",
        MISSING,
        "UNKNOWN_QUERY",
        lambda w: w.store.extract_train(NO_QUERY, w.script("good.py")).to_arrow(),
        NO_QUERY,
    ),
    Case(
        "ExtractTrain",
        MISSING,
        "UNKNOWN_ETL",
        lambda w: w.store.extract_train(w.query, NO_ETL).to_arrow(),
        NO_ETL,
    ),
    Case(
        "ExtractRealtime",
        MISSING,
        "UNKNOWN_ETL",
        lambda w: w.store.extract_realtime(w.query, NO_ETL, index_key="user_id", index_value=1),
        NO_ETL,
    ),
    Case(
        "ExtractRealtime",
        INVALID,
        "ID_OF_OTHER_KIND",
        lambda w: w.store.extract_realtime(w.etl("good.py"), w.query, index_key="user_id", index_value=1),
        "swapped",
    ),
    Case(
        "ExtractRealtime",
        INVALID,
        "ETL_OF_OTHER_QUERY",
        lambda w: w.store.extract_realtime(
            w.other_query, w.etl("good.py"), index_key="user_id", index_value=1
        ),
        "qry_",
    ),
    Case(
        "ExtractTrain",
        INVALID,
        "ETL_OF_OTHER_QUERY",
        lambda w: w.store.extract_train(w.other_query, w.etl("good.py")).to_arrow(),
        "qry_",
    ),
    Case(
        "Explain",
        MISSING,
        "UNKNOWN_QUERY",
        lambda w: w.store.explain("nobody", index_key="k"),
        "nobody",
        lambda _: ["explain", "nobody", "--index-key", "k"],
    ),
    Case(
        "Verify",
        MISSING,
        "UNKNOWN_QUERY",
        lambda w: w.store.verify("nobody", index_key="k"),
        "nobody",
        lambda _: ["verify", "nobody", "--index-key", "k"],
    ),
    Case(
        "Verify",
        INVALID,
        "BAD_SAMPLE",
        lambda w: w.store.verify(w.query, index_key="user_id", sample=10_001),
        "10001",
    ),
    # SQL
    sql(lambda _: "", "SQL_EMPTY"),
    sql(lambda _: "  -- nothing\n", "SQL_EMPTY"),
    sql(lambda w: f"{FROM}{w.orders}; {FROM}{w.orders}", "SQL_NOT_ONE_STATEMENT"),
    sql(lambda w: f"DELETE FROM feature_store.{w.orders}", "SQL_NOT_SELECT", "DELETE"),
    sql(
        lambda w: f"INSERT INTO feature_store.{w.orders} SELECT * FROM feature_store.{w.orders}",
        "SQL_NOT_SELECT",
        "INSERT",
    ),
    sql(lambda w: f"DROP TABLE feature_store.{w.orders}", "SQL_NOT_SELECT", "DROP"),
    sql(lambda _: "CREATE TABLE feature_store.x (a INT)", "SQL_NOT_SELECT", "CREATE"),
    sql(
        lambda w: f"WITH d AS (DELETE FROM feature_store.{w.orders} RETURNING *) SELECT * FROM d",
        "SQL_MODIFIES_DATA",
    ),
    sql(lambda w: f"{FROM}{w.orders} WHERE user_id = $1", "SQL_PARAMETER"),
    sql(lambda w: f"{FROM}{w.orders} WHERE user_id = ?", "SQL_PARAMETER"),
    sql(lambda w: f"select 1) t; drop table feature_store.{w.orders}; select * from (select 1", "SQL_SYNTAX"),
    sql(lambda w: f"SELECT *\nFROM feature_store.{w.orders}\nWHERE AND 1", "SQL_SYNTAX", "line 3"),
    sql(lambda _: f"{FROM}no_such_table", "UNKNOWN_TABLE", "no_such_table"),
    sql(lambda w: f"SELECT 1 AS one FROM {w.orders}", "UNKNOWN_TABLE", "feature_store."),
    sql(lambda w: f"SELECT no_such_column FROM feature_store.{w.orders}", "UNKNOWN_COLUMN", "no_such_column"),
    sql(
        lambda w: f"SELECT no_such_function(user_id) AS x FROM feature_store.{w.orders}",
        "UNKNOWN_FUNCTION",
        "no_such_function",
    ),
    sql(lambda w: f"SELECT random() AS x FROM feature_store.{w.orders}", "SQL_FUNCTION", "random"),
    sql(lambda _: "SELECT * FROM read_csv('/etc/passwd')", "SQL_TABLE_FUNCTION", "read_csv"),
    sql(lambda w: f"SELECT * FROM feature_store.{w.orders} USING SAMPLE 10", "SQL_SAMPLE"),
    sql(
        lambda w: f"SELECT user_id, amount AS user_id FROM feature_store.{w.orders}",
        "DUPLICATE_COLUMN",
        "user_id",
    ),
    sql(lambda w: f"SELECT user_id AS __fs1 FROM feature_store.{w.orders}", "SQL_RESERVED_NAME", "__fs1"),
    sql(lambda w: f"SELECT MAP {{'a': user_id}} AS m FROM feature_store.{w.orders}", "UNSUPPORTED_TYPE", "m"),
    sql(lambda _: "SELECT '" + "x" * 70_000 + "' AS a", "SQL_TOO_LARGE"),
    Case(
        "QueryTrain",
        INVALID,
        "UNKNOWN_KEY_COLUMN",
        lambda w: w.store.query_train(w.sql, save=True, index_key="nobody"),
        "nobody",
    ),
    Case(
        "QueryTrain",
        INVALID,
        "KEY_TYPE",
        lambda w: w.store.query_train(w.sql, save=True, index_key="amount"),
        "amount",
    ),
    Case(
        "QueryTrain",
        INVALID,
        "BAD_NAME",
        lambda w: w.store.query_train(w.sql, save=True, name="qry_x"),
        "qry_x",
    ),
    Case("QueryTrain", INVALID, "BAD_NAME", lambda w: w.store.query_train(w.sql, name="unsaved"), "save"),
    Case(
        "QueryTrain",
        INVALID,
        "SQL_VALUE",
        lambda w: w.store.query_train(
            f"SELECT CAST(day AS INTEGER) AS d FROM feature_store.{w.orders}"
        ).to_arrow(),
        "",
    ),
    Case(
        "QueryTrain",
        PRECONDITION,
        "QUERY_SCHEMA_CHANGED",
        lambda w: w.store.query_train(w.stale_query).to_arrow(),
        "v",
    ),
    Case(
        "QueryTrain",
        "UNAVAILABLE",
        "WAREHOUSE_BEHIND",
        lambda w: w.raw(
            "QueryTrain",
            pb.QueryTrainRequest(
                query=w.query,
                at_least=common.Version(log_id=w.store.status().realtime_version.log_id, sequence=10**9),
            ),
            seconds=1.5,
        ),
        str(10**9),
    ),
    # Index values
    served("UNKNOWN_KEY_COLUMN", "nobody", key="nobody", index_value=1),
    served("KEY_TYPE", "amount", key="amount", index_value=1),
    served("KEY_VALUE", "user_id", index_value="1.5"),
    served("KEY_VALUE", "user_id", index_value=" 1"),
    served("KEY_VALUE", "user_id", index_value="0x1"),
    served("KEY_VALUE", "user_id", index_value=1.5),
    served("KEY_VALUE", "user_id", index_value=True),
    served("KEY_VALUE", "user_id", index_value=2**63),
    served("KEY_VALUE", "user_id", index_value=date(2026, 1, 1)),
    served("KEY_NULL", "user_id", index_value=None),
    served("KEY_NULL", "user_id", index_values=[1, None]),
    served("KEYS_EMPTY", "", index_values=[]),
    served("KEYS_TOO_MANY", "10000", index_values=list(range(10_001))),
    Case(
        "QueryRealtime",
        INVALID,
        "KEY_WIDTH",
        lambda w: w.store.query_realtime(w.query, index_key=["user_id", "order_id"], index_value=(1,)),
        "2",
    ),
    Case(
        "QueryRealtime",
        PRECONDITION,
        "QUERY_SCHEMA_CHANGED",
        lambda w: w.store.query_realtime(w.stale_query, index_key="k", index_value=1),
        "v",
    ),
    Case(
        "QueryRealtime",
        EXHAUSTED,
        "ANSWER_TOO_LARGE",
        lambda w: w.raw(
            "QueryRealtime",
            pb.QueryRealtimeRequest(
                query=w.wide_query,
                keys=common.Keys(
                    columns=["k"],
                    tuples=[common.KeyTuple(values=[common.Value(int64_value=k)]) for k in range(3)],
                ),
            ),
        ),
    ),
    Case(
        "Explain",
        INVALID,
        "UNKNOWN_KEY_COLUMN",
        lambda w: w.store.explain(w.query, index_key="nobody"),
        "nobody",
    ),
    Case(
        "Explain",
        PRECONDITION,
        "QUERY_SCHEMA_CHANGED",
        lambda w: w.store.explain(w.stale_query, index_key="k"),
        "v",
    ),
    Case(
        "Verify",
        INVALID,
        "UNKNOWN_KEY_COLUMN",
        lambda w: w.store.verify(w.query, index_key="nobody"),
        "nobody",
    ),
    Case(
        "Verify",
        PRECONDITION,
        "QUERY_SCHEMA_CHANGED",
        lambda w: w.store.verify(w.stale_query, index_key="k"),
        "v",
    ),
    # Frames
    published("UNKNOWN_COLUMN", "surprise", lambda: [{"order_id": 9, "surprise": 1}]),
    published("COLUMN_TYPE", "amount", lambda: [{"order_id": 9, "amount": "much"}]),
    published("COLUMN_TYPE", "user_id", lambda: [{"order_id": 9, "user_id": 1.5}]),
    published("MISSING_COLUMN", "order_id", lambda: [{"user_id": 9}]),
    published("NULL_IN_KEY", "order_id", lambda: [{"order_id": 9}, {"order_id": None}]),
    published("TABLE_DEFINED_OTHERWISE", "user_id", lambda: [{"order_id": 9}], EXISTS, primary_key="user_id"),
    published("PUBLISH_ID", "128", lambda: [{"order_id": 9}], publish_id="x" * 129),
    Case("Publish", INVALID, "PUBLISH_ID_REUSED", other_content, "publish_id"),
    Case(
        "Publish",
        INVALID,
        "BAD_TABLE",
        lambda w: w.store.publish(w.name("t"), [{"a": 1}], primary_key="b"),
        "b",
    ),
    Case("Publish", INVALID, "BAD_NAME", lambda w: w.store.publish("a table", [{"a": 1}]), "a table"),
    Case(
        "Publish",
        INVALID,
        "UNSUPPORTED_TYPE",
        lambda w: w.store.publish(
            w.name("t"), pa.table({"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})
        ),
        "m",
    ),
    Case(
        "Publish",
        INVALID,
        "BAD_ARROW",
        lambda w: w.raw(
            "Publish",
            pb.PublishRequest(
                publish_id=w.name("p"), tables=[common.TableRows(table=w.orders, arrow_stream=b"no arrow")]
            ),
        ),
        "Arrow",
    ),
    Case(
        "Publish",
        EXHAUSTED,
        "PUBLISH_TOO_LARGE",
        lambda w: w.store.publish(
            {
                w.name("a"): pa.table({"x": [b"x" * 40_000_000]}),
                w.name("b"): pa.table({"x": [b"x" * 40_000_000]}),
            }
        ),
        "split",
    ),
    # Tables
    Case(
        "CreateTable",
        INVALID,
        "BAD_TABLE",
        lambda w: w.store.create_table(w.name("t"), pa.schema([("a", pa.int64())]), primary_key="b"),
        "b",
    ),
    Case(
        "CreateTable",
        EXISTS,
        "TABLE_DEFINED_OTHERWISE",
        lambda w: w.store.create_table(
            w.orders, pa.schema([("order_id", pa.string())]), primary_key="order_id"
        ),
        "order_id",
    ),
    Case(
        "GetTable",
        MISSING,
        "UNKNOWN_TABLE",
        lambda w: w.store.get_table("nobody"),
        "nobody",
        lambda _: ["tables", "nobody"],
    ),
    Case(
        "DropTable",
        MISSING,
        "UNKNOWN_TABLE",
        lambda w: w.store.drop_table("nobody"),
        "nobody",
        lambda _: ["drop", "nobody"],
    ),
    Case(
        "DropTable",
        PRECONDITION,
        "TABLE_IN_USE",
        lambda w: (w.query, w.store.drop_table(w.orders)),
        "force",
        lambda w: ["drop", w.orders],
    ),
    Case("Delete", MISSING, "UNKNOWN_TABLE", lambda w: w.store.delete("nobody", [1]), "nobody"),
    Case("Delete", INVALID, "KEY_VALUE", lambda w: w.store.delete(w.orders, ["1.5"]), "order_id"),
    Case("Delete", INVALID, "KEY_NULL", lambda w: w.store.delete(w.orders, [None]), "order_id"),
    Case(
        "Delete",
        INVALID,
        "MISSING_COLUMN",
        lambda w: w.store.delete(w.orders, pa.table({"user_id": [1]})),
        "order_id",
    ),
    Case(
        "ListTables",
        INVALID,
        "BAD_PAGE",
        lambda w: w.raw("ListTables", pb.ListTablesRequest(page_token="no token")),
        "page_token",
    ),
    Case(
        "ListQueries",
        INVALID,
        "BAD_PAGE",
        lambda w: w.raw("ListQueries", pb.ListQueriesRequest(page_size=-1)),
        "page_size",
    ),
    Case(
        "ListEtls",
        INVALID,
        "BAD_PAGE",
        lambda w: w.raw("ListEtls", pb.ListEtlsRequest(page_token="no token")),
        "page_token",
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
        only=("local",),
    ),
    # Scripts
    Case(
        "ExtractTrain",
        INVALID,
        "ETL_ADDRESS",
        lambda w: w.store.extract_train(w.query, "git+https://host/repo.git").to_arrow(),
        "#",
    ),
    Case(
        "ExtractTrain",
        "PERMISSION_DENIED",
        "GIT_SCHEME",
        lambda w: w.store.extract_train(w.query, "git+http://localhost/repo.git@main#etl.py").to_arrow(),
        "http",
    ),
    Case(
        "ExtractTrain",
        "UNAVAILABLE",
        "GIT_UNREACHABLE",
        lambda w: w.store.extract_train(w.query, "git+https://localhost:1/repo.git@main#etl.py").to_arrow(),
        "localhost",
    ),
    Case(
        "ExtractTrain",
        MISSING,
        "ETL_SOURCE",
        lambda w: w.store.extract_train(w.query, f"git+file://{w.repo.folder}@no_ref#good.py").to_arrow(),
        "no_ref",
    ),
    Case(
        "ExtractTrain",
        MISSING,
        "ETL_SOURCE",
        trained("no_path.py"),
        "no_path.py",
        train_command("no_path.py"),
    ),
    Case("ExtractTrain", PRECONDITION, "ETL_SOURCE", trained("no_class.py"), "Etl"),
    Case(
        "ExtractTrain",
        PRECONDITION,
        "ETL_EXCEPTION",
        trained("raises.py"),
        "line 5",
        train_command("raises.py"),
    ),
    Case(
        "ExtractTrain",
        PRECONDITION,
        "ETL_NO_FRAME",
        trained("no_frame.py"),
        "int",
        train_command("no_frame.py"),
    ),
    Case("ExtractTrain", PRECONDITION, "ETL_OUTPUT_TYPE", trained("sets.py"), "odd"),
    Case("ExtractTrain", PRECONDITION, "CONTRACT_UNDECIDED", trained("undecided.py", save=True), "nothing"),
    Case("ExtractTrain", PRECONDITION, "ETL_NOT_COMMITTED", local_script("x = 1\n"), "commit"),
    Case("ExtractTrain", LATE, "ETL_TIMEOUT", trained("endless.py", timeout=3), ""),
    Case("ExtractTrain", EXHAUSTED, "ETL_OUTPUT", trained("huge.py"), ""),
    Case("ExtractRealtime", PRECONDITION, "CONTRACT_BROKEN", features("breaks_contract.py"), "mean"),
    Case("ExtractRealtime", PRECONDITION, "ETL_EXCEPTION", features("raises_on_few.py"), "line 5"),
    Case("ExtractRealtime", PRECONDITION, "ETL_NO_FRAME", features("none_on_few.py"), ""),
    Case("ExtractRealtime", LATE, "ETL_TIMEOUT", features("endless_on_few.py"), ""),
    Case(
        "ExtractRealtime",
        EXHAUSTED,
        "ANSWER_TOO_LARGE",
        lambda w: w.raw(
            "ExtractRealtime",
            pb.ExtractRealtimeRequest(
                etl=w.etl("wide_on_few.py"),
                keys=common.Keys(
                    columns=["user_id"],
                    tuples=[common.KeyTuple(values=[common.Value(int64_value=k)]) for k in (1, 2)],
                ),
            ),
        ),
    ),
]
