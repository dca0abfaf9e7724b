"""Answering a saved query for keys: one statement for all of them, then each key's rows in the order asked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import duckdb
import pyarrow as pa

from featurestore.engine.column_types import quoted
from featurestore.engine.key_values import ConvertedKeys, check_key_columns, convert_keys
from featurestore.engine.stored_columns import check_stored_columns
from featurestore.engine.wrapping import training_sql
from featurestore.model.errors import FeatureStoreError, Internal, InvalidArgument
from featurestore.model.query import QueryForm
from featurestore.model.serving import Answer, AnswerFormat, AnswerInfo, Keys
from featurestore.model.table import Version
from services.realtime import answers
from services.realtime.lane import Lane
from services.realtime.plans import Plans, Prepared
from services.realtime.rows import plain_rows, planned_rows, run
from services.realtime.watchman import Watchman

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class Serving:
    """Runs saved queries on the tables as they are, and notices when they no longer fit."""

    def __init__(self, lane: Lane, plans: Plans, watchman: Watchman) -> None:
        """Serve from an engine.

        Args:
            lane: knows the definitions and the version.
            plans: how queries are served.
            watchman: looks at some of the answers again.
        """
        self._lane = lane
        self._plans = plans
        self._watchman = watchman

    def answer(
        self,
        cursor: duckdb.DuckDBPyConnection,
        query_id: str,
        form: QueryForm,
        keys: Keys,
        answer_format: AnswerFormat,
    ) -> Answer:
        """The rows that the query shows for each asked key.

        Args:
            cursor: of one's own, for the length of the call.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`, `KEY_VALUE`, `KEY_NULL`, `KEY_WIDTH`, `KEYS_EMPTY`,
                `KEYS_TOO_MANY`, `SQL_VALUE`.
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`, naming the columns.
            ResourceExhausted: `ANSWER_TOO_LARGE`, `QUERY_MEMORY`.
        """
        converted = convert_keys(form, keys)
        asked = _as_table(converted)
        prepared, version, rows = self._stable(lambda: self._rows(cursor, query_id, form, converted))
        parts = answers.split(rows, asked)
        key_answers, payload = answers.encode(parts, form.schema, answer_format)
        self._watchman.consider(query_id, prepared, converted)
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

        def sample() -> pa.Table:
            check_stored_columns(cursor, form)
            return pa.Table.from_batches([run(cursor, replace(form, columns=columns), sql, 1)])

        return self._stable(sample)

    def prepared(
        self, cursor: duckdb.DuckDBPyConnection, query_id: str, form: QueryForm, index_key: tuple[str, ...]
    ) -> Prepared:
        """How the query is served by an index key now.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`.
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
        """
        columns = check_key_columns(form, index_key)
        return self._stable(lambda: self._plans.prepared(cursor, query_id, form, columns))

    def _rows(
        self, cursor: duckdb.DuckDBPyConnection, query_id: str, form: QueryForm, keys: ConvertedKeys
    ) -> tuple[Prepared, Version, pa.RecordBatch]:
        prepared = self._plans.prepared(cursor, query_id, form, keys.columns)
        version = self._lane.version  # before the statement begins, so that it shows at least this
        try:
            return prepared, version, planned_rows(cursor, prepared, keys)
        except (InvalidArgument, Internal):
            if not prepared.plan.narrows:
                raise
            # The plain query may meet the same value; if it doesn't, the plan is to blame.
            rows = plain_rows(cursor, form, keys)
            _logger.exception("the plan of query %s failed where the plain query does not", query_id)
            prepared.distrust(
                "the narrowed text failed where the query does not: please report it; it is served as it is"
            )
            return prepared, version, rows

    def _stable(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises under one set of definitions; done again when they changed meanwhile."""
        while True:
            tables = self._lane.tables
            try:
                found = work()
            except FeatureStoreError:
                if self._lane.unchanged_since(tables):
                    raise
            else:
                if self._lane.unchanged_since(tables):
                    return found


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
