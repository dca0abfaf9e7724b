"""What the engine really read for a plan: its own profile, not the planner's word."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from featurestore.engine.column_types import quoted
from featurestore.engine.key_values import ConvertedKeys
from featurestore.engine.planner import Occurrence, Plan
from featurestore.engine.planner.run import chain_values
from featurestore.engine.planner.text import planned_sql
from featurestore.model.query import QueryForm


def said(occurrence: Occurrence) -> str:
    """What a plan says of one occurrence, as the frozen queries write it."""
    if not occurrence.narrowed:
        rule = occurrence.stopped.rule if occurrence.stopped else None
        return f"whole {rule.value if rule else 'UNCONNECTED'}"
    return ", ".join(
        sorted(f"{'key' if each.chain is None else 'chain'} {each.column}" for each in occurrence.narrowed)
    )


def build_indexes(connection: duckdb.DuckDBPyConnection, plans: Iterable[Plan]) -> None:
    """One index on each column that a plan narrows on."""
    columns = {
        (occurrence.table, each.column)
        for made in plans
        for occurrence in made.occurrences
        for each in occurrence.narrowed
    }
    for table, column in sorted(columns):
        connection.execute(
            f"CREATE INDEX IF NOT EXISTS {quoted(f'{table}_{column}')} "
            f"ON feature_store.{quoted(table)} ({quoted(column)})"
        )


@dataclass(frozen=True, slots=True)
class Reads:
    """How often one statement read each table by an index, and how often whole."""

    by_index: Counter[str]
    whole: Counter[str]

    def indexed(self, made: Plan) -> list[bool | None]:
        """Of each occurrence, whether its rows came by an index; None where its table was not read at all.

        Occurrences that are narrowed alike are read once, so tables are told apart, not occurrences. A table that the
        plan leaves alone may come by an index nevertheless: DuckDB moves the outer WHERE down where it can.
        """
        narrowings = Counter(
            table
            for table, narrowed in {(each.table, each.narrowed) for each in made.occurrences}
            if narrowed
        )
        return [self._indexed(each, narrowings[each.table]) for each in made.occurrences]

    def _indexed(self, occurrence: Occurrence, narrowings: int) -> bool | None:
        table = occurrence.table
        if self.whole[table]:
            return bool(occurrence.narrowed) and self.by_index[table] >= narrowings
        return True if self.by_index[table] else None


def reads(
    connection: duckdb.DuckDBPyConnection, form: QueryForm, made: Plan, keys: ConvertedKeys
) -> tuple[Reads, list[Reads]]:
    """Of the planned query, and of the fetch of each chain's values."""
    cursor = _Recording(connection.cursor())
    values = chain_values(cursor, made, keys)
    main = _profiled(connection.cursor(), planned_sql(replace(form, order=()), made, keys, values))
    return main, [_profiled(connection.cursor(), text) for text in cursor.texts]


class _Recording:
    """A cursor that keeps what it was asked."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self.texts: list[str] = []

    def execute(self, text: str) -> duckdb.DuckDBPyConnection:
        self.texts.append(text)
        return self._cursor.execute(text)


def _profiled(cursor: duckdb.DuckDBPyConnection, sql: str) -> Reads:
    found = cursor.execute(f"EXPLAIN (ANALYZE, FORMAT json) {sql}").fetchall()
    by_index: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for node in _nodes(json.loads(found[0][1])):
        if node.get("operator_type") == "TABLE_SCAN" and "Table" in node["extra_info"]:
            info = node["extra_info"]
            kind = by_index if info.get("Type") == "Index Scan" else whole
            kind[info["Table"].rpartition(".")[2]] += 1
    return Reads(by_index, whole)


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("children", ()):
        yield from _nodes(child)
