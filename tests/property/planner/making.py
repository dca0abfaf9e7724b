"""What the parts of the generator share: choices, tables, and how large the query may still become."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.property.planner.databases import Database
from tests.property.planner.scopes import Out, Ref
from tests.property.planner.words import ALIASES, FRESH, Draw, folded


@dataclass(frozen=True)
class Around:
    """Where a query stands.

    Attributes:
        outer: columns of the queries around that may be named.
        ctes: WITH queries in scope, by name.
    """

    outer: tuple[Ref, ...] = ()
    ctes: dict[str, tuple[Out, ...]] = field(default_factory=dict)
    depth: int = 0

    def inside(self, refs: list[Ref] | tuple[Ref, ...] = ()) -> Around:
        """Of a subquery that may name these columns."""
        return replace(self, outer=tuple(refs), depth=self.depth + 1)


@dataclass(frozen=True)
class Query:
    text: str
    outs: list[Out]


@dataclass
class Maker:
    """One query in the making.

    Attributes:
        budget: how many sources it may still name, roughly.
        features: words for what was used, for statistics.
        last_cte: which WITH query was used last.
    """

    draw: Draw
    database: Database
    budget: int
    features: set[str] = field(default_factory=set)
    last_cte: str = ""

    def used(self, feature: str) -> None:
        self.features.add(feature)

    def may_nest(self, around: Around) -> bool:
        return self.budget > 0 and around.depth < 3

    def alias(self, taken: set[str], near: str = "") -> str:
        """One that this FROM does not have."""
        free = [name for name in (near, *ALIASES) if name and folded(name) not in taken]
        if not free:
            free = [f"a{len(taken)}"]
        return near if near in free and self.draw.chance(0.3) else self.draw.choice(free)

    def fresh(self, taken: set[str], near: str = "") -> str:
        """A name for an output that no other has."""
        free = [name for name in (near, *FRESH) if name and folded(name) not in taken]
        if not free:
            free = [f"f{len(taken)}"]
        return near if near in free and self.draw.chance(0.6) else self.draw.choice(free)
