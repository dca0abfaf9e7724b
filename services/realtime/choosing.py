"""Which of a plan's texts answers a call: the one that is known to be the fastest for so many keys."""

from __future__ import annotations

import logging

import duckdb
import pyarrow as pa

from featurestore.engine.key_values import ConvertedKeys
from featurestore.engine.planner.text import Values
from featurestore.model.errors import Internal, InvalidArgument, ResourceExhausted
from services.realtime.plans import Prepared
from services.realtime.rows import plain_rows, rows_in_transaction
from services.realtime.statements import Statements

_logger = logging.getLogger(__name__)


def planned_rows(
    cursor: duckdb.DuckDBPyConnection,
    statements: Statements,
    query_id: str,
    prepared: Prepared,
    keys: ConvertedKeys,
) -> tuple[pa.RecordBatch, Values]:
    """The rows of these keys by the plan, or by the text that it is known to be slower than; on one state of the tables.

    Returns:
        As `rows.rows_in_transaction`; it also says what is raised.
    """
    plan = prepared.plan
    if plan.chains:
        cursor.begin()
        try:
            return rows_in_transaction(cursor, prepared.form, plan, keys)
        finally:
            cursor.rollback()
    trial = prepared.trials.of(len(keys.tuples))
    failure: Exception | None = None
    if plan.narrows and trial.statement and query_id:  # a query that is not saved is asked once
        try:
            found = statements.rows(cursor, prepared, keys)
        except (InvalidArgument, Internal) as error:
            failure = error  # the text itself says whose fault it is
        else:
            if found is not None:
                return found, {}
    if plan.narrows and trial.plain:
        try:
            return plain_rows(cursor, prepared.form, keys), {}
        except (InvalidArgument, Internal, ResourceExhausted):
            trial.forbid()  # the narrowed text may not meet what it met
    rows = rows_in_transaction(cursor, prepared.form, plan, keys)
    if failure is not None:
        _logger.error("query %s fails as a prepared statement alone", query_id, exc_info=failure)
        prepared.without_statement = True
    return rows
