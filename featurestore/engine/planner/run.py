"""Running a plan."""

from __future__ import annotations

from datetime import date
from typing import Final

import duckdb
import pyarrow as pa

from featurestore.engine.key_values import ConvertedKeys, KeyKind, key_kind
from featurestore.engine.outputs import finish
from featurestore.engine.planner.model import Plan
from featurestore.engine.planner.text import Values, chain_sql, planned_sql
from featurestore.model.query import Column, QueryForm

CHAIN_VALUES: Final = 10_000
"""Beyond so many values a chain narrows nothing: the table is read whole."""

_BY_ARROW: Final = frozenset({"TIMESTAMP WITH TIME ZONE", "TIMESTAMP_NS"})
"""DuckDB itself needs a package of time zones to make Python values of the one, and cuts the other to microseconds."""


def chain_values(cursor: duckdb.DuckDBPyConnection, plan: Plan, keys: ConvertedKeys) -> Values:
    """The values of each chain; None for one that has too many.

    Raises:
        duckdb.Error: as the engine says it.
    """
    found: dict[int, list[object] | None] = {}
    for number, chain in enumerate(plan.chains):
        sql = chain_sql(plan, chain, keys, found, CHAIN_VALUES + 2)  # one more, and the null
        values = None if sql is None else _values(cursor.execute(sql), chain.column)
        found[number] = None if values is None or len(values) > CHAIN_VALUES else values
    return found


def _values(cursor: duckdb.DuckDBPyConnection, column: Column) -> list[object] | None:
    """What a statement found, without nulls; None if Python's types can't hold all of it."""
    if column.engine_type not in _BY_ARROW:
        plain = [value for (value,) in cursor.fetchall() if value is not None]
        return plain if all(_exact(value, column) for value in plain) else None
    found = cursor.to_arrow_table().column(0)
    try:
        values: list[object] = found.cast(pa.timestamp("us", found.type.tz)).drop_null().to_pylist()
    except (OverflowError, ValueError):  # finer than microseconds, or beyond the year 9999
        return None
    return values


def _exact(value: object, column: Column) -> bool:
    """Whether a value is what the engine holds.

    DuckDB hands infinity over as Python's first or last day, and what lies outside of Python's years as text.
    """
    if isinstance(value, date):  # or a datetime
        return date.min < date(value.year, value.month, value.day) < date.max
    return not isinstance(value, str) or key_kind(column) is KeyKind.TEXT


def planned_rows(
    cursor: duckdb.DuckDBPyConnection, form: QueryForm, plan: Plan, keys: ConvertedKeys
) -> pa.Table:
    """The rows of these keys, by the plan; both statements see one state of the tables.

    Raises:
        duckdb.Error: as the engine says it.
    """
    if not plan.chains:
        return finish(cursor.execute(planned_sql(form, plan, keys, {})).to_arrow_table(), form)
    cursor.begin()
    try:
        values = chain_values(cursor, plan, keys)
        return finish(cursor.execute(planned_sql(form, plan, keys, values)).to_arrow_table(), form)
    finally:
        cursor.rollback()
