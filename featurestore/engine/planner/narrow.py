"""Carrying the key down: from a query's output to the tables that it reads.

What is carried is a fact about the rows that matter: "of the rows that the asked answer can come from, this column has
one of the asked values". A row of a table that breaks a fact can be taken away, or not, without changing the answer.
Two laws carry facts. (A) A filter on an output column commutes with the operators of a SELECT, unless one of them
looks at rows of other keys. (B) A condition `a = b` that all rows at hand fulfil makes a fact of one a fact of the other.

Facts of an outer row hold inside a correlated subquery too: for another row its result does not matter. There they
stand below every operator of the subquery, so that LIMIT and aggregates do not stop them.

The laws are those of predicate pushdown and of simplifying outer joins by null rejection: Galindo-Legaria and
Rosenthal, "Outerjoin simplification and reordering for query optimization", ACM TODS 22(1), 1997.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from featurestore.engine.planner import advice
from featurestore.engine.planner.columns import (
    Col,
    Cte,
    From,
    Join,
    Leaf,
    Miss,
    OpaqueLeaf,
    Output,
    Query,
    QueryLeaf,
    Select,
    SetOperation,
    TableLeaf,
)
from featurestore.engine.planner.context import Context, Stops
from featurestore.engine.planner.facts import Facts, Implication, Way, implied_above, rejecting
from featurestore.engine.planner.joins import Placed, placed
from featurestore.engine.planner.model import Narrowing, Rule, Stop

Wanted = dict[int, dict[int, Way]]
"""Of each output place, the parts of the key that the asker wants there."""


@dataclass(slots=True)
class ChainFound:
    """A chain that some table could be narrowed by.

    Attributes:
        rank: the order in which chains were found, over all passes. A table starts chains only once it is narrowed, so
            what it was narrowed by first has a lower rank: taking the lowest makes no ring.
    """

    leaf: TableLeaf
    col: Col
    rank: int


@dataclass(slots=True)
class Narrower:
    """One pass over a resolved query.

    Attributes:
        chained: whether to narrow tables by other tables' values at all.
        before: the occurrences that an earlier pass could narrow: a subquery's columns show values of theirs.
        ranks: of the columns by which chains were found, shared by all passes.
        narrowed: of each occurrence.
        stopped: why an occurrence is not.
        chains: by their part, less the number of key parts.
    """

    context: Context
    chained: bool
    before: frozenset[int] = frozenset()
    ranks: dict[Col, int] = field(default_factory=dict)
    narrowed: dict[int, list[Narrowing]] = field(default_factory=dict)
    stopped: dict[int, Stop] = field(default_factory=dict)
    chains: list[ChainFound] = field(default_factory=list)
    _uses: dict[Cte, list[tuple[Wanted, Stops]]] = field(default_factory=dict)

    def run(self, query: Query, wanted: Wanted) -> None:
        """Narrow for the key at these output places."""
        self._query(query, wanted, Facts(), ())

    def _query(self, query: Query, wanted: Wanted, around: Facts, stops: Stops) -> None:
        """One query.

        Args:
            wanted: of its outputs.
            around: facts of the columns outside that it may name.
            stops: what took the key away before it came here.
        """
        match query:
            case Select():
                self._select(query, wanted, around, stops)
            case SetOperation():
                self._set_operation(query, wanted, around, stops)
            case _:
                stop = self.context.stop(Rule.RECURSION, advice.RECURSION) if wanted else ()
                inner = wanted if not self.context.holds(Rule.RECURSION) else {}
                for each in query.queries:
                    self._query(each, inner, Facts(), stops + stop)
        for cte in reversed(query.ctes):
            self._cte(cte, around)

    def _cte(self, cte: Cte, around: Facts) -> None:
        uses = self._uses.pop(cte, [])
        if cte.query is None:
            return
        stops = uses[0][1] if uses else (Stop(None, advice.unused(cte.name)),)
        wanted = uses[0][0] if len(uses) == cte.uses and uses else {}
        if not self.context.holds(Rule.CTE_REFERENCES):
            wanted = next((wanted for wanted, _ in uses if wanted), {})
        else:
            for other, _ in uses[1:]:
                common = {
                    place: {part: way for part, way in parts.items() if part in other.get(place, {})}
                    for place, parts in wanted.items()
                }
                if common != wanted:
                    stops += self.context.stop(Rule.CTE_REFERENCES, advice.uses_differ(cte.name))
                wanted = common
        if len(uses) > 1:
            wanted = _passed(wanted, Rule.CTE_REFERENCES)
        self._query(cte.query, wanted, around, stops)

    def _set_operation(self, query: SetOperation, wanted: Wanted, around: Facts, stops: Stops) -> None:
        if query.limited and wanted and self.context.holds(Rule.LIMIT):
            stops += self.context.stop(Rule.LIMIT, advice.LIMIT)
            wanted = {}
        for side, child in enumerate((query.left, query.right)):
            inner: Wanted = {}
            missed: Stops = ()
            for place, parts in wanted.items():
                inside = query.places[place][side]
                if inside is None:
                    missed += self.context.stop(Rule.SET_OPERATION, advice.SET_OPERATION)
                else:
                    inner[inside] = {part: way | {Rule.SET_OPERATION} for part, way in parts.items()}
            self._query(child, inner, around, stops + missed)

    def _select(self, query: Select, wanted: Wanted, around: Facts, stops: Stops) -> None:
        asked, stops = self._through(query, wanted, stops)
        facts = around.passing(Rule.CORRELATED)
        facts.strong |= asked.strong
        implications = [*implied_above(query.source), *rejecting(query.equalities)]
        self.context.close(facts, implications)
        if query.source:
            facts = self._from(query, query.source, facts, implications, stops)
        for col, member in query.members:
            self._query(member, self._member(col, member, facts), facts, stops)
        for each, rule in query.queries:
            inner = facts if self.context.holds(Rule.CORRELATED) else self._loosely(query, wanted, facts)
            said = advice.IN_SUBQUERY if rule is Rule.IN_SUBQUERY else advice.SUBQUERY
            self._query(each, {}, inner, (*stops, Stop(rule, said)))

    def _loosely(self, query: Select, wanted: Wanted, facts: Facts) -> Facts:
        """As if the key had passed whatever stopped it; for tests, which then find wrong answers."""
        loose = facts.copy()
        for place, parts in wanted.items():
            if col := query.outputs[place].col:
                loose.strong.update({(col, part): way for part, way in parts.items()})
        return loose

    def _member(self, col: Col, member: Query, facts: Facts) -> Wanted:
        """What `col IN (member)` needs of the member's only column."""
        type_ = member.outputs[0].type if member.outputs else None
        parts = {
            part: way | {Rule.IN_SUBQUERY}
            for (other, part), way in (*facts.weak.items(), *facts.strong.items())
            if other is col and self.context.comparable(col.type, type_, part)
        }
        return {0: parts} if parts else {}

    def _through(self, query: Select, wanted: Wanted, stops: Stops) -> tuple[Facts, Stops]:
        """Law A: what of the wanted outputs is a fact of the rows of FROM."""
        facts = Facts()
        for place, parts in wanted.items():
            output = query.outputs[place]
            stop, passed = self._obstacle(query, output)
            if stop:
                stops += stop
                continue
            assert output.col is not None  # noqa: S101 - _obstacle stops it
            for part, way in parts.items():
                facts.strong[(output.col, part)] = way | passed
        return facts, stops

    def _obstacle(self, query: Select, output: Output) -> tuple[Stops, Way]:
        """What stops a filter on an output, or else what it passes by."""
        holds, col = self.context.holds, output.col
        if query.limited and holds(Rule.LIMIT):
            return self.context.stop(Rule.LIMIT, advice.LIMIT), frozenset()
        if col is None:
            return self.context.stop(output.computed_by, advice.COMPUTED[output.computed_by]), frozenset()
        passes: list[tuple[Rule, bool, str]] = []
        if query.grouped is not None:
            passes.append((Rule.GROUP_BY, col in query.grouped, advice.group_by(col.name)))
        if query.distinct_on is not None:
            passes.append((Rule.DISTINCT_ON, col in query.distinct_on, advice.distinct_on(col.name)))
        if query.partitions:
            everywhere = all(col in each for each in query.partitions)
            passes.append((Rule.WINDOW, everywhere, advice.window(col.name)))
        for rule, fits, said in passes:
            if not fits and holds(rule):
                return self.context.stop(rule, said), frozenset()
        return (), frozenset(rule for rule, _, _ in passes)

    def _from(
        self, query: Select, source: From, facts: Facts, implications: list[Implication], stops: Stops
    ) -> Facts:
        """Narrow what FROM names; returns the facts of its rows."""
        self.context.miss(facts, [*query.misses, *_misses_of(source)])
        sources = list(placed(self.context, source, facts, stops))
        linked: set[Col] = set()
        while self.chained and (links := self._links(query, source, sources, linked)):
            facts = facts.copy()
            for link in links:
                linked.add(link[0])
                chained = facts.weak if self.context.holds(Rule.CHAIN) else facts.strong
                chained[link] = frozenset({Rule.CHAIN})
            self.context.close(facts, implications)
            sources = list(placed(self.context, source, facts, stops))
        for leaf, known, why in sources:
            self._leaf(leaf, known, why)
        for each in _queries_of(source):
            self._query(each, {}, facts.where(lambda col: not source.owns(col)), stops)
        return facts

    def _leaf(self, leaf: Leaf, facts: Facts, stops: Stops) -> None:
        match leaf:
            case TableLeaf():
                self._table(leaf, facts, stops)
            case QueryLeaf():
                wanted: Wanted = {}
                for col, place in leaf.places.items():
                    if parts := facts.parts_of(col):
                        wanted[place] = parts
                if not wanted and not stops:
                    stops = (self._untied(leaf),)
                if leaf.cte:
                    self._uses.setdefault(leaf.cte, []).append((wanted, stops))
                elif leaf.query:
                    self._query(leaf.query, wanted, facts.where(lambda col: not leaf.owns(col)), stops)
            case OpaqueLeaf():
                self._opaque(leaf, facts, stops)

    def _untied(self, leaf: QueryLeaf) -> Stop:
        """Why no condition leads to a subquery."""
        query = leaf.cte.query if leaf.cte else leaf.query
        if isinstance(query, Select) and query.aggregates and query.grouped is None:
            return Stop(Rule.GLOBAL_AGGREGATE, advice.GLOBAL_AGGREGATE)
        return self.context.clashes.get(leaf) or Stop(None, advice.unconnected(leaf.alias))

    def _opaque(self, leaf: OpaqueLeaf, facts: Facts, stops: Stops) -> None:
        for source in leaf.pivoted:
            stop = self.context.stop(Rule.PIVOT, advice.PIVOT)
            for inner in source.leaves:
                self._leaf(inner, Facts(), stops + stop)
            for each in _queries_of(source):
                self._query(each, {}, Facts(), stops + stop)
        for each in leaf.queries:
            self._query(each, {}, facts, stops)

    def _table(self, leaf: TableLeaf, facts: Facts, stops: Stops) -> None:
        if leaf.qualified:
            self.stopped[leaf.occurrence] = Stop(None, advice.schema_qualified(leaf.alias))
            return
        found = [(col, part, way) for (col, part), way in facts.strong.items() if col.leaf is leaf]
        fitting = [each for each in found if self.context.comparable(each[0].type, each[0].type, each[1])]
        width = self.context.key_width
        by_key = [each for each in fitting if each[1] < width]
        by_chain = [each for each in fitting if each[1] >= width]
        by_chain.sort(key=lambda each: self.chains[each[1] - width].rank)
        chosen = sorted(by_key, key=lambda each: each[1]) or by_chain[:1]
        if not chosen:
            clash = self.context.clashes.get(leaf)
            if found and not clash:
                said = advice.same_type(found[0][0].name, found[0][0].type, self.context.types[found[0][1]])
                [clash] = self.context.stop(Rule.SAME_TYPE, said)
            unconnected = Stop(None, advice.unconnected(leaf.alias))
            stop = clash or (stops[-1] if stops else unconnected)
            self.stopped[leaf.occurrence] = stop
            if stop.rule in (Rule.CORRELATED, Rule.IN_SUBQUERY):
                self.context.refused[stop.rule] += 1
            return
        for col, part, way in chosen:
            chain = None if part < self.context.key_width else part - self.context.key_width
            rules = tuple(sorted(way, key=lambda rule: rule.value))
            at = part if chain is None else -1
            self.narrowed.setdefault(leaf.occurrence, []).append(Narrowing(col.written, at, chain, rules))
            self.context.fired.update(way)

    def _links(
        self, query: Select, source: From, sources: Iterable[Placed], linked: set[Col]
    ) -> list[tuple[Col, int]]:
        """Columns of narrowed tables by which others could be reached, each with a part for its values.

        Of the rows that matter, the table's part is one of its narrowed rows, or null.

        Args:
            linked: those that have a part already.
        """
        narrowed = {leaf for leaf, facts, _ in sources if self._narrows(leaf, facts, len(self.context.types))}
        by_key = {leaf for leaf, facts, _ in sources if self._narrows(leaf, facts, self.context.key_width)}
        links: list[tuple[Col, int]] = []
        for one, other in _compared_anywhere(query, source):
            known = one in linked or any(one is col for col, _ in links)
            if one.type is None or one.type != other.type or other.leaf in by_key:
                continue
            if known or not source.owns(one):
                continue
            if start := self._start(one, narrowed):
                self.chains.append(start)
                self.context.types.append(one.type)
                links.append((one, len(self.context.types) - 1))
        return links

    def _start(self, one: Col, narrowed: set[Leaf]) -> ChainFound | None:
        """The column of a narrowed table whose values a column shows; a subquery's columns show those of its tables."""
        col: Col | None = one
        while col and isinstance(col.leaf, QueryLeaf):
            query = col.leaf.cte.query if col.leaf.cte else col.leaf.query
            col = query.outputs[col.leaf.places[col]].col if isinstance(query, Select) else None
        if col is None or not isinstance(col.leaf, TableLeaf):
            return None
        reached = col.leaf in narrowed if col is one else col.leaf.occurrence in self.before
        return ChainFound(col.leaf, col, self.ranks.setdefault(one, len(self.ranks))) if reached else None

    def _narrows(self, leaf: Leaf, facts: Facts, parts: int) -> bool:
        """Whether a source is a table that one of the first parts narrows."""
        return (
            isinstance(leaf, TableLeaf)
            and not leaf.qualified
            and any(
                col.leaf is leaf and part < parts and self.context.comparable(col.type, col.type, part)
                for col, part in facts.strong
            )
        )


