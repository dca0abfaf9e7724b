"""How a query is served by an index key: what the plan says, and what the engine does with it for one key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from featurestore.engine.failures import translate
from featurestore.engine.key_values import ConvertedKeys
from featurestore.engine.planner import Narrowing, Plan
from featurestore.engine.planner import Occurrence as Planned
from featurestore.engine.planner.run import chain_values
from featurestore.engine.planner.text import Values, narrowing_sql, planned_sql
from featurestore.engine.tables import qualified
from featurestore.engine.wrapping import serving_sql
from featurestore.model.errors import FeatureStoreError
from featurestore.model.query import QueryForm, Warned
from featurestore.model.serving import Explanation, Occurrence, Verdict
from services.realtime.plans import Prepared, any_key, not_cacheable
from services.realtime.serving import Serving

_SCAN = "TABLE_SCAN"


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
    prepared = serving.prepared(cursor, query_id, form, index_key)
    keys = _sample(cursor, serving, prepared)
    try:
        values = chain_values(cursor, prepared.plan, keys)
        occurrences = tuple(
            _occurrence(cursor, prepared.plan, each, keys, values) for each in prepared.plan.occurrences
        )
        profile = _profile(cursor, _served_sql(prepared, keys, values))
    except duckdb.Error as error:
        raise translate(error) from error
    return Explanation(
        query_id=query_id,
        index_key=index_key,
        verdict=_verdict(occurrences),
        occurrences=occurrences,
        cacheable=prepared.cacheable,
        not_cacheable_because=not_cacheable(prepared),
        plan="\n".join(_line(depth, node) for depth, node in _nodes(profile)),
        warnings=_warnings(occurrences, prepared),
    )


def unexplained(
    query_id: str, prepared: Prepared, index_key: tuple[str, ...], why: FeatureStoreError
) -> Explanation:
    """What is known without serving a key: a save does not fail because its query is slow, or fails for some key."""
    return Explanation(
        query_id=query_id,
        index_key=index_key,
        verdict=Verdict.SCAN,
        occurrences=(),
        cacheable=prepared.cacheable,
        not_cacheable_because=not_cacheable(prepared),
        plan="",
        warnings=(
            *prepared.warnings,
            Warned("NOT_SERVED", f"a first key could not be served, so it is not known how: {why.message}"),
        ),
    )


def _served_sql(prepared: Prepared, keys: ConvertedKeys, values: Values) -> str:
    if prepared.narrows(len(keys.tuples)):
        return planned_sql(prepared.form, prepared.plan, keys, values)
    return serving_sql(prepared.form, keys)


def _sample(cursor: duckdb.DuckDBPyConnection, serving: Serving, prepared: Prepared) -> ConvertedKeys:
    names = tuple(column.name for column in prepared.columns)
    shown = serving.sample_keys(cursor, prepared.form, names, 1)
    if not shown.num_rows:
        return any_key(prepared.columns)
    return ConvertedKeys(prepared.columns, (tuple(shown.column(name)[0].as_py() for name in names),))


def _occurrence(
    cursor: duckdb.DuckDBPyConnection, plan: Plan, each: Planned, keys: ConvertedKeys, values: Values
) -> Occurrence:
    sql = narrowing_sql(plan, each, keys, values)
    if sql is None:
        return Occurrence(
            each.table,
            each.alias,
            rules=(each.stopped.rule.value,) if each.stopped and each.stopped.rule else (),
            stopped_by=each.stopped.advice if each.stopped else _too_many(plan, each),
            estimated_rows=_row_count(cursor, each.table),
        )
    scans = [node for _, node in _nodes(_profile(cursor, sql)) if node["operator_type"] == _SCAN]
    by_index = bool(scans) and all(node["extra_info"].get("Type") == "Index Scan" for node in scans)
    columns = ", ".join(narrowing.column for narrowing in each.narrowed)
    return Occurrence(
        each.table,
        each.alias,
        narrowed_on=columns,
        narrowed_by=", ".join(dict.fromkeys(_whose(plan, narrowing) for narrowing in each.narrowed)),
        rules=tuple(dict.fromkeys(rule.value for narrowing in each.narrowed for rule in narrowing.rules)),
        index=f"on {columns}" if by_index else "",
        estimated_rows=sum(node["operator_cardinality"] for node in scans),
    )


def _whose(plan: Plan, narrowing: Narrowing) -> str:
    if narrowing.chain is None:
        return f"key {plan.index_key[narrowing.part].name}"
    chain = plan.chains[narrowing.chain]
    return f"values of {chain.table}.{chain.column.name}"


def _too_many(plan: Plan, each: Planned) -> str:
    whose = ", ".join(_whose(plan, narrowing) for narrowing in each.narrowed)
    return f"for this key there are too many {whose} to look each of them up"


def _row_count(cursor: duckdb.DuckDBPyConnection, table: str) -> int:
    counted = cursor.execute(f"SELECT count(*) FROM {qualified(table)}").fetchone()
    return int(counted[0]) if counted else 0


def _profile(cursor: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    found = cursor.execute(f"EXPLAIN (ANALYZE, FORMAT json) {sql}").fetchall()
    profile: dict[str, Any] = json.loads(found[0][1])
    return profile


def _nodes(node: dict[str, Any], depth: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """The operators below the profile's own two nodes, each before what it reads from."""
    own = node.get("operator_type", "EXPLAIN_ANALYZE") == "EXPLAIN_ANALYZE"
    if not own:
        yield depth, node
    for child in node.get("children", ()):
        yield from _nodes(child, depth if own else depth + 1)


def _verdict(occurrences: tuple[Occurrence, ...]) -> Verdict:
    by_index = sum(1 for each in occurrences if each.index)
    if by_index == len(occurrences):
        return Verdict.INDEXED
    return Verdict.PARTLY_INDEXED if by_index else Verdict.SCAN


def _warnings(occurrences: tuple[Occurrence, ...], prepared: Prepared) -> tuple[Warned, ...]:
    return prepared.warnings + tuple(_warning(each) for each in occurrences if not each.index)


def _warning(each: Occurrence) -> Warned:
    named = each.table if each.alias == each.table else f"{each.table} {each.alias}"
    if each.stopped_by:
        return Warned("SCAN", f"{named} is read whole for every key: {each.stopped_by}")
    return Warned(
        "NO_INDEX",
        f"{named} is searched for {each.narrowed_on} without an index: save the query with this index key and one "
        "is built; a key with very many rows is searched without one all the same",
    )


def _line(depth: int, node: dict[str, Any]) -> str:
    told = ", ".join(f"{name}: {value}" for name, value in node.get("extra_info", {}).items())
    return f"{'  ' * depth}{node['operator_type']} ({node['operator_cardinality']} rows) {told}".rstrip()
