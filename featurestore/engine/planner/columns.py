"""Columns as a query's names mean them: what a FROM clause offers, and what a query returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from featurestore.engine.planner.model import Rule


def folded(name: str) -> str:
    """The name as DuckDB compares it: it tells no cases of A to Z apart, and those of other letters."""
    return name.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")


@dataclass(eq=False, slots=True)
class Col:
    """One column of one source; the object itself is its identity.

    Attributes:
        name: folded.
        type: DuckDB's; None where it is not known.
        leaf: where it comes from; None for the merged column of a FULL JOIN.
        merged: of a FULL JOIN USING, the two columns whose first value it is.
        written: as the table's definition spells it.
    """

    name: str
    type: str | None
    leaf: Leaf | None = None
    merged: tuple[Col, Col] | None = None
    written: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """One output column of a query.

    Attributes:
        name: folded; None where DuckDB makes one up.
        col: where it is nothing but a column of the query's own FROM or of one around it.
        computed_by: the rule that keeps it from being one, where it is computed from `part`.
    """

    name: str | None
    col: Col | None
    type: str | None
    computed_by: Rule = Rule.EXPRESSION
    part: Col | None = None


@dataclass(eq=False, slots=True)
class Leaf:
    """One source of a FROM clause.

    Attributes:
        alias: folded.
        columns: those known, in order; a name that is there twice is left out.
        complete: whether these are all.
    """

    alias: str
    columns: list[Col] = field(default_factory=list)
    complete: bool = True
    may_merge: ClassVar[bool] = False

    @property
    def visible(self) -> list[tuple[str, Col | None]]:
        """What an unqualified name or a star finds."""
        return [(col.name, col) for col in self.columns]

    @property
    def named(self) -> list[Leaf]:
        """What a qualified name finds."""
        return [self]

    @property
    def leaves(self) -> Iterator[Leaf]:
        """The sources from left to right."""
        yield self

    def owns(self, col: Col) -> bool:
        """Whether a column is one of these."""
        return col.leaf is self


@dataclass(eq=False, slots=True)
class TableLeaf(Leaf):
    """A table.

    Attributes:
        occurrence: which one of the text.
        qualified: the query names its columns with the schema before them, so the name can't be replaced.
    """

    occurrence: int = -1
    qualified: bool = False


@dataclass(eq=False, slots=True)
class QueryLeaf(Leaf):
    """A subquery, or a use of a WITH query.

    Attributes:
        query: None where it is one that refers to itself.
        cte: the WITH query that is used.
        places: which output each column is.
    """

    query: Query | None = None
    cte: Cte | None = None
    places: dict[Col, int] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class OpaqueLeaf(Leaf):
    """A source whose rows are not followed: a table function, VALUES, PIVOT.

    Attributes:
        pivoted: the sources inside a PIVOT.
        queries: subqueries inside it.
    """

    pivoted: list[From] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Join:
    """Two sources joined.

    Attributes:
        kind: INNER, LEFT, RIGHT, FULL, SEMI, ANTI or POSITIONAL; a comma is INNER.
        equalities: of ON, USING or NATURAL, top-level conjuncts only; for ASOF those between the two sides.
        misses: columns that are compared in a way that is no such equality, with the rule that says so.
        merged: the columns of FULL JOIN USING.
        visible: as a star shows them; None where the name is not known to be one column.
        queries: subqueries in ON.
        merges_unknown: it is a NATURAL JOIN of which not all columns are known.
    """

    left: From
    right: From
    kind: str
    asof: bool = False
    equalities: list[tuple[Col, Col]] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    merged: list[Col] = field(default_factory=list)
    visible: list[tuple[str, Col | None]] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    merges_unknown: bool = False

    @property
    def may_merge(self) -> bool:
        """Whether any name may be a merged column, which it then means before a column of another source."""
        return self.merges_unknown or self.left.may_merge or self.right.may_merge

    @property
    def complete(self) -> bool:
        """Whether the visible columns are all."""
        return self.left.complete and (self.kind in ("SEMI", "ANTI") or self.right.complete)

    @property
    def named(self) -> list[Leaf]:
        """What a qualified name finds."""
        return self.left.named + ([] if self.kind in ("SEMI", "ANTI") else self.right.named)

    @property
    def leaves(self) -> Iterator[Leaf]:
        """The sources from left to right."""
        yield from self.left.leaves
        yield from self.right.leaves

    def owns(self, col: Col) -> bool:
        """Whether a column is one of either side, or a merged one of this join or one below."""
        return col in self.merged or self.left.owns(col) or self.right.owns(col)


From: TypeAlias = Leaf | Join
Miss: TypeAlias = tuple[Col, Col, Rule]


@dataclass(eq=False, slots=True)
class Select:
    """A SELECT.

    Attributes:
        outputs: those known, from the first on.
        complete: whether they are all and have names.
        source: None without FROM.
        equalities: `a = b`, top-level conjuncts of WHERE.
        misses: columns that are compared in a way that is no such equality, with the rule that says so.
        members: `x IN (SELECT ...)`, top-level conjuncts of WHERE.
        queries: all other subqueries in expressions, each with the rule that stops the key if nothing ties it.
        partitions: of each window, the columns in its PARTITION BY.
        grouped: the columns of GROUP BY; None without one.
        aggregates: it has an aggregate function.
        distinct_on: the columns among its expressions; None without DISTINCT ON.
        limited: it has a LIMIT or an OFFSET.
    """

    outputs: list[Output]
    complete: bool
    source: From | None
    ctes: list[Cte] = field(default_factory=list)
    equalities: list[tuple[Col, Col]] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    members: list[tuple[Col, Query]] = field(default_factory=list)
    queries: list[tuple[Query, Rule]] = field(default_factory=list)
    partitions: list[list[Col]] = field(default_factory=list)
    grouped: list[Col] | None = None
    aggregates: bool = False
    distinct_on: list[Col] | None = None
    limited: bool = False


@dataclass(eq=False, slots=True)
class SetOperation:
    """UNION, EXCEPT or INTERSECT.

    Attributes:
        places: of each output, which one of the left and of the right it is; None where that side has none.
    """

    outputs: list[Output]
    complete: bool
    left: Query
    right: Query
    places: list[tuple[int | None, int | None]]
    ctes: list[Cte] = field(default_factory=list)
    limited: bool = False


@dataclass(eq=False, slots=True)
class Unfollowed:
    """A query that is not followed: a recursive one, or a kind that is not known here.

    Attributes:
        queries: what is inside.
    """

    outputs: list[Output]
    complete: bool
    queries: list[Query]
    ctes: list[Cte] = field(default_factory=list)


Query: TypeAlias = Select | SetOperation | Unfollowed


@dataclass(eq=False, slots=True)
class Cte:
    """A WITH query.

    Attributes:
        name: folded.
        query: None while it is being read, as a recursive one sees itself.
        uses: how often it is named.
    """

    name: str
    outputs: list[Output]
    complete: bool
    query: Query | None
    uses: int = 0


def derived(alias: str, outputs: Iterable[Output], *, complete: bool, names: list[str]) -> QueryLeaf:
    """A source made of a query's outputs.

    Args:
        names: column aliases behind the alias, for the first columns.
    """
    leaf = QueryLeaf(folded(alias))
    listed = list(outputs)
    called = [folded(name) for name in names] + [output.name for output in listed[len(names) :]]
    for place, (name, output) in enumerate(zip(called, listed, strict=False)):
        if name is not None and called.count(name) == 1:
            col = Col(name, output.type, leaf)
            leaf.columns.append(col)
            leaf.places[col] = place
    leaf.complete = complete and len(leaf.columns) == len(listed)
    return leaf
