"""Answering a saved query for keys: one statement for all of them, then each key's rows in the order asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import duckdb
import pyarrow as pa

from featurestore.engine.column_types import quoted
from featurestore.engine.key_values import ConvertedKeys, check_key_columns, convert_keys, converted_to
from featurestore.engine.planner.text import Values
from featurestore.engine.stored_columns import check_stored_columns
from featurestore.engine.wrapping import training_sql
from featurestore.model.errors import FeatureStoreError, Internal, InvalidArgument
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import Answer, AnswerFormat, AnswerInfo, Keys, KeyValue
from services.realtime import answers
from services.realtime.answers import Part
from services.realtime.cache import AnswerCache
from services.realtime.choosing import planned_rows
from services.realtime.costs import Costs, Subject
from services.realtime.kept import Fate, Name
from services.realtime.lane import Lane
from services.realtime.plans import Plans, Prepared, check_cacheable
from services.realtime.rows import plain_rows, run
from services.realtime.statements import Statements
from services.realtime.touches import dependences
from services.realtime.watchman import Watchman

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_MOST_ON_LOOP: Final = 32
"""For more keys than this, looking them up is work for a thread."""
_GIVE_WAY: Final = 8
"""Answers that nobody waits for are encoded and kept in such pieces, each of them a millisecond at the most."""
_COUNT: Final = "__fs_count"
_MOST_CHAINED: Final = 20_000
"""Keys times values of chains that answers of one statement are registered under."""


class TooMuchAtOnceError(Exception):
    """The answers of one statement would all depend on so many values that none is kept: fewer keys may do."""


class Serving:
    """Runs saved queries on the tables as they are, and notices when they no longer fit."""

    def __init__(
        self,
        lane: Lane,
        plans: Plans,
        cache: AnswerCache,
        statements: Statements,
        watchman: Watchman,
        costs: Costs,
    ) -> None:
        """Serve from an engine.

        Args:
            lane: knows the definitions and the version.
            plans: how queries are served.
            cache: answers from before; the lane tells it of writes.
            statements: planned before.
            watchman: looks at some of the answers again.
            costs: told of what answers cost that could have been kept.
        """
        self._lane = lane
        self._plans = plans
        self._cache = cache
        self._statements = statements
        self._watchman = watchman
        self._costs = costs

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
        return self.answer_each(cursor, query_id, form, [checked(convert_keys(form, keys))], answer_format)[0]

    def answer_each(
        self,
        cursor: duckdb.DuckDBPyConnection,
        query_id: str,
        form: QueryForm,
        calls: Sequence[ConvertedKeys],
        answer_format: AnswerFormat,
    ) -> list[Answer]:
        """The same for several calls by one statement, an answer for each.

        Args:
            calls: at least one, of the same key columns, `checked`.

        Raises:
            FailedPrecondition, ResourceExhausted, InvalidArgument: see `answer`; also when one call alone is at fault.
        """
        return self._stable(lambda: self._answer(cursor, query_id, form, calls, answer_format))

    def kept(self, query_id: str, form: QueryForm, keys: Keys, answer_format: AnswerFormat) -> Answer | None:
        """The same, if all of it is kept from before; never waits, so that it may be asked on the event loop.

        Raises:
            See `answer`.
        """
        if not self._cache.enabled or len(keys.tuples) > _MOST_ON_LOOP:
            return None
        prepared = self._plans.kept(query_id, form, keys.columns)
        if prepared is None:
            return None
        converted = converted_to(prepared.columns, keys)
        version = self._lane.version
        found = self._cache.get_all([(prepared.number, answer_format, each) for each in converted.tuples])
        if found is None:
            return None
        info = prepared.kept_info
        if info is None or info.data_version is not version:  # one for all answers between two writes
            info = prepared.kept_info = AnswerInfo(query_id, version, from_cache=True)
        return answers.joined(found, prepared.around(answer_format), answer_format, info)

    def _answer(
        self,
        cursor: duckdb.DuckDBPyConnection,
        query_id: str,
        form: QueryForm,
        calls: Sequence[ConvertedKeys],
        answer_format: AnswerFormat,
    ) -> list[Answer]:
        columns = calls[0].columns
        prepared = self._plans.prepared(cursor, query_id, form, columns)
        version = self._lane.version  # before anything is looked up, so that all of it shows at least this
        distinct = list(dict.fromkeys(each for keys in calls for each in keys.tuples))
        part_of: dict[tuple[KeyValue, ...], Part] = {}
        keep = self._cache.enabled and prepared.cacheable and query_id != ""
        # Before the plan is run: answers of one that is taken back meanwhile are not found.
        number = prepared.number
        if keep:
            names = [(number, answer_format, each) for each in distinct]
            found = zip(distinct, self._cache.get(names), strict=True)
            part_of.update({each: kept for each, kept in found if kept is not None})
        missing = ConvertedKeys(columns, tuple(each for each in distinct if each not in part_of))
        if missing.tuples:
            began = time.monotonic()
            token = self._cache.begin()
            try:
                rows, values = self._rows(cursor, query_id, prepared, missing)
                parts = answers.encoded(_split(rows, missing), answer_format)
                part_of.update(zip(missing.tuples, parts, strict=True))
                if keep:
                    self._keep(token, (number, answer_format), prepared, missing, values, parts)
            finally:
                self._cache.end(token)
            if keep:
                self._costs.add(Subject.of(query_id, prepared), time.monotonic() - began)
            self._watchman.consider(query_id, prepared, missing)
        fresh = set(missing.tuples)
        around = prepared.around(answer_format)
        return [
            answers.joined(
                [part_of[each] for each in keys.tuples],
                around,
                answer_format,
                AnswerInfo(query_id, version, from_cache=fresh.isdisjoint(keys.tuples)),
            )
            for keys in calls
        ]

    def _keep(
        self,
        token: int,
        which: tuple[int, AnswerFormat],
        prepared: Prepared,
        keys: ConvertedKeys,
        values: Values,
        parts: Sequence[Part],
    ) -> None:
        if _too_many_chained(keys, values):
            return  # every key would be said to depend on the values of all
        found = dependences(prepared.plan, keys, values)
        for each, part, depends in zip(keys.tuples, parts, found, strict=True):
            self._cache.put(token, (*which, each), part.message, part.row_count, depends)

    def compute(
        self,
        cursor: duckdb.DuckDBPyConnection,
        subject: Subject,
        keys: ConvertedKeys,
        answer_format: AnswerFormat,
    ) -> dict[tuple[KeyValue, ...], Fate | None]:
        """Have the answers for these keys kept without pushing others out; asks nothing of the watchman, counts nothing.

        Args:
            keys: each of them once.

        Returns:
            What became of each key's answer; None if it was there before, and was not computed.

        Raises:
            FailedPrecondition: `NOT_CACHEABLE`, `QUERY_SCHEMA_CHANGED`.
            ResourceExhausted: `ANSWER_TOO_LARGE`, `QUERY_MEMORY`; likewise TooMuchAtOnceError: fewer keys may do.
            InvalidArgument: `SQL_VALUE`, `KEY_VALUE`.
        """
        return self._stable(lambda: self._compute(cursor, subject, keys, answer_format))

    def _compute(
        self,
        cursor: duckdb.DuckDBPyConnection,
        subject: Subject,
        keys: ConvertedKeys,
        answer_format: AnswerFormat,
    ) -> dict[tuple[KeyValue, ...], Fate | None]:
        prepared = self._plans.prepared(cursor, subject.query_id, subject.form, keys.columns)
        check_cacheable(prepared)
        fates: dict[tuple[KeyValue, ...], Fate | None] = dict.fromkeys(keys.tuples)
        names: dict[tuple[KeyValue, ...], Name] = {
            each: (prepared.number, answer_format, each) for each in keys.tuples
        }
        absent = set(self._cache.missing(list(names.values())))
        missing = ConvertedKeys(keys.columns, tuple(each for each, name in names.items() if name in absent))
        if not missing.tuples:
            return fates
        token = self._cache.begin()
        try:
            rows, values = self._rows(cursor, subject.query_id, prepared, missing)
            if _too_many_chained(missing, values):
                raise TooMuchAtOnceError
            batches = _split(rows, missing)
            found = dependences(prepared.plan, missing, values)
            for at, (each, batch, depends) in enumerate(zip(missing.tuples, batches, found, strict=True)):
                if at % _GIVE_WAY == 0:
                    time.sleep(0)  # whoever waits for the interpreter goes first
                [part] = answers.encoded([batch], answer_format)
                fates[each] = self._cache.put(
                    token, names[each], part.message, part.row_count, depends, make_room=False
                )
        finally:
            self._cache.end(token)
        return fates

    def sample_keys(
        self, cursor: duckdb.DuckDBPyConnection, form: QueryForm, index_key: tuple[str, ...], count: int
    ) -> pa.Table:
        """Up to `count` distinct keys without nulls that the query shows now; columns as in the answers.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`.
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
        """
        columns = check_key_columns(form, index_key)
        return self._keys(cursor, form, columns, f"{_keys_sql(form, columns)} LIMIT {max(0, count)}")

    def all_keys(
        self, cursor: duckdb.DuckDBPyConnection, form: QueryForm, index_key: tuple[str, ...], most: int
    ) -> tuple[pa.Table, int]:
        """The distinct keys without nulls that the query shows now, or `most` of them, and how many there are.

        Raises:
            InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`, `SQL_VALUE`.
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
            ResourceExhausted: `ANSWER_TOO_LARGE`: they have 64 MiB or more; `QUERY_MEMORY`.
        """
        columns = check_key_columns(form, index_key)
        counted = (*columns, Column(_COUNT, pa.int64(), "BIGINT"))
        sql = (
            f"WITH __fs_all AS MATERIALIZED ({_keys_sql(form, columns)}) "
            f"SELECT *, (SELECT count(*) FROM __fs_all) AS {_COUNT} FROM __fs_all LIMIT {max(1, most)}"
        )
        found = self._keys(cursor, form, counted, sql)
        total = found.column(_COUNT)[0].as_py() if found.num_rows else 0
        return found.drop_columns([_COUNT]).slice(0, most), total

    def _keys(
        self, cursor: duckdb.DuckDBPyConnection, form: QueryForm, columns: tuple[Column, ...], sql: str
    ) -> pa.Table:
        def find() -> pa.Table:
            check_stored_columns(cursor, form)
            return pa.Table.from_batches([run(cursor, replace(form, columns=columns), sql, 1)])

        return self._stable(find)

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

    def prepared_for(self, cursor: duckdb.DuckDBPyConnection, subject: Subject) -> Prepared:
        """The same, for a subject.

        Raises:
            See `prepared`.
        """
        return self.prepared(cursor, subject.query_id, subject.form, subject.index_key)

    def known(self, query_id: str, form: QueryForm, index_key: tuple[str, ...]) -> Prepared | None:
        """The same if it was found before, and still holds; never waits."""
        return self._plans.kept(query_id, form, index_key)

    def _rows(
        self, cursor: duckdb.DuckDBPyConnection, query_id: str, prepared: Prepared, keys: ConvertedKeys
    ) -> tuple[pa.RecordBatch, Values]:
        try:
            return planned_rows(cursor, self._statements, query_id, prepared, keys)
        except (InvalidArgument, Internal):
            if not prepared.plan.narrows:
                raise
            # The plain query may meet the same value; if it doesn't, the plan is to blame.
            rows = plain_rows(cursor, prepared.form, keys)
            _logger.exception("the plan of query %s failed where the plain query does not", query_id)
            prepared.distrust(
                "the narrowed text failed where the query does not: please report it; it is served as it is"
            )
            return rows, {}

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


def _keys_sql(form: QueryForm, columns: tuple[Column, ...]) -> str:
    names = ", ".join(quoted(column.name) for column in columns)
    present = " AND ".join(f"{quoted(column.name)} IS NOT NULL" for column in columns)
    text = training_sql(replace(form, order=()))
    return f"SELECT DISTINCT {names} FROM (\n{text}\n) AS __fs_keys WHERE {present}"


def _too_many_chained(keys: ConvertedKeys, values: Values) -> bool:
    return sum(len(each or ()) for each in values.values()) * len(keys.tuples) > _MOST_CHAINED


def checked(keys: ConvertedKeys) -> ConvertedKeys:
    """The keys, none of which is one that no answer could hold, whether it is asked for alone or among others.

    Raises:
        InvalidArgument: `KEY_VALUE`.
    """
    if any(column.engine_type in ("HUGEINT", "UHUGEINT") for column in keys.columns):
        _as_table(keys)
    return keys


def _split(rows: pa.RecordBatch, keys: ConvertedKeys) -> list[pa.RecordBatch]:
    return [rows] if len(keys.tuples) == 1 else answers.split(rows, _as_table(keys))


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
