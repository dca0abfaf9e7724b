"""Planning: a query and an index key in, a plan out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from featurestore.engine import inspector
from featurestore.engine.key_values import check_key_columns, key_kind
from featurestore.engine.lexer import tokens
from featurestore.engine.planner import advice, trees
from featurestore.engine.planner.columns import Col, Query, TableLeaf, folded
from featurestore.engine.planner.context import Context
from featurestore.engine.planner.model import Chain, Narrowing, Occurrence, Plan, Rule, Stop
from featurestore.engine.planner.narrow import ChainFound, Narrower, Wanted
from featurestore.engine.planner.resolve import Resolver
from featurestore.engine.profile import SCHEMA
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import Column, QueryForm

_NOT_UNDERSTOOD = Stop(None, "the planner can't read this query as the engine does; it is served as it is")


def plan(
    form: QueryForm,
    index_key: Sequence[str],
    tables: Mapping[str, Mapping[str, str]],
    *,
    off: frozenset[Rule] = frozenset(),
    chained: bool = True,
) -> Plan:
    """How the tables of a query can be narrowed to asked keys without changing any answer.

    Args:
        form: checked by `sql_check.parse` and bound by the engine on tables as they are now.
        index_key: output columns.
        tables: by name, the engine's type of each column.
        off: rules to ignore; for tests, which then find wrong answers.
        chained: also narrow tables by other tables' values.

    Raises:
        InvalidArgument: `UNKNOWN_KEY_COLUMN`, `KEY_COLUMN_TWICE`, `KEY_TYPE`.
    """
    columns = check_key_columns(form, index_key)
    node = inspector.parse_tree(form.sql)["statements"][0]["node"]
    resolver = Resolver(tables, off)
    resolver.sources.fixed_names = trees.row_names(node)
    query = resolver.query(node, {}, None)
    found = resolver.sources.found
    spans = [_span(form.sql, each["query_location"]) for each, _ in found]
    named = list(trees.tables(node))
    placed = len(named) == len(found) == len(set(spans)) and None not in spans
    understood = placed and _shows(query, form, columns)
    wanted = _wanted(query, form, columns) if understood else {}
    narrower = _narrowed(query, wanted, columns, off, chained=chained)
    context = narrower.context
    occurrences = [
        _occurrence(each, leaf, span, narrower, understood=understood)
        for (each, leaf), span in zip(found, spans, strict=True)
    ]
    kept, chains = _chains(occurrences, narrower)
    ordered = sorted(kept, key=lambda each: each.start)
    return Plan(columns, tuple(ordered), chains, context.fired, context.refused)


def _narrowed(
    query: Query, wanted: Wanted, columns: tuple[Column, ...], off: frozenset[Rule], *, chained: bool
) -> Narrower:
    """The last of several passes: what one could narrow, the next one may start chains from."""
    before: frozenset[int] = frozenset()
    ranks: dict[Col, int] = {}
    while True:
        types = [column.engine_type for column in columns]
        narrower = Narrower(Context(types, len(columns), off), chained, before, ranks)
        narrower.run(query, wanted)
        after = before | narrower.narrowed.keys()
        if after == before or not chained:
            return narrower
        before = after


def _shows(query: Query, form: QueryForm, key: tuple[Column, ...]) -> bool:
    """Whether the stored columns are among the query's, as they are understood here, and the key has its type.

    There may be more: a star shows columns that a table got since.
    """
    types = [(output.name, output.type) for output in query.outputs]
    names = [name for name, _ in types]
    if query.complete and any(names.count(folded(column.name)) != 1 for column in form.columns):
        return False
    wanted = {folded(column.name): column.engine_type for column in key}
    return all(type_ is None or wanted.get(name, type_) == type_ for name, type_ in types if name)


def _wanted(query: Query, form: QueryForm, columns: tuple[Column, ...]) -> Wanted:
    names = [output.name for output in query.outputs]
    if len(names) == len(form.columns):  # a name that DuckDB makes up is that at the place
        names = [name or folded(column.name) for name, column in zip(names, form.columns, strict=True)]
    return {
        names.index(folded(column.name)): {part: frozenset()}
        for part, column in enumerate(columns)
        if names.count(folded(column.name)) == 1
    }


def _span(sql: str, location: int) -> tuple[int, int] | None:
    """Where `feature_store.name` stands in the text; None if it is not there."""
    start = len(sql.encode()[:location].decode(errors="replace"))
    parts = []
    for token in tokens(sql[start:]):
        parts.append(token)
        if len(parts) == 3:
            break
    if len(parts) != 3 or parts[0].start != 0 or parts[1].text != ".":
        return None
    return (start, start + parts[2].end) if folded(parts[0].text.strip('"')) == SCHEMA else None


def _occurrence(
    node: trees.Node,
    leaf: TableLeaf,
    span: tuple[int, int] | None,
    narrower: Narrower,
    *,
    understood: bool,
) -> Occurrence:
    start, end = span or (0, 0)
    narrowed = tuple(narrower.narrowed.get(leaf.occurrence, ()))
    stopped = narrower.stopped.get(leaf.occurrence, _NOT_UNDERSTOOD)
    return Occurrence(
        node["table_name"],
        node.get("alias") or node["table_name"],
        start,
        end,
        has_alias=bool(node.get("alias")),
        narrowed=narrowed,
        stopped=None if narrowed and understood else stopped,
    )


def _chains(occurrences: list[Occurrence], narrower: Narrower) -> tuple[list[Occurrence], tuple[Chain, ...]]:
    """The chains that are used, numbered anew; occurrences whose chain can't be printed are read whole."""
    chains: list[Chain] = []
    number_of: dict[int, int] = {}
    waiting = sorted(_used(occurrences, narrower))
    while ready := {
        number: chain
        for number in waiting
        if (chain := _chain(narrower.chains[number], occurrences, number_of))
    }:
        for number, chain in ready.items():  # those that they start from are there
            number_of[number] = len(chains)
            chains.append(chain)
            waiting.remove(number)
    kept = []
    for occurrence in occurrences:
        narrowed = _renumbered(occurrence.narrowed, number_of)
        stopped = occurrence.stopped
        if narrowed is None:
            [stopped] = narrower.context.stop(Rule.CHAIN, advice.UNPRINTABLE)
        kept.append(replace(occurrence, narrowed=narrowed or (), stopped=stopped))
    return kept, tuple(chains)


