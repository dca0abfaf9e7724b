"""Answering a saved query for keys: one statement for all of them, then each key's rows in the order asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import duckdb
import pyarrow as pa

from featurestore.engine.apply import Tables
from featurestore.engine.column_types import quoted
from featurestore.engine.describe import describe
from featurestore.engine.failures import translate
from featurestore.engine.key_values import ConvertedKeys, check_key_columns, convert_keys
from featurestore.engine.outputs import finish
from featurestore.engine.wrapping import serving_sql, training_sql
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


class Serving:
    """Runs saved queries on the tables as they are, and notices when they no longer fit."""

    def __init__(self, tables: Callable[[], Tables]) -> None:
        """Serve from an engine.

        Args:
            tables: the definitions as they are; another object whenever one of them changed.
        """
        self._tables = tables
        self._fitting: tuple[Tables, set[QueryForm]] = ({}, set())

    def answer(
        self,
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
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`, naming the column.
            ResourceExhausted: `ANSWER_TOO_LARGE`, `QUERY_MEMORY`.
        """
        converted = convert_keys(form, keys)
        asked = _as_table(converted)
        rows = self.run(cursor, form, statement(form, converted), asked.num_rows)
        parts = answers.split(rows, asked)
        key_answers, payload = answers.encode(parts, form.schema, answer_format)
        return Answer(key_answers, answer_format, payload, AnswerInfo(query_id, version))

    def sample_keys(
        self, cursor: duckdb.DuckDBPyConnection, form: QueryForm, index_key: tuple[str, ...], count: int
    ) -> pa.Table:
        """Up to `count` distinct keys without nulls that the query shows now; columns as in the answers.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`.
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
        """
        columns = check_key_columns(form, index_key)
        names = ", ".join(quoted(column.name) for column in columns)
        present = " AND ".join(f"{quoted(column.name)} IS NOT NULL" for column in columns)
        sql = (
            f"SELECT DISTINCT {names} FROM (\n{training_sql(replace(form, order=()))}\n) AS __fs_keys "
            f"WHERE {present} LIMIT {max(0, count)}"
        )
        self.check(cursor, form)
        return pa.Table.from_batches([_run(cursor, replace(form, columns=columns), sql, 1)])

    def run(
        self, cursor: duckdb.DuckDBPyConnection, form: QueryForm, sql: str, key_count: int
    ) -> pa.RecordBatch:
        """The rows of a text made from the form by `statement`, with exactly the form's schema.

        Raises:
            See `answer`.
        """
        self.check(cursor, form)
        return _run(cursor, form, sql, key_count)

    def check(self, cursor: duckdb.DuckDBPyConnection, form: QueryForm) -> None:
        """Bind the query again if a definition changed since it was last bound.

        The wrapper casts what leaves, so a column that changed its type could go unnoticed in the rows.

        Raises:
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`, naming the column.
        """
        tables, fitting = self._tables(), self._fitting
        if fitting[0] is not tables:
            fitting = self._fitting = (tables, set())
        if form not in fitting[1]:
            _check_bound(cursor, form)
            fitting[1].add(form)


def _check_bound(cursor: duckdb.DuckDBPyConnection, form: QueryForm) -> None:
    try:
        found = {column.name: column.engine_type for column in describe(cursor, form.sql)}
    except InvalidArgument as error:
        raise _schema_changed(error.message, **error.details) from error
    for column in form.columns:
        now = found.get(column.name)
        if now is None:
            raise _schema_changed(f"it no longer returns column {column.name}", column=column.name)
        if now != column.engine_type:
            raise _schema_changed(
                f"its column {column.name} was {column.engine_type} at the save and is {now}",
                column=column.name,
                saved=column.engine_type,
                found=now,
            )


def _schema_changed(what: str, **details: object) -> FailedPrecondition:
    return FailedPrecondition(
        "QUERY_SCHEMA_CHANGED",
        f"the query no longer fits the tables: {what}; restore what it reads, or save the query again",
        **details,
    )


def _run(cursor: duckdb.DuckDBPyConnection, form: QueryForm, sql: str, key_count: int) -> pa.RecordBatch:
    try:
        rows = _bounded(cursor.execute(sql).to_arrow_reader(_BATCH_ROWS), key_count)
    except (duckdb.Error, OSError) as error:
        raise translate(error) from error
    return _one_batch(finish(rows, form))


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
            raise answers.too_large(
                size, key_count, max(1, key_count * answers.MANY_KEYS_BYTES // (2 * size))
            )
    return pa.Table.from_batches(batches, reader.schema)


def _one_batch(rows: pa.Table) -> pa.RecordBatch:
    batches = rows.combine_chunks().to_batches()
    if batches:
        return batches[0]
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in rows.schema], schema=rows.schema)
