"""Answering a saved query for keys: one statement for all of them, then each key's rows in the order asked."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from featurestore.engine.failures import translated
from featurestore.engine.key_values import ConvertedKeys, check_key_columns, convert_keys
from featurestore.engine.outputs import finish
from featurestore.engine.wrapping import serving_sql, training_sql
from featurestore.engine.column_types import quoted
from featurestore.model.errors import FailedPrecondition, InvalidArgument
from featurestore.model.query import QueryForm
from featurestore.model.serving import Answer, AnswerFormat, AnswerInfo, Keys
from featurestore.model.table import Version
from services.realtime import answers

_BATCH_ROWS = 65_536
_MAX_ROWS_BYTES = answers.ONE_KEY_BYTES


def statement(form: QueryForm, keys: ConvertedKeys) -> str:
    """The SQL that finds the rows of these keys: any text that shows exactly the rows of the wrapped query."""
    return serving_sql(form, keys)


def answer(
    cursor: duckdb.DuckDBPyConnection,
    query_id: str,
    form: QueryForm,
    keys: Keys,
    answer_format: AnswerFormat,
    version: Version,
) -> Answer:
    """The rows that the query shows for each asked key.

    Args:
        cursor: of one's own, for the length of the call.
        version: read before the call, so that the rows show at least it.

    Raises:
        InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`, `KEY_VALUE`, `KEY_NULL`, `KEY_WIDTH`, `KEYS_EMPTY`,
            `KEYS_TOO_MANY`, `SQL_VALUE`.
        FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
        ResourceExhausted: `ANSWER_TOO_LARGE`, `QUERY_MEMORY`.
    """
    converted = convert_keys(form, keys)
    asked = _as_table(converted)
    rows = run(cursor, form, statement(form, converted), asked.num_rows)
    parts = answers.split(rows, asked)
    key_answers, payload = answers.encode(parts, form.schema, answer_format)
    return Answer(key_answers, answer_format, payload, AnswerInfo(query_id, version))


def run(cursor: duckdb.DuckDBPyConnection, form: QueryForm, sql: str, key_count: int) -> pa.RecordBatch:
    """The rows of a text made from the form, with exactly the form's schema.

    Raises:
        See `answer`.
    """
    try:
        with translated():
            batches = _bounded(cursor.execute(sql).to_arrow_reader(_BATCH_ROWS), key_count)
    except InvalidArgument as error:
        raise _schema_changed(error) from error
    _check_types(batches.schema, form)
    return _one_batch(finish(batches, form))


def sample_keys(
    cursor: duckdb.DuckDBPyConnection, form: QueryForm, index_key: tuple[str, ...], count: int
) -> pa.Table:
    """Up to `count` distinct keys without nulls that the query shows now; columns as in the answers.

    Raises:
        InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`.
        FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
    """
    columns = check_key_columns(form, index_key)
    names = ", ".join(quoted(column.name) for column in columns)
    present = " AND ".join(f"{quoted(column.name)} IS NOT NULL" for column in columns)
    unordered = QueryForm(form.sql, form.columns)
    sql = (
        f"SELECT DISTINCT {names} FROM (\n{training_sql(unordered)}\n) AS __fs_keys WHERE {present} "
        f"LIMIT {max(0, int(count))}"
    )
    return pa.Table.from_batches([run(cursor, QueryForm(form.sql, columns), sql, 1)])


def _as_table(keys: ConvertedKeys) -> pa.Table:
    arrays = []
    for column, values in zip(keys.columns, zip(*keys.tuples, strict=True), strict=True):
        try:
            arrays.append(pa.array(values, type=column.type))
        except (pa.ArrowInvalid, OverflowError) as error:  # a HUGEINT beyond what may leave the store
            raise InvalidArgument(
                "KEY_VALUE",
                f"a value of index key {column.name} does not fit {column.type}, as which it leaves the store",
                column=column.name,
            ) from error
    return pa.table(arrays, names=[column.name for column in keys.columns])


def _bounded(reader: pa.RecordBatchReader, key_count: int) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    size = 0
    for batch in reader:
        size += batch.nbytes
        batches.append(batch)
        if size > _MAX_ROWS_BYTES:
            raise answers.too_large(size, key_count, max(1, key_count * answers.MANY_KEYS_BYTES // (2 * size)))
    return pa.Table.from_batches(batches, reader.schema)


def _one_batch(rows: pa.Table) -> pa.RecordBatch:
    batches = rows.combine_chunks().to_batches()
    if batches:
        return batches[0]
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in rows.schema], schema=rows.schema)


def _check_types(found: pa.Schema, form: QueryForm) -> None:
    """Compare what leaves the engine with the engine types at the save; `finish` would cast a difference away."""


def _schema_changed(error: InvalidArgument) -> Exception:
    if error.reason in ("UNKNOWN_TABLE", "UNKNOWN_COLUMN", "UNKNOWN_FUNCTION", "SQL_BIND"):
        return FailedPrecondition(
            "QUERY_SCHEMA_CHANGED",
            f"the query no longer fits the tables: {error.message}; save it again, or restore what it reads",
            cause=error.reason,
            **error.details,
        )
    return error