def _used(occurrences: list[Occurrence], narrower: Narrower) -> set[int]:
    """The chains that narrow an occurrence, or the table that another one starts from."""
    used: set[int] = set()
    waiting = list(occurrences)
    while waiting:
        new = {each.chain for each in waiting.pop().narrowed if each.chain is not None} - used
        waiting += [occurrences[narrower.chains[number].leaf.occurrence] for number in new]
        used |= new
    return used


def _renumbered(
    narrowed: tuple[Narrowing, ...], number_of: Mapping[int, int]
) -> tuple[Narrowing, ...] | None:
    """With the numbers of the chains that are kept; None if one is not."""
    if any(each.chain not in number_of for each in narrowed if each.chain is not None):
        return None
    return tuple(
        each if each.chain is None else replace(each, chain=number_of[each.chain]) for each in narrowed
    )


def _chain(found: ChainFound, occurrences: list[Occurrence], number_of: Mapping[int, int]) -> Chain | None:
    """The chain, if its values can be fetched and printed; those that its table needs come before it."""
    origin = occurrences[found.leaf.occurrence]
    narrowed = _renumbered(origin.narrowed, number_of)
    column = Column(found.col.written, pa.null(), found.col.type or "")
    try:
        key_kind(column)
    except InvalidArgument:
        return None
    return Chain(origin.table, column, narrowed) if narrowed else None
