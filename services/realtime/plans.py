"""How each saved query is served: planned once for an index key and the tables as they are, then kept."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

import duckdb

from featurestore.engine.apply import Tables
from featurestore.engine.column_types import duckdb_type
from featurestore.engine.failures import translate
from featurestore.engine.key_values import ConvertedKeys, KeyKind, key_kind
from featurestore.engine.planner import Plan, Stop, plan
from featurestore.engine.planner.run import chain_values
from featurestore.engine.planner.text import planned_sql
from featurestore.engine.sql_check import parse
from featurestore.engine.stored_columns import check_stored_columns
from featurestore.engine.tables import identity
from featurestore.engine.wrapping import serving_sql
from featurestore.model.errors import FailedPrecondition, InvalidArgument
from featurestore.model.query import Column, QueryForm, Warned
from featurestore.model.serving import AnswerFormat, AnswerInfo, KeyValue
from featurestore.model.table import TableDefinition
from services.realtime import answers
from services.realtime.lane import Lane
from services.realtime.proposals import known_table
from services.realtime.trial import Trials

_logger = logging.getLogger(__name__)

MOST_PLANS: Final = 2_048
"""Kept at once; the one that was not asked for the longest goes first."""

_ABSENT: dict[KeyKind, KeyValue] = {
    KeyKind.BOOL: False,
    KeyKind.INTEGER: 0,
    KeyKind.DECIMAL: Decimal(0),
    KeyKind.TEXT: "",
    KeyKind.DATE: date(1970, 1, 1),
    KeyKind.TIMESTAMP: datetime(1970, 1, 1),  # noqa: DTZ001 - a key without a zone
    KeyKind.ZONED_TIMESTAMP: datetime(1970, 1, 1, tzinfo=UTC),
    KeyKind.UUID: "00000000-0000-0000-0000-000000000000",
    KeyKind.BLOB: b"",
}


_numbers = itertools.count(1)


def any_key(columns: tuple[Column, ...]) -> ConvertedKeys:
    """Some key of these types, for binding a text or for a query that shows none."""
    return ConvertedKeys(columns, (tuple(_ABSENT[key_kind(column)] for column in columns),))


@dataclass(slots=True)
class Prepared:
    """A query, ready to be served by an index key.

    Attributes:
        reads: the definitions of the tables that it reads, which it was planned for.
        plan: what to narrow; narrows nothing once the watchman found a difference.
        warnings: what its text alone is warned of.
        uses_clock: its answers change with time alone.
        distrusted: why the plan is not used; empty while it is.
        without_statement: its text failed as a prepared statement, and is planned each time.
        trials: which text is the faster one.
        number: under which its answers are kept; another one once it is distrusted.
        kept_info: what was told of the last answer that came from the cache.
    """

    form: QueryForm
    columns: tuple[Column, ...]
    tables: Tables
    reads: dict[str, TableDefinition]
    plan: Plan
    warnings: tuple[Warned, ...]
    uses_clock: bool
    distrusted: str = ""
    without_statement: bool = False
    trials: Trials = field(default_factory=Trials)
    number: int = field(default_factory=_numbers.__next__)
    kept_info: AnswerInfo | None = None
    _around: dict[AnswerFormat, tuple[bytes, bytes]] = field(default_factory=dict)

    @property
    def comparable(self) -> bool:
        """Whether two runs on the same data give the same answer, so that the watchman can tell."""
        return not self.uses_clock and not any(each.reason == "UNDETERMINED" for each in self.warnings)

    def around(self, answer_format: AnswerFormat) -> tuple[bytes, bytes]:
        """What comes before and behind the messages of an answer."""
        known = self._around.get(answer_format)
        if known is None:
            known = self._around[answer_format] = answers.around(self.form.schema, answer_format)
        return known

    @property
    def cacheable(self) -> bool:
        """Whether it is known what an answer depends on."""
        return (
            not self.uses_clock
            and {identity(each.table) for each in self.plan.occurrences} == self.reads.keys()
        )

    @property
    def narrows_on(self) -> set[tuple[str, str]]:
        """The columns that should be indexed: (table, column)."""
        return {
            (each.table, narrowing.column) for each in self.plan.occurrences for narrowing in each.narrowed
        }

    def narrows(self, key_count: int) -> bool:
        """Whether so many keys are served by a narrowed text: for one whose reads need a chain's values, always."""
        trial = self.trials.of(key_count)
        return self.plan.narrows and (bool(self.plan.chains) or trial.statement or not trial.plain)

    def serves(self, form: QueryForm, tables: Tables) -> bool:
        """Whether it still holds, for this form and these tables."""
        if self.form is not form and self.form != form:
            return False
        if self.tables is not tables:
            if any(tables.get(name) is not known for name, known in self.reads.items()):
                return False
            self.tables = tables
        return True

    def distrust(self, why: str) -> None:
        """Serve by the plain text from now on."""
        self.distrusted = why
        whole = tuple(replace(each, narrowed=(), stopped=Stop(None, why)) for each in self.plan.occurrences)
        self.plan = replace(self.plan, occurrences=whole, chains=())
        self.number = next(_numbers)  # last: what is kept under it is of the new plan


