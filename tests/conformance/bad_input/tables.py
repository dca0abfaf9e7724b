"""What is published, and what tables are asked for."""

from __future__ import annotations

import pyarrow as pa

from featurestore.api.common.v1 import common_pb2 as common
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from tests.conformance.cases import (
    EXHAUSTED,
    EXISTS,
    INVALID,
    MISSING,
    PRECONDITION,
    Case,
    other_content,
    published,
    written,
)

MAPS = pa.table({"m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))})

CASES = [
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
        "column 'b'",
        lambda w: ["publish", w.name("t"), written(w, pa.table({"a": [1]})), "--primary-key", "b"],
    ),
    Case(
        "Publish",
        INVALID,
        "BAD_NAME",
        lambda w: w.store.publish("a table", [{"a": 1}]),
        "a table",
        lambda w: ["publish", "a table", written(w, pa.table({"a": [1]}))],
    ),
    Case(
        "Publish",
        INVALID,
        "UNSUPPORTED_TYPE",
        lambda w: w.store.publish(w.name("t"), MAPS),
        "hold m (map",
        lambda w: ["publish", w.name("t"), written(w, MAPS)],
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
    Case(
        "CreateTable",
        INVALID,
        "BAD_TABLE",
        lambda w: w.store.create_table(w.name("t"), pa.schema([("a", pa.int64())]), primary_key="b"),
        "column 'b'",
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
    Case(
        "Delete",
        MISSING,
        "UNKNOWN_TABLE",
        lambda w: w.store.delete("nobody", [1]),
        "nobody",
        lambda _: ["delete", "nobody", "--key", "a=1"],
    ),
    Case(
        "Delete",
        INVALID,
        "KEY_VALUE",
        lambda w: w.store.delete(w.orders, ["1.5"]),
        "order_id",
        lambda w: ["delete", w.orders, "--key", "order_id=1.5"],
    ),
    Case(
        "Delete",
        INVALID,
        "KEY_NULL",
        lambda w: w.store.delete(w.orders, [None]),
        "order_id",
        lambda w: ["delete", w.orders, "--key", '{"order_id": null}'],
    ),
    Case(
        "Delete",
        INVALID,
        "MISSING_COLUMN",
        lambda w: w.store.delete(w.orders, pa.table({"user_id": [1]})),
        "order_id",
    ),
]
