"""A corpus on an engine of the store's own profile: its queries as saved, their plans, and what training shows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb

from featurestore.engine import profile
from featurestore.engine.key_values import KeyKind, key_kind
from featurestore.engine.planner import Plan, plan
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import QueryForm
from tests.property.corpora import frozen_tables
from tests.property.corpora.frozen_queries import FROZEN
from tests.property.corpora.oracle import Trained, Tuples, form_of, keys_of, mismatches, tables_of
from tests.property.corpora.reads import build_indexes
from tests.property.corpora.tpc import Corpus, fill

_PLAIN: Mapping[KeyKind, Any] = {
    KeyKind.BOOL: False,
    KeyKind.INTEGER: 1,
    KeyKind.DECIMAL: Decimal(1),
    KeyKind.TEXT: "a",
    KeyKind.DATE: date(2000, 1, 1),
}
"""A key to ask of a query that shows none."""


class Store:
    """Queries by name over filled tables; forms, plans and rows are made when first asked for."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, texts: Mapping[str, str]) -> None:
        """Take a connection whose tables are filled."""
        self.connection = connection
        self.texts = texts
        self._tables = tables_of(connection)
        self._forms: dict[str, QueryForm] = {}
        self._plans: dict[tuple[str, tuple[str, ...]], Plan] = {}
        self._trained: dict[str, Trained] = {}

    def form(self, name: str) -> QueryForm:
        """As a save makes it."""
        if name not in self._forms:
            self._forms[name] = form_of(self.connection, self.texts[name])
        return self._forms[name]

    def plan(self, name: str, index_key: tuple[str, ...]) -> Plan:
        """The plan, and indexes on all that it narrows on."""
        if (name, index_key) not in self._plans:
            made = plan(self.form(name), index_key, self._tables)
            build_indexes(self.connection, [made])
            self._plans[name, index_key] = made
        return self._plans[name, index_key]

    def trained(self, name: str) -> Trained:
        """All rows that it shows."""
        if name not in self._trained:
            self._trained[name] = Trained(self.connection, self.form(name))
        return self._trained[name]

    def key_columns(self, name: str) -> list[str]:
        """The output columns that can be an index key."""
        return [column.name for column in self.form(name).columns if _can_be_key(column)]

    def assert_planned_equals_plain(
        self, name: str, index_key: tuple[str, ...], asked: Sequence[Tuples]
    ) -> None:
        """For each set of keys: the planned query shows the plain one's rows."""
        made = self.plan(name, index_key)
        for tuples in asked:
            keys = keys_of(self.form(name), index_key, tuples)
            assert mismatches(self.connection, self.trained(name), made, keys) == []

    def index_keys(self, name: str) -> list[tuple[str, ...]]:
        """Every column that can be a key, alone and with the next one."""
        columns = self.key_columns(name)
        return [*((each,) for each in columns), *itertools.pairwise(columns)]

    def asked(
        self, name: str, index_key: tuple[str, ...], *, single: int, many: int
    ) -> list[list[tuple[Any, ...]]]:
        """Keys to ask for: the commonest alone, some others alone, and many at once with one that is not there."""
        counted = [key for key, _ in self.trained(name).counted(index_key)]
        if not counted:
            columns = [self.form(name).column(each) for each in index_key]
            return [[tuple(_PLAIN[key_kind(column)] for column in columns if column)]]
        alone = [[key] for key in dict.fromkeys((counted[0], *spread(counted, single)))]
        return [*alone, [tuple(map(_another, counted[0])), *spread(counted, many)]]


@contextmanager
def frozen_store() -> Iterator[Store]:
    """The frozen queries."""
    with profile.connect(threads=2, memory_limit="1GB") as connection:
        frozen_tables.create(connection)
        store = Store(connection, {each.name: each.sql for each in FROZEN})
        for each in FROZEN:
            store.plan(each.name, each.index_key)
        yield store


@contextmanager
def corpus_store(corpus: Corpus) -> Iterator[Store]:
    """TPC-H or TPC-DS; the names are the queries' numbers."""
    with profile.connect(threads=2, memory_limit="1GB") as connection:
        texts = fill(connection, corpus)
        yield Store(connection, {str(number): text for number, text in enumerate(texts, 1)})


def spread(found: Sequence[Any], count: int) -> list[Any]:
    """Some of many, evenly, the last among them."""
    step = max(1, len(found) // count)
    return list(found[::-step][:count])


def _can_be_key(column: Any) -> bool:
    try:
        key_kind(column)
    except InvalidArgument:
        return False
    return True


def _another(value: Any) -> Any:
    """A value of the type that is likely not there; of a boolean the other one."""
    match value:
        case bool():
            return not value
        case int() | Decimal():
            return type(value)(-1)
        case str():
            return value + "~"
        case date():
            return value + timedelta(days=36_525)
    return value
