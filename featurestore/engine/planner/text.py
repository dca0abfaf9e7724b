"""The text that a plan runs: the saver's own, with narrowed tables spliced over the names of whole ones.

The narrowed tables stand in front of everything as materialised WITH queries. Materialised, because a filter that the
query itself puts on a table would otherwise be merged with the narrowing, and DuckDB uses an index only for a condition
that stands alone; a list of literals, because DuckDB looks up each of them, which it does not for a join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featurestore.engine.column_types import quoted
from featurestore.engine.key_values import ConvertedKeys
from featurestore.engine.planner.model import Chain, Narrowing, Occurrence, Plan
from featurestore.engine.tables import qualified
from featurestore.engine.wrapping import among, serving_sql
from featurestore.model.query import QueryForm

Values = Mapping[int, Sequence[object] | None]
"""Of each chain, its values; None where they are too many to narrow by."""


def planned_sql(form: QueryForm, plan: Plan, keys: ConvertedKeys, values: Values) -> str:
    """The text that finds the rows of these keys: the same rows as `wrapping.serving_sql` finds.

    Args:
        keys: of the plan's index key.
        values: of all chains of the plan, for these keys.
    """
    asked = _asked(keys)
    number_of: dict[str, int] = {}
    pieces: list[str] = []
    at = 0
    for each in plan.occurrences:
        rows = _rows(each.table, _terms(plan, each.narrowed, asked, values))
        if rows is None:
            continue
        number = number_of.setdefault(rows, len(number_of) + 1)
        called = "" if each.has_alias else f" AS {quoted(each.alias)}"
        pieces += [form.sql[at : each.start], f"__fs{number}{called}"]
        at = each.end
    narrowed = ",\n".join(f"__fs{number} AS MATERIALIZED ({rows})" for rows, number in number_of.items())
    inner = "".join((*pieces, form.sql[at:]))
    return serving_sql(form, keys, inner=inner, before=f"WITH {narrowed}\n" if narrowed else "")


def narrowing_sql(plan: Plan, occurrence: Occurrence, keys: ConvertedKeys, values: Values) -> str | None:
    """The text that reads the rows of one occurrence for these keys; None where it is read whole.

    Args:
        values: of all chains of the plan, for these keys.
    """
    return _rows(occurrence.table, _terms(plan, occurrence.narrowed, _asked(keys), values))


def chain_sql(plan: Plan, chain: Chain, keys: ConvertedKeys, values: Values, limit: int) -> str | None:
    """The text that fetches a chain's values and null, at most `limit` of them.

    Null is left to the caller: asked for in the text it would be a second condition, for which DuckDB forgets the index.

    Args:
        values: of the chains before it.

    Returns:
        None where the chain's table is read whole, because a chain before it has too many values.
    """
    rows = _rows(
        chain.table,
        _terms(plan, chain.narrowed, _asked(keys), values),
        f"DISTINCT {quoted(chain.column.name)}",
    )
    return rows and f"{rows} LIMIT {limit}"


def _rows(table: str, terms: Sequence[str], selected: str = "*") -> str | None:
    """The text that reads the narrowed rows of a table; None for all of them.

    DuckDB looks up one condition in an index, and scans the table for two: the others wait for what the first one finds.
    """
    if not terms:
        return None
    first, *others = terms
    if not others:
        return f"SELECT {selected} FROM {qualified(table)} WHERE {first}"
    found = f"WITH __fs_first AS MATERIALIZED (SELECT * FROM {qualified(table)} WHERE {first})"
    return f"{found} SELECT {selected} FROM __fs_first WHERE {' AND '.join(others)}"


def _asked(keys: ConvertedKeys) -> list[str]:
    return [
        among(column, values)
        for column, values in zip(keys.columns, zip(*keys.tuples, strict=True), strict=True)
    ]


def _terms(plan: Plan, narrowed: tuple[Narrowing, ...], asked: Sequence[str], values: Values) -> list[str]:
    """What is put beneath an occurrence; nothing where its chain has too many values."""
    terms = []
    for each in narrowed:
        if each.chain is None:
            terms.append(f"{quoted(each.column)} {asked[each.part]}")
            continue
        found = values[each.chain]
        if found is None:
            continue
        # "In no list" as false: for IN (NULL) DuckDB would scan the table.
        column = plan.chains[each.chain].column
        terms.append(f"{quoted(each.column)} {among(column, found)}" if found else "false")
    return terms
