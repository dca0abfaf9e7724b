"""What a plan says: of each place where a query names a table, how much of that table has to be read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from featurestore.model.query import Column


class Rule(Enum):
    """What lets a key pass on its way down, or stops it. The value is what `Explain` shows."""

    EXPRESSION = "EXPRESSION"
    """The key has to be a plain column: of `k + 1` or `unnest(ks)` it is not known which rows give the key."""
    LIMIT = "LIMIT"
    """A LIMIT counts rows of all keys: with fewer of them it would let others through."""
    GLOBAL_AGGREGATE = "GLOBAL_AGGREGATE"
    """An aggregate over all rows changes with each of them."""
    GROUP_BY = "GROUP_BY"
    """A filter on a grouped column keeps or drops whole groups. A grouping set without the column shows it as null,
    which is no key."""
    DISTINCT_ON = "DISTINCT_ON"
    """DISTINCT ON keeps one row for each value of its expressions; the key has to be among them."""
    WINDOW = "WINDOW"
    """A window sees the rows of its partition; the key has to be in every PARTITION BY of its SELECT."""
    SET_OPERATION = "SET_OPERATION"
    """UNION, EXCEPT and INTERSECT compare whole rows, by position or by name: a filter goes to both sides."""
    SAME_TYPE = "SAME_TYPE"
    """Values of two types can be equal after a cast and yet be different as keys: 7 = '007'."""
    EQUALITY = "EQUALITY"
    """Of two columns that are compared with `=`, one is what the other is. IS NOT DISTINCT FROM lets nulls meet."""
    CONJUNCT = "CONJUNCT"
    """Only what a row must fulfil fixes anything: not what stands under OR, NOT or CASE."""
    HAVING = "HAVING"
    """HAVING and QUALIFY judge what was computed from more rows than they let through."""
    OUTER_NULLABLE = "OUTER_NULLABLE"
    """Where an outer join adds nulls, a column is "key or null"; rows taken from that side would become nulls."""
    OUTER_PRESERVED = "OUTER_PRESERVED"
    """ON takes no row from the preserved side of an outer join."""
    FULL_MERGED = "FULL_MERGED"
    """The merged column of FULL JOIN USING is the first of both sides that is not null: it is neither of them."""
    ASOF = "ASOF"
    """The nearest row is searched among those that are equal: only the columns of the equalities may be narrowed."""
    POSITIONAL = "POSITIONAL"
    """POSITIONAL JOIN pairs rows by where they stand; no row may be missing."""
    PIVOT = "PIVOT"
    """What a row of PIVOT or UNPIVOT comes from is not followed."""
    RECURSION = "RECURSION"
    """A recursive query reaches rows through other rows."""
    IN_SUBQUERY = "IN_SUBQUERY"
    """`x IN (SELECT y)` as a condition needs only those y that are keys; negated or as a value it needs all."""
    CTE_REFERENCES = "CTE_REFERENCES"
    """A WITH query that is used more than once is computed once: every use has to ask for the same keys."""
    CORRELATED = "CORRELATED"
    """A subquery that compares a column of its own with one outside runs for rows whose key is known."""
    CHAIN = "CHAIN"
    """The values of a narrowed table's other column narrow the tables that are joined on it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a table is read whole.

    Attributes:
        rule: None where nothing leads to the table at all.
        advice: what happened and what to write instead, a sentence.
    """

    rule: Rule | None
    advice: str


@dataclass(frozen=True, slots=True)
class Narrowing:
    """`column IN (values)` beneath one occurrence.

    Attributes:
        column: of the table, as it was defined.
        part: position in the index key whose values they are; -1 for a chain's.
        chain: number of the chain whose values they are, else None.
        rules: what the key passed by on its way, in no order.
    """

    column: str
    part: int
    chain: int | None = None
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadSet:
    """What the answer for a key depends on, of one occurrence: all rows whose `column` has the key part's value.

    Attributes:
        column: None for the whole table.
        part: position in the index key, or -1.
        chain: the rows are those with one of the chain's values, as this answer used them.
    """

    table: str
    column: str | None = None
    part: int = -1
    chain: int | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One place in the text that names a table.

    Attributes:
        table: as it is written, without the schema.
        alias: by which the query calls it; the table's name where it gives none.
        start: of the name's first character in the text, its schema included; `end` is behind its last.
        has_alias: whether the text itself names an alias.
        narrowed: all of them hold; empty where the table is read whole.
        stopped: None where it is narrowed.
    """

    table: str
    alias: str
    start: int
    end: int
    has_alias: bool
    narrowed: tuple[Narrowing, ...] = ()
    stopped: Stop | None = None

    @property
    def read_set(self) -> ReadSet:
        """What of the table an answer depends on."""
        if not self.narrowed:
            return ReadSet(self.table)
        first = self.narrowed[0]
        return ReadSet(self.table, first.column, first.part, first.chain)


@dataclass(frozen=True, slots=True)
class Chain:
    """Values that are fetched first: those of one column of a narrowed table, for the keys asked.

    Attributes:
        table: which is narrowed by `narrowed`.
        column: whose values narrow another table; with the engine's type.
    """

    table: str
    column: Column
    narrowed: tuple[Narrowing, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a query is narrowed for an index key.

    Attributes:
        index_key: the key columns, in the order of the parts.
        occurrences: in the order of the text.
        chains: by number.
        fired: for proofs: how often a rule let the key pass to a table.
        refused: how often a rule stopped it.
    """

    index_key: tuple[Column, ...]
    occurrences: tuple[Occurrence, ...]
    chains: tuple[Chain, ...] = ()
    fired: Counter[Rule] = field(default_factory=Counter, compare=False)
    refused: Counter[Rule] = field(default_factory=Counter, compare=False)

    @property
    def narrows(self) -> bool:
        """Whether any table is narrowed."""
        return any(each.narrowed for each in self.occurrences)
