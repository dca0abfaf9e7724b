"""Rows of a query for keys, out of the engine: by the narrowed text, or by the wrapped one as it is."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from featurestore.engine.failures import translate
from featurestore.engine.key_values import ConvertedKeys
from featurestore.engine.outputs import finish
from featurestore.engine.planner import Plan
from featurestore.engine.planner.run import chain_values
from featurestore.engine.planner.text import Values, planned_sql
from featurestore.engine.wrapping import serving_sql
from featurestore.model.query import QueryForm
from services.realtime import answers

_BATCH_ROWS = 65_536
_MAX_ROWS_BYTES = answers.ONE_KEY_BYTES


def rows_in_transaction(
    cursor: duckdb.DuckDBPyConnection, form: QueryForm, plan: Plan, keys: ConvertedKeys
) -> tuple[pa.RecordBatch, Values]:
    """The rows of these keys by the narrowed text.

    Args:
        cursor: in a transaction, unless the plan has no chains, and so is one statement.

    Returns:
        The rows, with exactly the form's schema, and the chains' values that were used.

    Raises:
        InvalidArgument: `SQL_VALUE`, `INTERVAL_MONTHS`.
        ResourceExhausted: `ANSWER_TOO_LARGE`, `QUERY_MEMORY`.
        DeadlineExceeded: `DEADLINE`.
    """
    if not plan.narrows:
        return plain_rows(cursor, form, keys), {}
    try:
        values = chain_values(cursor, plan, keys)
    except duckdb.Error as error:
        raise translate(error) from error
    return run(cursor, form, planned_sql(form, plan, keys, values), len(keys.tuples)), values


def plain_rows(cursor: duckdb.DuckDBPyConnection, form: QueryForm, keys: ConvertedKeys) -> pa.RecordBatch:
    """The same rows by the wrapped text as it is: what an answer is by definition.

    Raises:
        See `rows_in_transaction`.
    """
    return run(cursor, form, serving_sql(form, keys), len(keys.tuples))


def run(cursor: duckdb.DuckDBPyConnection, form: QueryForm, sql: str, key_count: int) -> pa.RecordBatch:
    """The rows of a text, with exactly the form's schema.

    Raises:
        See `rows_in_transaction`.
    """
    try:
        reader = cursor.execute(sql).to_arrow_reader(_BATCH_ROWS)
        batches = _bounded(reader, key_count)
    except (duckdb.Error, OSError) as error:
        raise translate(error) from error
    if len(batches) == 1:  # as almost always
        return finish(batches[0], form)
    return _one_batch(finish(pa.Table.from_batches(batches, reader.schema), form))


def _bounded(reader: pa.RecordBatchReader, key_count: int) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = []
    size = 0
    try:
        for batch in reader:
            size += batch.nbytes
            batches.append(batch)
            if size > _MAX_ROWS_BYTES:
                raise answers.too_large(
                    size, key_count, max(1, key_count * answers.MANY_KEYS_BYTES // (2 * size))
                )
    finally:
        reader.close()  # one that is read in part would hold its transaction
    return batches


def _one_batch(rows: pa.Table) -> pa.RecordBatch:
    batches = rows.combine_chunks().to_batches()
    return batches[0] if batches else answers.no_rows(rows.schema)
