"""The planner against the plain query, filtered afterwards in Arrow: the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from featurestore.engine import order
from featurestore.engine.compare import Mismatch, differences
from featurestore.engine.describe import describe
from featurestore.engine.key_values import ConvertedKeys, convert_keys
from featurestore.engine.outputs import finish
from featurestore.engine.planner import Plan
from featurestore.engine.planner.run import planned_rows
from featurestore.engine.sql_check import parse
from featurestore.engine.wrapping import training_sql
from featurestore.model.query import QueryForm
from featurestore.model.serving import Keys
from tests.support.prepared import statement_rows

Tables = Mapping[str, Mapping[str, str]]
Tuples = Sequence[tuple[Any, ...]]


def tables_of(connection: duckdb.DuckDBPyConnection) -> Tables:
    """What the planner is told: by name, the engine's type of each column."""
    tables: dict[str, dict[str, str]] = {}
    for table, column, type_ in connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE schema_name = 'feature_store' ORDER BY table_name, column_index"
    ).fetchall():
        tables.setdefault(table, {})[column] = type_
    return tables


def form_of(connection: duckdb.DuckDBPyConnection, sql: str) -> QueryForm:
    """As a save makes it.

    Raises:
        InvalidArgument: it can't be saved.
    """
    checked = parse(sql)
    columns = describe(connection.cursor(), checked.sql)
    return QueryForm(checked.sql, columns, order.terms(checked.order, columns)[0])


class Trained:
    """All rows that a query shows, and those of asked keys, filtered afterwards."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, form: QueryForm) -> None:
        """Run the plain query once."""
        self.form = form
        self.rows: pa.Table = finish(connection.execute(training_sql(form)).to_arrow_table(), form)
        self._keys: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}

    def counted(self, index_key: tuple[str, ...]) -> list[tuple[tuple[Any, ...], int]]:
        """The keys without nulls that it shows, with how many rows each has, from the commonest on."""
        found = Counter(key for key in self._each(index_key) if None not in key)
        return sorted(found.items(), key=lambda each: (-each[1], repr(each[0])))

    def filtered(self, keys: ConvertedKeys) -> pa.Table:
        """Its rows with one of these keys."""
        asked = set(keys.tuples)
        found = self._each(tuple(column.name for column in keys.columns))
        return self.rows.filter(pa.array([key in asked for key in found], pa.bool_()))

    def _each(self, index_key: tuple[str, ...]) -> list[tuple[Any, ...]]:
        if index_key not in self._keys:
            columns = [self.rows.column(name).to_pylist() for name in index_key]
            self._keys[index_key] = list(zip(*columns, strict=True))
        return self._keys[index_key]


def keys_of(form: QueryForm, index_key: Sequence[str], tuples: Tuples) -> ConvertedKeys:
    """Asked keys, converted as a call converts them."""
    return convert_keys(form, Keys(tuple(index_key), tuple(tuples)))


def mismatches(
    connection: duckdb.DuckDBPyConnection, trained: Trained, made: Plan, keys: ConvertedKeys
) -> list[Mismatch]:
    """What differs between the planned query, planned for the keys or before them, and the plain one, filtered afterwards."""
    wanted = trained.filtered(keys)
    rows = planned_rows(connection.cursor(), trained.form, made, keys)
    return _mismatches(trained, wanted, rows) or _mismatches(
        trained, wanted, statement_rows(connection, trained.form, made, keys)
    )


def _mismatches(trained: Trained, wanted: pa.Table, rows: pa.Table | None) -> list[Mismatch]:
    if rows is None:
        return []
    assert rows.schema == wanted.schema
    ordered = [term.column for term in trained.form.order]
    if ordered and not any(pa.types.is_floating(rows.schema.field(name).type) for name in ordered):
        assert rows.select(ordered).to_pylist() == wanted.select(ordered).to_pylist()
    return differences(wanted, rows)
