"""FROM clauses: which facts of their rows are facts of each source's rows, so that rows may be taken from it."""

from __future__ import annotations

from collections.abc import Iterator

from featurestore.engine.planner import advice
from featurestore.engine.planner.columns import From, Join, Leaf
from featurestore.engine.planner.context import Context, Stops
from featurestore.engine.planner.facts import Facts, implied_above, rejecting
from featurestore.engine.planner.model import Rule

Placed = tuple[Leaf, Facts, Stops]


def placed(context: Context, source: From, facts: Facts, stops: Stops) -> Iterator[Placed]:
    """The leaves of a FROM clause, each with the facts that rows may be taken from it by.

    Facts of columns outside the leaf stay with it: a LATERAL subquery may name them.
    """
    if not isinstance(source, Join):
        yield source, facts, stops
        return
    left, right = source.left, source.right
    kind = _effective_kind(context, source, facts)
    match kind:
        case "POSITIONAL":
            yield from _by_position(context, source, facts, stops)
            return
        case "FULL":
            yield from _full(context, source, facts, stops)
            return
    facts = _with_merged(context, source, facts, kind)
    met = facts.copy()  # of the pairs of rows that fulfil ON
    if kind != "INNER":
        lost = left if kind == "RIGHT" else right
        met = facts.where(lambda col: not lost.owns(col))
    context.close(met, [*rejecting(source.equalities), *implied_above(left), *implied_above(right)])
    kept = met if kind == "INNER" or not context.holds(Rule.OUTER_PRESERVED) else facts
    left_facts, right_facts = (met, kept) if kind == "RIGHT" else (kept, met)
    left_stops = right_stops = stops
    if kind in ("LEFT", "RIGHT"):
        side = right if kind == "RIGHT" else left
        if kept is not met and any(side.owns(col) for col, _ in met.strong.keys() - kept.strong.keys()):
            more = stops + context.stop(Rule.OUTER_PRESERVED, advice.OUTER_PRESERVED)
            left_stops, right_stops = (stops, more) if kind == "RIGHT" else (more, stops)
    if source.asof and context.holds(Rule.ASOF):
        right_facts = _nearest(context, source, right_facts)
    if kind == "RIGHT":
        right_facts = right_facts.where(lambda col: not left.owns(col))
    yield from placed(context, left, left_facts.where(lambda col: not right.owns(col)), left_stops)
    yield from placed(context, right, right_facts, right_stops)


def _by_position(context: Context, join: Join, facts: Facts, stops: Stops) -> Iterator[Placed]:
    if context.holds(Rule.POSITIONAL):
        if facts.holds_not_null(join):
            stops += context.stop(Rule.POSITIONAL, advice.POSITIONAL)
        facts = Facts()
    yield from placed(context, join.left, facts, stops)
    yield from placed(context, join.right, facts, stops)


def _effective_kind(context: Context, join: Join, facts: Facts) -> str:
    """What kind of join it is for the rows that matter: those with nulls on a side that is known are not among them."""
    loose = [facts.holds_not_null(side, weak=True) for side in (join.left, join.right)]
    strict = [facts.holds_not_null(side) for side in (join.left, join.right)]
    if join.kind in ("LEFT", "RIGHT", "FULL") and loose != strict:
        context.refused[Rule.OUTER_NULLABLE] += 1
    left, right = strict if context.holds(Rule.OUTER_NULLABLE) else loose
    match join.kind:
        case "LEFT" if right:
            return "INNER"
        case "RIGHT" if left:
            return "INNER"
        case "FULL" if left or right:
            return "INNER" if left and right else "LEFT" if left else "RIGHT"
    return join.kind


def _with_merged(context: Context, join: Join, facts: Facts, kind: str) -> Facts:
    """A FULL JOIN that is none for the rows that matter: a merged column is that of the side that is not null."""
    facts = facts.copy()
    sides = {"LEFT": (0,), "RIGHT": (1,)}.get(kind, (0, 1))
    for (col, part), way in list(facts.strong.items()):
        if col in join.merged and col.merged:
            for own in (col.merged[side] for side in sides):
                if context.comparable(col.type, own.type, part):
                    facts.strong.setdefault((own, part), way | {Rule.FULL_MERGED})
    return facts


def _full(context: Context, join: Join, facts: Facts, stops: Stops) -> Iterator[Placed]:
    """Both sides of a FULL JOIN of which only merged columns are known: each side by its own of the two."""
    outside = facts.where(lambda col: not join.owns(col))
    sides = outside.copy(), outside.copy()
    for (col, part), way in facts.strong.items():
        if col in join.merged and col.merged:
            for side, own in zip(sides, col.merged, strict=True):
                if context.comparable(col.type, own.type, part):
                    side.strong[(own, part)] = way | {Rule.FULL_MERGED}
    for side, child in zip(sides, (join.left, join.right), strict=True):
        context.close(side, list(implied_above(child)))
        yield from placed(context, child, side, stops)


def _nearest(context: Context, join: Join, facts: Facts) -> Facts:
    """Of the side that the nearest row is searched in, only the columns that have to be equal."""
    equal = {col for pair in join.equalities for col in pair}
    dropped = [col for col, _ in facts.strong if join.right.owns(col) and col not in equal]
    if dropped:
        context.refused[Rule.ASOF] += 1
    kept = facts.where(lambda col: not join.right.owns(col) or col in equal)
    for key in [key for key in kept.strong if join.right.owns(key[0])]:
        kept.strong[key] |= {Rule.ASOF}
    return kept
