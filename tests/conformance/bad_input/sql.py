"""SQL that is no one SELECT over known tables, or that can't be saved."""

from __future__ import annotations

from tests.conformance.cases import (
    FROM,
    INVALID,
    Case,
    sql,
)

CASES = [
    sql(lambda _: "", "SQL_EMPTY", "empty"),
    sql(lambda _: "  -- nothing\n", "SQL_EMPTY", "only comments"),
    sql(lambda w: f"{FROM}{w.orders}; {FROM}{w.orders}", "SQL_NOT_ONE_STATEMENT", "2 statements"),
    sql(lambda w: f"DELETE FROM feature_store.{w.orders}", "SQL_NOT_SELECT", "DELETE"),
    sql(
        lambda w: f"INSERT INTO feature_store.{w.orders} SELECT * FROM feature_store.{w.orders}",
        "SQL_NOT_SELECT",
        "INSERT",
    ),
    sql(lambda w: f"UPDATE feature_store.{w.orders} SET amount = 0", "SQL_NOT_SELECT", "UPDATE"),
    sql(lambda w: f"DROP TABLE feature_store.{w.orders}", "SQL_NOT_SELECT", "DROP"),
    sql(lambda _: "CREATE TABLE feature_store.x (a INT)", "SQL_NOT_SELECT", "CREATE"),
    sql(
        lambda w: f"WITH d AS (DELETE FROM feature_store.{w.orders} RETURNING *) SELECT * FROM d",
        "SQL_MODIFIES_DATA",
        "WITH clause",
    ),
    sql(lambda w: f"{FROM}{w.orders} WHERE user_id = $1", "SQL_PARAMETER", "parameter"),
    sql(lambda w: f"{FROM}{w.orders} WHERE user_id = ?", "SQL_PARAMETER", "parameter"),
    sql(
        lambda w: f"select 1) t; drop table feature_store.{w.orders}; select * from (select 1",
        "SQL_SYNTAX",
        "line 1, character 9",
    ),
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
    sql(lambda w: f"SELECT * FROM feature_store.{w.orders} USING SAMPLE 10", "SQL_SAMPLE", "hash(column)"),
    sql(
        lambda w: f"SELECT user_id, amount AS user_id FROM feature_store.{w.orders}",
        "DUPLICATE_COLUMN",
        "user_id",
    ),
    sql(lambda w: f"SELECT user_id AS __fs1 FROM feature_store.{w.orders}", "SQL_RESERVED_NAME", "__fs1"),
    sql(
        lambda w: f"SELECT MAP {{'a': user_id}} AS m FROM feature_store.{w.orders}",
        "UNSUPPORTED_TYPE",
        "m, is MAP",
    ),
    sql(lambda _: "SELECT '" + "x" * 70_000 + "' AS a", "SQL_TOO_LARGE", "65536"),
    Case(
        "QueryTrain",
        INVALID,
        "UNKNOWN_KEY_COLUMN",
        lambda w: w.store.query_train(w.sql, save=True, index_key="nobody"),
        "nobody",
        lambda w: ["query", "train", w.sql, "--save", "--index-key", "nobody"],
    ),
    Case(
        "QueryTrain",
        INVALID,
        "KEY_TYPE",
        lambda w: w.store.query_train(w.sql, save=True, index_key="amount"),
        "amount",
        lambda w: ["query", "train", w.sql, "--save", "--index-key", "amount"],
    ),
    Case(
        "QueryTrain",
        INVALID,
        "BAD_NAME",
        lambda w: w.store.query_train(w.sql, save=True, name="qry_x"),
        "qry_x",
        lambda w: ["query", "train", w.sql, "--save", "--name", "qry_x"],
    ),
    Case(
        "QueryTrain",
        INVALID,
        "BAD_NAME",
        lambda w: w.store.query_train(w.sql, name="unsaved"),
        "save",  # the command line says so itself, before it asks anybody
    ),
    Case(
        "QueryTrain",
        INVALID,
        "SQL_VALUE",
        lambda w: w.store.query_train(
            f"SELECT CAST(day AS INTEGER) AS d FROM feature_store.{w.orders}"
        ).to_arrow(),
        "column day",
        lambda w: ["query", "train", f"SELECT CAST(day AS INTEGER) AS d FROM feature_store.{w.orders}"],
    ),
]
