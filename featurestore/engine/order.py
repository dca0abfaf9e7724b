"""ORDER BY: which terms of a query's own order may be repeated outside the wrapper.

Only a bare output column or a position can: inside, DuckDB takes a bare name for the output column of that name
before any other, so it means the same outside. An expression can mean something else there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featurestore.model.query import Column, OrderTerm, Warned


@dataclass(frozen=True, slots=True)
class Ordering:
    """One term of an ORDER BY as it is written.

    Attributes:
        target: a name, a position from 1, `ALL` for every column, or None for anything else.
    """

    target: str | int | None
    descending: bool
    nulls_first: bool


ALL = 0
"""The target of ORDER BY ALL; positions start at 1."""


def orderings(modifiers: Sequence[dict[str, Any]]) -> tuple[Ordering, ...]:
    """The ORDER BY among the modifiers of a parse tree's outermost query; empty when it has none."""
    return tuple(
        Ordering(
            _target(order["expression"]),
            descending=order["type"] == "DESCENDING",
            nulls_first=order["null_order"] == "NULLS FIRST",  # the profile's default is last, either way
        )
        for modifier in modifiers
        if modifier["type"] == "ORDER_MODIFIER"
        for order in modifier["orders"]
    )


def terms(
    wanted: Sequence[Ordering], columns: Sequence[Column]
) -> tuple[tuple[OrderTerm, ...], tuple[Warned, ...]]:
    """The order that both sides repeat outside the wrapper.

    Returns:
        The terms, and no warning; or no terms, and the warning that no order is promised.
    """
    found: list[OrderTerm] = []
    for place, ordering in enumerate(wanted, start=1):
        named = _columns_of(ordering.target, columns)
        if not named:
            return (), (_not_kept(place),)
        found += [OrderTerm(name, ordering.descending, ordering.nulls_first) for name in named]
    return tuple(found), ()


def _target(expression: dict[str, Any]) -> str | int | None:
    match expression:
        case {"class": "COLUMN_REF", "column_names": [str(name)]}:
            return name
        case {"class": "CONSTANT", "value": {"type": {"id": "INTEGER"}, "value": int(position)}}:
            return position
        case {"class": "STAR", **rest} if rest.keys() <= {"type", "columns", "query_location"}:
            return ALL
    return None


def _columns_of(target: str | int | None, columns: Sequence[Column]) -> list[str]:
    if target is None:
        return []
    if isinstance(target, str):
        return [column.name for column in columns if column.name.lower() == target.lower()]
    if target == ALL:
        return [column.name for column in columns]
    return [columns[target - 1].name] if 0 < target <= len(columns) else []


def _not_kept(place: int) -> Warned:
    return Warned(
        "ORDER_NOT_KEPT",
        f"term {place} of the ORDER BY is no output column, so the rows of a key come in no promised order: "
        "select the expression under a name and order by that name to keep it",
    )