class Plans:
    """Keeps what was prepared, up to a bound. Any thread."""

    def __init__(self, lane: Lane) -> None:
        """Prepare for an engine.

        Args:
            lane: knows the definitions as they are.
        """
        self._lane = lane
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, tuple[str, ...]], Prepared] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def kept(self, query_id: str, form: QueryForm, index_key: tuple[str, ...]) -> Prepared | None:
        """What serves the query now, if it was prepared before; never waits."""
        name = query_id, index_key
        with self._lock:
            known = self._kept.get(name)
            if known is None or not known.serves(form, self._lane.tables):
                return None
            self._kept.move_to_end(name)
            return known

    def prepared(
        self, cursor: duckdb.DuckDBPyConnection, query_id: str, form: QueryForm, columns: tuple[Column, ...]
    ) -> Prepared:
        """What serves the query by these columns now.

        Args:
            query_id: empty for a query that is not saved; it is prepared each time.

        Raises:
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`, naming the columns.
        """
        tables = self._lane.tables
        name = query_id, tuple(column.name for column in columns)
        known = self.kept(query_id, form, name[1])
        if known is not None:
            return known
        made = prepare(cursor, form, columns, tables)
        if not self._lane.unchanged_since(tables):
            return made  # whoever asked will see that too, and ask again
        if made.distrusted:
            _logger.error("query %s is not narrowed: %s", query_id, made.distrusted)
        if query_id:
            with self._lock:
                self._kept[name] = made
                self._kept.move_to_end(name)
                while len(self._kept) > MOST_PLANS:
                    self._kept.popitem(last=False)
        return made


def prepare(
    cursor: duckdb.DuckDBPyConnection, form: QueryForm, columns: tuple[Column, ...], tables: Tables
) -> Prepared:
    """Plan a query for an index key, and have the engine bind what would run.

    Raises:
        FailedPrecondition: `QUERY_SCHEMA_CHANGED`, naming the columns.
    """
    check_stored_columns(cursor, form)
    try:
        found = parse(form.sql)
    except InvalidArgument as error:
        # Saved by a release that took it: what was promised is served, but not changed in any way.
        _logger.warning("a saved query would not be saved any more, and is served as it is: %s", error)
        return Prepared(form, columns, tables, dict(tables), Plan(columns, ()), (), uses_clock=True)
    reads = {}
    for name in found.tables:
        reads[identity(name)] = known_table(tables, name)
    types = {
        each.name: {column.name: duckdb_type(column.type) for column in each.schema}
        for each in reads.values()
    }
    made = Prepared(
        form,
        columns,
        tables,
        reads,
        _planned(form, columns, types),
        found.warnings,
        uses_clock=found.uses_clock,
    )
    if made.plan.narrows and (why := _binds_otherwise(cursor, made)):
        made.distrust(f"{why}: it is served as it is")
    return made


_UNKNOWN: Final = "it is not known what its answers depend on"
_CLOCK: Final = "it calls now() or the like, so its answer changes with time alone"


def not_cacheable(prepared: Prepared) -> str:
    """Why answers of the query are never kept; empty if they are."""
    if prepared.cacheable:
        return ""
    return _CLOCK if prepared.uses_clock else _UNKNOWN


def check_cacheable(prepared: Prepared) -> None:
    """Refuse a query whose answers are never kept.

    Raises:
        FailedPrecondition: `NOT_CACHEABLE`, with the reason in `because`.
    """
    if because := not_cacheable(prepared):
        raise FailedPrecondition("NOT_CACHEABLE", f"the query can't be warmed: {because}", because=because)


def _planned(form: QueryForm, columns: tuple[Column, ...], types: dict[str, dict[str, str]]) -> Plan:
    try:
        return plan(form, [column.name for column in columns], types)
    except Exception:
        # An error of ours in what only makes it faster must not keep anybody from being served.
        _logger.exception("a query could not be planned; it is served as it is")
        return Plan(columns, ())


def _binds_otherwise(cursor: duckdb.DuckDBPyConnection, made: Prepared) -> str:
    """How the narrowed text differs from the plain one to the engine; empty if it doesn't."""
    keys = any_key(made.columns)
    try:
        plain = _bound(cursor, serving_sql(made.form, keys))
        values = chain_values(cursor, made.plan, keys)
        planned = _bound(cursor, planned_sql(made.form, made.plan, keys, values))
    except duckdb.Error as error:
        return f"the engine can't bind the narrowed text ({translate(error).message})"
    return "" if planned == plain else "the engine binds the narrowed text to other columns than the query"


def _bound(cursor: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[str, str]]:
    # The rest of what DESCRIBE says is of constraints, which a table's name has and a narrowing has not.
    return [(name, type_) for name, type_, *_ in cursor.execute(f"DESCRIBE {sql}").fetchall()]
