"""The text that a plan runs: the saver's own, with narrowed tables spliced over the names of whole ones.

The narrowed tables stand in front of everything as materialised WITH queries. Materialised, because a filter that the
query itself puts on a table would otherwise be merged with the narrowing, and DuckDB uses an index only for a condition
that stands alone; a list of literals, because DuckDB looks up each of them, which it does not for a join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featurestore.engine.column_types import quoted
from featurestore.engine.key_values import ConvertedKeys
from featurestore.engine.literals import literal
from featurestore.engine.planner.model import Chain, Narrowing, Occurrence, Plan
from featurestore.engine.tables import qualified
from featurestore.engine.wrapping import serving_sql
from featurestore.model.query import Column, QueryForm

Values = Mapping[int, Sequence[object] | None]
"""Of each chain, its values; None where they are too many to narrow by."""


def planned_sql(form: QueryForm, plan: Plan, keys: ConvertedKeys, values: Values) -> str:
    """The text that finds the rows of these keys: the same rows as `wrapping.serving_sql` finds.

    Args:
        keys: of the plan's index key.
        values: of all chains of the plan, for these keys.
    """
    lists = _key_lists(keys)
    number_of: dict[tuple[str, str], int] = {}
    pieces: list[str] = []
    at = 0
    for each in plan.occurrences:
        condition = _condition(each.narrowed, lists, plan, values)
        if condition is None:
            continue
        number = number_of.setdefault((each.table, condition), len(number_of) + 1)
        called = "" if each.has_alias else f" AS {quoted(each.alias)}"
        pieces += [form.sql[at : each.start], f"__fs{number}{called}"]
        at = each.end
    narrowed = ",\n".join(
        f"__fs{number} AS MATERIALIZED (SELECT * FROM {qualified(table)} WHERE {condition})"
        for (table, condition), number in number_of.items()
    )
    inner = "".join((*pieces, form.sql[at:]))
    return serving_sql(form, keys, inner=inner, before=f"WITH {narrowed}\n" if narrowed else "")


def narrowing_sql(plan: Plan, occurrence: Occurrence, keys: ConvertedKeys, values: Values) -> str | None:
    """The text that reads the rows of one occurrence for these keys; None where it is read whole.

    Args:
        values: of all chains of the plan, for these keys.
    """
    condition = _condition(occurrence.narrowed, _key_lists(keys), plan, values)
    return None if condition is None else f"SELECT * FROM {qualified(occurrence.table)} WHERE {condition}"


def chain_sql(chain: Chain, keys: ConvertedKeys, limit: int) -> str:
    """The text that fetches a chain's values, at most `limit` of them."""
    name = quoted(chain.column.name)
    condition = _condition(chain.narrowed, _key_lists(keys), None, {})
    return (
        f"SELECT DISTINCT {name} FROM {qualified(chain.table)} "
        f"WHERE {condition} AND {name} IS NOT NULL LIMIT {limit}"
    )


def _key_lists(keys: ConvertedKeys) -> list[str]:
    return [
        _listed(column, values)
        for column, values in zip(keys.columns, zip(*keys.tuples, strict=True), strict=True)
    ]


def _condition(
    narrowed: tuple[Narrowing, ...], lists: Sequence[str], plan: Plan | None, values: Values
) -> str | None:
    """What is put beneath an occurrence; None for nothing."""
    terms = []
    for each in narrowed:
        if each.chain is None:
            terms.append(f"{quoted(each.column)} IN ({lists[each.part]})")
            continue
        found = values[each.chain]
        if found is None or plan is None:
            continue
        listed = _listed(plan.chains[each.chain].column, found) if found else "NULL"
        terms.append(f"{quoted(each.column)} IN ({listed})")
    return " AND ".join(terms) or None


def _listed(column: Column, values: Sequence[object]) -> str:
    return ", ".join(dict.fromkeys(literal(value, column) for value in values))
