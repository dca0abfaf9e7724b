"""What is known of the rows that an answer can come from: which columns have the asked keys' values in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from featurestore.engine.planner.columns import Col, From, Join
from featurestore.engine.planner.model import Rule

Way = frozenset[Rule]
"""What the key passed by."""


@dataclass(slots=True)
class Facts:
    """Of the rows that matter, for columns and parts of the key.

    Attributes:
        strong: the column is one of the part's values.
        weak: it is one of them, or null.
    """

    strong: dict[tuple[Col, int], Way] = field(default_factory=dict)
    weak: dict[tuple[Col, int], Way] = field(default_factory=dict)

    def copy(self) -> Facts:
        """The same, to be added to."""
        return Facts(dict(self.strong), dict(self.weak))

    def passing(self, rule: Rule) -> Facts:
        """The same, with a rule more on their way."""
        return Facts(
            {known: way | {rule} for known, way in self.strong.items()},
            {known: way | {rule} for known, way in self.weak.items()},
        )

    def where(self, keep: Callable[[Col], bool]) -> Facts:
        """Those of some columns."""
        return Facts(
            {(col, part): way for (col, part), way in self.strong.items() if keep(col)},
            {(col, part): way for (col, part), way in self.weak.items() if keep(col)},
        )

    def parts_of(self, col: Col) -> dict[int, Way]:
        """The parts whose values a column has."""
        return {part: way for (other, part), way in self.strong.items() if other is col}

    def holds_not_null(self, source: From, *, weak: bool = False) -> bool:
        """Whether a column of a source is known not to be null.

        Args:
            weak: take "or null" for it, as tests do to see that it matters.
        """
        return any(source.owns(col) for col, _ in (*self.strong, *(self.weak if weak else ())))


@dataclass(frozen=True, slots=True)
class Implication:
    """If one column is known, so is another.

    Attributes:
        given: the known column; `strong` whether it has to be known without the null.
        then: `sure` whether the other is then known without the null.
    """

    given: Col
    strong: bool
    then: Col
    sure: bool
    rule: Rule = Rule.EQUALITY


def rejecting(pairs: Iterable[tuple[Col, Col]]) -> Iterator[Implication]:
    """Of `a = b` as a condition that the rows at hand fulfil: a null would have failed it."""
    for pair in pairs:
        for one, other in (pair, pair[::-1]):
            yield Implication(one, strong=True, then=other, sure=True)
            yield Implication(one, strong=False, then=other, sure=True)
            yield Implication(one, strong=False, then=one, sure=True)


def implied_above(source: From | None) -> Iterator[Implication]:
    """What a FROM clause's conditions say of its rows, also where an outer join above it added nulls."""
    if not isinstance(source, Join):
        return
    if source.kind not in ("SEMI", "ANTI", "POSITIONAL"):
        for pair in source.equalities:
            yield from _of_pair(source, pair)
        for merged in source.merged:
            yield from _of_merged(merged)
    yield from implied_above(source.left)
    if source.kind not in ("SEMI", "ANTI"):
        yield from implied_above(source.right)


def _of_pair(join: Join, pair: tuple[Col, Col]) -> Iterator[Implication]:
    for one, other in (pair, pair[::-1]):
        sides = _side(join, one), _side(join, other)
        if join.kind == "INNER":
            yield from _of_inner(one, other, sides)
        elif join.kind == "FULL":
            if set(sides) == {"LEFT", "RIGHT"}:
                yield Implication(one, strong=True, then=other, sure=False, rule=Rule.OUTER_PRESERVED)
        else:
            lost = "RIGHT" if join.kind == "LEFT" else "LEFT"
            yield from _of_outer(one, other, [side == lost for side in sides])


def _of_inner(one: Col, other: Col, sides: tuple[str | None, str | None]) -> Iterator[Implication]:
    # A column from outside is not made null by an outer join above this one; those of this join are.
    if sides[0]:
        yield Implication(one, strong=True, then=other, sure=True)
        if sides[1]:
            yield Implication(one, strong=False, then=other, sure=False)
    else:
        yield Implication(one, strong=True, then=other, sure=False)


def _of_outer(one: Col, other: Col, may_be_null: list[bool]) -> Iterator[Implication]:
    match may_be_null:
        case [True, True]:  # null together, where there was no match
            yield Implication(one, strong=True, then=other, sure=True)
            yield Implication(one, strong=False, then=other, sure=False)
        case [False, True]:  # a null meets nothing, so what it met is null
            yield Implication(one, strong=True, then=other, sure=False, rule=Rule.OUTER_PRESERVED)
            yield Implication(one, strong=False, then=other, sure=False, rule=Rule.OUTER_PRESERVED)
        case [True, False]:  # where it is not null, there was a match
            yield Implication(one, strong=True, then=other, sure=True, rule=Rule.OUTER_NULLABLE)
        case _:
            return  # both preserved: ON takes none of their rows


def _side(join: Join, col: Col) -> str | None:
    if join.left.owns(col):
        return "LEFT"
    return "RIGHT" if join.right.owns(col) else None


def _of_merged(merged: Col) -> Iterator[Implication]:
    for side in merged.merged or ():
        yield Implication(merged, strong=True, then=side, sure=False, rule=Rule.FULL_MERGED)
        yield Implication(side, strong=True, then=merged, sure=True, rule=Rule.FULL_MERGED)
