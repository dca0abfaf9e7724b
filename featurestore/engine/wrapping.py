"""The one text that runs: a saved query, wrapped. Training and serving differ in the WHERE clause alone.

The query stands between line ends, so that a trailing comment ends there; it was parsed alone before, so that it
can't leave its parentheses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from featurestore.engine.column_types import duckdb_type, quoted
from featurestore.engine.describe import INTERVAL
from featurestore.engine.failures import INTERVAL_MONTHS
from featurestore.engine.key_values import ConvertedKeys
from featurestore.engine.literals import literal, text_literal
from featurestore.model.query import Column, QueryForm

_QUERY = "__fs_query"
_MANY = 50


def training_sql(form: QueryForm) -> str:
    """The text that training runs: the stored columns of every row."""
    return f"{_select(form)}{_order(form)}"


def grouped_sql(form: QueryForm, index_key: Sequence[str]) -> str:
    """The text that training by key runs: the rows of each key together, as serving has them, by ascending key.

    Rows with a null in the key are left out. Where the query's order does not tell two rows of a key apart, they
    stand as in the query's own result.

    Args:
        index_key: output columns of the query, at least one.
    """
    names = [_inner(name) for name in index_key]
    known = "\n  AND ".join(f"{name} IS NOT NULL" for name in names)
    terms = [*(f"{name} ASC" for name in names), *_order_terms(form), "row_number() OVER ()"]
    return f"{_select(form)}\nWHERE {known}\nORDER BY {', '.join(terms)}"


def serving_sql(form: QueryForm, keys: ConvertedKeys, *, inner: str | None = None, before: str = "") -> str:
    """The text that serving runs: the same, for the rows with one of the asked keys.

    A key that is asked for twice is searched once; which rows answer which key is the caller's to tell.

    Args:
        inner: stands for the query, if the planner has another text of it.
        before: the WITH clause that it needs.
    """
    where = _where(keys, narrowed=inner is not None)
    return f"{before}{_select(form, inner)}\nWHERE {where}{_order(form)}"


def statement_sql(form: QueryForm, columns: Sequence[Column], keys: str, *, inner: str, before: str) -> str:
    """The same with the asked keys as the rows of another text.

    Args:
        columns: of the index key.
        keys: a SELECT of as many columns.
        inner: see `serving_sql`.
        before: see `serving_sql`.
    """
    names = ", ".join(_inner(column.name) for column in columns)
    return f"{before}{_select(form, inner)}\nWHERE ({names}) IN ({keys}){_order(form)}"


def _select(form: QueryForm, inner: str | None = None) -> str:
    return f"SELECT\n  {_all_leaving(form.columns)}\nFROM (\n{inner or form.sql}\n) AS {_QUERY}"


@lru_cache(2_048)
def _all_leaving(columns: tuple[Column, ...]) -> str:
    return ",\n  ".join(_leaving(column) for column in columns)


def _leaving(column: Column) -> str:
    inner, name = _inner(column.name), quoted(column.name)
    if column.engine_type == INTERVAL:
        # Leaves as microseconds; `finish` makes it a duration.
        refusal = text_literal(
            f"{INTERVAL_MONTHS}column {column.name} holds an INTERVAL with months, which have no fixed length: "
            "compute it with date_diff"
        )
        months = f"date_part('year', {inner}) <> 0 OR date_part('month', {inner}) <> 0"
        return (
            f"CASE WHEN {months} THEN CAST(error({refusal}) AS BIGINT) ELSE epoch_us({inner}) END AS {name}"
        )
    leaves_as = duckdb_type(column.type)
    return (
        f"CAST({inner} AS {leaves_as}) AS {name}" if leaves_as != column.engine_type else f"{inner} AS {name}"
    )


def _where(keys: ConvertedKeys, *, narrowed: bool) -> str:
    if narrowed and len(keys.columns) == 1 and len(keys.tuples) > _MANY:
        # The tables are narrowed already. A long list would be carried into each of them again: half of the work of planning.
        [column] = keys.columns
        listed = ", ".join(literals(column, dict.fromkeys(value for (value,) in keys.tuples)))
        return f"{_inner(column.name)} IN (SELECT unnest([{listed}]))"
    each = [
        f"{_inner(column.name)} {among(column, values)}"
        for column, values in zip(keys.columns, zip(*keys.tuples, strict=True), strict=True)
    ]
    if len(keys.columns) == 1:
        return each[0]
    if len(set(keys.tuples)) == 1:
        return "\n  AND ".join(each)
    # The lists of single columns are implied by the tuples; they are what DuckDB can push down.
    return "\n  AND ".join((*each, _tuple_in(keys)))


def among(column: Column, values: Sequence[object]) -> str:
    """The condition that a column of this type has one of these values, from behind its name; there is at least one.

    Of one value `=`, which DuckDB carries through joins by itself, where it leaves a list in place. Of several the last
    twice: DuckDB makes a range of neighbouring numbers that are there once each, and scans the table for a range.
    """
    listed = literals(column, dict.fromkeys(values))
    return f"= {listed[0]}" if len(listed) == 1 else f"IN ({', '.join([*listed, listed[-1]])})"


def literals(column: Column, values: Iterable[object]) -> list[str]:
    """For a list of at least one. The first says the type; plain digits may follow it, which are read in half of the time."""
    first, *rest = values
    if column.engine_type in ("BIGINT", "INTEGER"):
        return [literal(first, column), *map(str, rest)]
    return [literal(first, column), *(literal(value, column) for value in rest)]


def _tuple_in(keys: ConvertedKeys) -> str:
    names = ", ".join(_inner(column.name) for column in keys.columns)
    tuples = (
        f"({', '.join(literal(value, column) for value, column in zip(one, keys.columns, strict=True))})"
        for one in keys.tuples
    )
    return f"({names}) IN ({_listed(tuples)})"


def _listed(literals: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(literals))


def _order(form: QueryForm) -> str:
    return f"\nORDER BY {', '.join(_order_terms(form))}" if form.order else ""


def _order_terms(form: QueryForm) -> list[str]:
    return [
        f"{_inner(term.column)} {'DESC' if term.descending else 'ASC'} NULLS {'FIRST' if term.nulls_first else 'LAST'}"
        for term in form.order
    ]


def _inner(name: str) -> str:
    return f"{_QUERY}.{quoted(name)}"
