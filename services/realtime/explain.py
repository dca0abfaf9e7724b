"""How a query is served by an index key: what the engine did for one key, read from its own profile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb

from featurestore.engine.failures import translate
from featurestore.engine.key_values import ConvertedKeys, KeyKind, check_key_columns, key_kind
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import Explanation, KeyValue, Occurrence, Verdict
from services.realtime.serving import Serving, statement

_SCAN = "TABLE_SCAN"
_NOT_CACHED = "answers are not kept yet"
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
"""A value of each kind, for a query that shows no key."""


def explain(
    cursor: duckdb.DuckDBPyConnection,
    serving: Serving,
    query_id: str,
    form: QueryForm,
    index_key: tuple[str, ...],
) -> Explanation:
    """Serve one key that the query shows, or one that it doesn't if it shows none, and tell how.

    The engine chooses between index and scan while it runs, so its plan alone can't tell.

    Raises:
        InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_TYPE`.
        FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
    """
    columns = check_key_columns(form, index_key)
    keys = ConvertedKeys(columns, (_sample(cursor, serving, form, columns),))
    try:
        found = cursor.execute(f"EXPLAIN (ANALYZE, FORMAT json) {statement(form, keys)}").fetchall()
    except duckdb.Error as error:
        raise translate(error) from error
    profile = json.loads(found[0][1])
    occurrences = tuple(_occurrence(node) for _, node in _nodes(profile) if node["operator_type"] == _SCAN)
    return Explanation(
        query_id=query_id,
        index_key=index_key,
        verdict=_verdict(occurrences),
        occurrences=occurrences,
        cacheable=False,
        not_cacheable_because=_NOT_CACHED,
        plan="\n".join(_line(depth, node) for depth, node in _nodes(profile)),
    )


def _sample(
    cursor: duckdb.DuckDBPyConnection, serving: Serving, form: QueryForm, columns: tuple[Column, ...]
) -> tuple[KeyValue, ...]:
    shown = serving.sample_keys(cursor, form, tuple(column.name for column in columns), 1)
    if shown.num_rows:
        return tuple(shown.column(column.name)[0].as_py() for column in columns)
    return tuple(_ABSENT[key_kind(column)] for column in columns)


def _nodes(node: dict[str, Any], depth: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """The operators below the profile's own two nodes, each before what it reads from."""
    own = node.get("operator_type", "EXPLAIN_ANALYZE") == "EXPLAIN_ANALYZE"
    if not own:
        yield depth, node
    for child in node.get("children", ()):
        yield from _nodes(child, depth if own else depth + 1)


def _occurrence(node: dict[str, Any]) -> Occurrence:
    info = node["extra_info"]
    table = info["Table"].rpartition(".")[2]
    estimate = int(info.get("Estimated Cardinality", 0))
    if info.get("Type") == "Index Scan":
        condition = info.get("Filters") or info.get("Dynamic Filters", "")
        column = condition.partition("=")[0].strip()  # not the value: it is some customer's
        return Occurrence(table, table, narrowed_on=column, index=f"on {column}", estimated_rows=estimate)
    return Occurrence(
        table,
        table,
        stopped_by="the engine reads the whole table: no index of it fits the condition that reaches it",
        estimated_rows=estimate,
    )


def _verdict(occurrences: tuple[Occurrence, ...]) -> Verdict:
    by_index = sum(1 for each in occurrences if each.index)
    if by_index == len(occurrences):
        return Verdict.INDEXED
    return Verdict.PARTLY_INDEXED if by_index else Verdict.SCAN


def _line(depth: int, node: dict[str, Any]) -> str:
    told = ", ".join(f"{name}: {value}" for name, value in node.get("extra_info", {}).items())
    return f"{'  ' * depth}{node['operator_type']} ({node['operator_cardinality']} rows) {told}".rstrip()
