"""Walking DuckDB's parse tree: conditions, and what stands inside expressions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, TypeAlias

from featurestore.engine import functions, inspector
from featurestore.engine.planner.columns import folded
from featurestore.engine.planner.model import Rule
from featurestore.engine.profile import SCHEMA

Node: TypeAlias = dict[str, Any]

_QUERY_KINDS = ("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE")


def is_query(part: object) -> bool:
    """Whether a part of the tree is a query of its own."""
    return isinstance(part, dict) and part.get("type") in _QUERY_KINDS


def modifiers(node: Node, kind: str) -> Iterator[Node]:
    """Those whose kind begins like this: LIMIT, DISTINCT or ORDER."""
    return (each for each in node.get("modifiers", ()) if each["type"].startswith(kind))


def conjuncts(condition: Node | None, off: frozenset[Rule]) -> Iterator[Node]:
    """What every row must fulfil: the condition, taken apart at its ANDs."""
    waiting = [condition] if condition else []
    while waiting:
        each = waiting.pop()
        kind = each.get("type")
        loose = Rule.CONJUNCT in off and kind in ("CONJUNCTION_OR", "OPERATOR_NOT")
        if kind == "CONJUNCTION_AND" or loose:
            waiting += each.get("children", [])
        else:
            yield each


def compared(condition: Node, off: frozenset[Rule]) -> tuple[Node, Node] | None:
    """The two columns of `a = b`."""
    kinds = ("COMPARE_EQUAL", "COMPARE_NOT_DISTINCT_FROM") if Rule.EQUALITY in off else ("COMPARE_EQUAL",)
    if condition.get("type") not in kinds:
        return None
    left: Node = condition["left"]
    right: Node = condition["right"]
    return (left, right) if is_column(left) and is_column(right) else None


def missed(condition: Node) -> Iterator[tuple[Node, Node, Rule]]:
    """Columns that a condition compares without fixing one by the other, with the rule that says so."""
    if condition.get("type") == "COMPARE_EQUAL":
        return
    loose = condition.get("type") != "COMPARE_NOT_DISTINCT_FROM"
    for node in _own([condition]):
        if node.get("type") in ("COMPARE_EQUAL", "COMPARE_NOT_DISTINCT_FROM"):
            left, right = node["left"], node["right"]
            if is_column(left) and is_column(right):
                yield left, right, Rule.CONJUNCT if loose else Rule.EQUALITY


def membership(condition: Node, off: frozenset[Rule]) -> tuple[Node, Node] | None:
    """The column and the query of `x IN (SELECT ...)` or `x = ANY (SELECT ...)`."""
    if Rule.IN_SUBQUERY in off and condition.get("type") == "OPERATOR_NOT" and condition.get("children"):
        condition = condition["children"][0]
    fits = (
        condition.get("type") == "SUBQUERY"
        and condition.get("subquery_type") == "ANY"
        and condition.get("comparison_type") == "COMPARE_EQUAL"
        and is_column(condition.get("child"))
    )
    return (condition["child"], condition["subquery"]["node"]) if fits else None


def part_of(expression: Node) -> Node | None:
    """A column that an expression is computed from."""
    return next((node for node in _own([expression]) if is_column(node)), None)


def is_column(part: object) -> bool:
    """Whether an expression is a name and nothing else."""
    return isinstance(part, dict) and part.get("type") == "COLUMN_REF"


def queries(*parts: object) -> Iterator[Node]:
    """The subqueries of expressions, not those inside them."""
    return (query for query, _ in ruled_queries(*parts))


def ruled_queries(*parts: object) -> Iterator[tuple[Node, Rule]]:
    """The same, each with the rule that stops the key if nothing else ties the subquery to it."""
    waiting = [(part, Rule.CORRELATED) for part in parts]
    while waiting:
        part, rule = waiting.pop()
        if is_query(part):
            yield part, rule  # type: ignore[misc] # a dict, is_query says so
        elif isinstance(part, dict):
            if kind := part.get("subquery_type"):
                rule = Rule.IN_SUBQUERY if kind == "ANY" else Rule.CORRELATED
            waiting += [(each, rule) for each in part.values()]
        elif isinstance(part, list):
            waiting += [(each, rule) for each in part]


def windows(parts: Iterable[object]) -> Iterator[Node]:
    """The window functions of expressions, not those of subqueries."""
    return (node for node in _own(parts) if node.get("class") == "WINDOW")


def aggregates(parts: Iterable[object]) -> bool:
    """Whether there is an aggregate function in expressions, not counting subqueries."""
    return any(
        node.get("class") == "FUNCTION" and node["function_name"].lower() in _aggregate_names()
        for node in _own(parts)
    )


def expands(expression: Node) -> bool:
    """Whether one item of a select list may stand for several columns: `COLUMNS(...)`, and a struct taken apart."""
    return any(
        node.get("class") == "STAR" or node.get("function_name", "").lower() in ("unnest", "unlist")
        for node in _own([expression])
    )


def row_names(part: object) -> set[str]:
    """Names of which one may be a table's, in column names that begin with the schema: the table's name must stay."""
    found: set[str] = set()
    waiting = [part]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            names = [folded(name) for name in each["column_names"]] if is_column(each) else []
            if len(names) > 2 or names[:1] == [SCHEMA]:
                found.update(names)
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return found


def tables(part: object) -> Iterator[Node]:
    """Every table that is named anywhere inside."""
    waiting = [part]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if each.get("type") == "BASE_TABLE" and each.get("schema_name"):
                yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _own(parts: Iterable[object]) -> Iterator[Node]:
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict) and not is_query(part):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


@cache
def _aggregate_names() -> frozenset[str]:
    return functions.AGGREGATES | inspector.aggregate_names()
