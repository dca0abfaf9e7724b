"""The text that a plan runs: the saver's own, with narrowed tables spliced over the names of whole ones.

The narrowed tables stand in front of everything as materialised WITH queries. Materialised, because a filter that the
query itself puts on a table would otherwise be merged with the narrowing, and DuckDB uses an index only for a condition
that stands alone; a list of literals, because DuckDB looks up each of them, which it does for a join only while few rows are
joined (`profile.JOINED_KEYS`), and not if they are a range of numbers without gaps.

A text that DuckDB plans once, for many calls, has the keys as parameters, and joins them: for a
hundred keys a third of what the engine takes is planning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from featurestore.engine.column_types import quoted
from featurestore.engine.key_values import ConvertedKeys, KeyKind, key_kind
from featurestore.engine.planner.model import Chain, Narrowing, Occurrence, Plan
from featurestore.engine.profile import JOINED_KEYS
from featurestore.engine.tables import qualified
from featurestore.engine.wrapping import among, literals, serving_sql, statement_sql
from featurestore.model.query import Column, QueryForm

Values = Mapping[int, Sequence[object] | None]
"""Of each chain, its values; None where they are too many to narrow by."""

_KEYS = "__fs_keys"
_ALL = f" LIMIT {2**62}"
"""Of all rows: behind it DuckDB leaves a narrowing alone, into which it would carry filters of the query, and then scan."""


def planned_sql(form: QueryForm, plan: Plan, keys: ConvertedKeys, values: Values) -> str:
    """The text that finds the rows of these keys: the same rows as `wrapping.serving_sql` finds.

    Args:
        keys: of the plan's index key.
        values: of all chains of the plan, for these keys.
    """
    asked = _asked(keys)
    narrowed, inner = _spliced(
        form, plan, lambda each: _rows(each.table, _terms(plan, each.narrowed, asked, values))
    )
    before = f"WITH {_listed(narrowed)}\n" if narrowed else ""
    return serving_sql(form, keys, inner=inner, before=before)


def has_statement(plan: Plan) -> bool:
    """Whether the plan has a text that is planned once: not if it asks for the values of chains first."""
    return plan.narrows and not plan.chains


def prepared_sql(form: QueryForm, plan: Plan, columns: Sequence[Column]) -> str:
    """The text that finds the rows of any keys of these columns, each column's values a parameter; `arguments` fill them.

    Args:
        plan: one that `has_statement`.
        columns: of the plan's index key.
    """
    asked = [f"IN (SELECT {part} FROM {_KEYS})" for part in _parts(columns)]
    narrowed, inner = _spliced(
        form, plan, lambda each: _rows(each.table, _terms(plan, each.narrowed, asked, {}), behind=_ALL)
    )
    lists = ", ".join(
        f"unnest(${number}::{column.engine_type}[]) AS {part}"
        for number, (column, part) in enumerate(zip(columns, _parts(columns), strict=True), 1)
    )
    before = f"WITH {_KEYS} AS MATERIALIZED (SELECT {lists}),\n{_listed(narrowed)}\n"
    keys = f"SELECT {', '.join(_parts(columns))} FROM {_KEYS}"
    return statement_sql(form, columns, keys, inner=inner, before=before)


def arguments(keys: ConvertedKeys) -> str | None:
    """What EXECUTE is given for these keys; None for those that DuckDB would scan the tables for."""
    if len(keys.tuples) > JOINED_KEYS:
        return None
    lists = []
    for column, values in zip(keys.columns, zip(*keys.tuples, strict=True), strict=True):
        if key_kind(column) is KeyKind.INTEGER and _without_gaps(values):
            return None
        lists.append(f"[{', '.join(literals(column, values))}]::{column.engine_type}[]")
    return ", ".join(lists)


def _without_gaps(values: Sequence[object]) -> bool:
    """Whether the numbers are all there are between the least and the greatest: DuckDB makes a range of such."""
    different = {int(str(value)) for value in values}
    return 1 < len(different) == max(different) - min(different) + 1


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


def _spliced(
    form: QueryForm, plan: Plan, rows_of: Callable[[Occurrence], str | None]
) -> tuple[list[str], str]:
    """The texts of the narrowed tables, and the query with their names in place of the tables' own."""
    number_of: dict[str, int] = {}
    pieces: list[str] = []
    at = 0
    for each in plan.occurrences:
        rows = rows_of(each)
        if rows is None:
            continue
        number = number_of.setdefault(rows, len(number_of) + 1)
        called = "" if each.has_alias else f" AS {quoted(each.alias)}"
        pieces += [form.sql[at : each.start], f"__fs{number}{called}"]
        at = each.end
    return list(number_of), "".join((*pieces, form.sql[at:]))


def _listed(narrowed: Sequence[str]) -> str:
    return ",\n".join(f"__fs{number} AS MATERIALIZED ({rows})" for number, rows in enumerate(narrowed, 1))


def _parts(columns: Sequence[Column]) -> list[str]:
    return [f"part{number}" for number in range(1, len(columns) + 1)]


def _rows(table: str, terms: Sequence[str], selected: str = "*", behind: str = "") -> str | None:
    """The text that reads the narrowed rows of a table; None for all of them.

    DuckDB looks up one condition in an index, and scans the table for two: the others wait for what the first one finds.

    Args:
        behind: ends the part that is looked up.
    """
    if not terms:
        return None
    first, *others = terms
    if not others:
        return f"SELECT {selected} FROM {qualified(table)} WHERE {first}{behind}"
    found = f"WITH __fs_first AS MATERIALIZED (SELECT * FROM {qualified(table)} WHERE {first}{behind})"
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
