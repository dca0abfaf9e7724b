"""A plan's rows by a statement that the engine planned before it knew the keys."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from featurestore.engine.key_values import ConvertedKeys
from featurestore.engine.outputs import finish
from featurestore.engine.planner import Plan
from featurestore.engine.planner.text import arguments, has_statement, prepared_sql
from featurestore.model.query import QueryForm


def statement_rows(
    connection: duckdb.DuckDBPyConnection, form: QueryForm, plan: Plan, keys: ConvertedKeys
) -> pa.Table | None:
    """The rows; None where serving has no statement for the plan, or uses none for these keys.

    Raises:
        duckdb.Error: as the engine says it.
    """
    given = arguments(keys) if has_statement(plan) else None
    if given is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute(f"PREPARE planned AS {prepared_sql(form, plan, keys.columns)}")
        return finish(cursor.execute(f"EXECUTE planned({given})").to_arrow_table(), form)