def _passed(wanted: Wanted, rule: Rule) -> Wanted:
    return {place: {part: way | {rule} for part, way in parts.items()} for place, parts in wanted.items()}


def _queries_of(source: From) -> Iterator[Query]:
    if isinstance(source, Join):
        yield from source.queries
        yield from _queries_of(source.left)
        yield from _queries_of(source.right)


def _misses_of(source: From) -> Iterator[Miss]:
    if isinstance(source, Join):
        yield from source.misses
        yield from _misses_of(source.left)
        yield from _misses_of(source.right)


def _compared_anywhere(query: Select, source: From | None) -> Iterator[tuple[Col, Col]]:
    """The columns that are compared with = in a SELECT and in what is inside it, both ways round."""
    for one, other in (*query.equalities, *_joined(source)):
        yield one, other
        yield other, one
    for col, member in query.members:
        if member.outputs and (inner := member.outputs[0].col):
            yield col, inner
        yield from _compared_inside(member)
    for each, _ in query.queries:
        yield from _compared_inside(each)
    for leaf in source.leaves if source else ():
        if isinstance(leaf, QueryLeaf) and leaf.query:
            yield from _compared_inside(leaf.query)


def _compared_inside(query: Query) -> Iterator[tuple[Col, Col]]:
    match query:
        case Select():
            yield from _compared_anywhere(query, query.source)
        case SetOperation():
            yield from _compared_inside(query.left)
            yield from _compared_inside(query.right)


def _joined(source: From | None) -> Iterator[tuple[Col, Col]]:
    if isinstance(source, Join):
        yield from source.equalities
        yield from _joined(source.left)
        yield from _joined(source.right)
