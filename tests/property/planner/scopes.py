"""What a random query may name where."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.property.planner.words import Draw, folded, quoted, written


@dataclass(frozen=True)
class Ref:
    """A column in scope.

    Attributes:
        alias: of its source; empty for the merged column of USING, which has a plain name only.
        plain: its name alone may mean it, if no other has the name.
        traced: a table's own column, not computed; such make good keys.
    """

    alias: str
    name: str
    type: str
    plain: bool = True
    traced: bool = True


@dataclass(frozen=True)
class Out:
    """An output column."""

    name: str
    type: str
    traced: bool = False


@dataclass
class Source:
    """A FROM clause or a part of one.

    Attributes:
        refs: what may be named.
        shown: what a star shows.
        single: it is one table or subquery.
        main: the column that the SELECT should turn round; None for any.
    """

    text: str
    refs: list[Ref]
    shown: list[Out]
    aliases: set[str]
    single: bool = False
    main: Ref | None = None


@dataclass
class Scope:
    """Where an expression stands: its own FROM, and columns of the queries around."""

    draw: Draw
    own: Source
    outer: list[Ref] = field(default_factory=list)

    def write(self, ref: Ref) -> str:
        """A column in one of the ways to name it."""
        if not ref.alias:
            return written(self.draw, ref.name)
        if self.may_be_plain(ref) and self.draw.chance(0.4):
            return written(self.draw, ref.name)
        return f"{written(self.draw, ref.alias)}.{written(self.draw, ref.name)}"

    def may_be_plain(self, ref: Ref) -> bool:
        names = [folded(shown.name) for shown in self.own.shown]
        if ref in self.own.refs:
            return ref.plain and names.count(folded(ref.name)) == 1
        return ref.plain and folded(ref.name) not in names and folded(ref.name) not in self.own.aliases

    def total(self) -> str:
        """An order in which rows tie only if they are equal in all that can be named."""
        texts = [
            f"{quoted(ref.alias)}.{quoted(ref.name)}" if ref.alias else quoted(ref.name)
            for ref in self.own.refs
        ]
        self.draw.shuffle(texts)
        return ", ".join(texts)

    def of_type(self, type_: str, *, outer: bool = False) -> list[Ref]:
        return [ref for ref in (self.outer if outer else self.own.refs) if ref.type == type_]


def hidden_by(refs: list[Ref], aliases: set[str]) -> list[Ref]:
    """Outer columns that can still be named inside a FROM with these aliases."""
    return [ref for ref in refs if ref.alias and folded(ref.alias) not in aliases]


def derived(alias: str, outs: list[Out], names: list[str] | None = None) -> tuple[list[Ref], list[Out]]:
    """The columns of a subquery under an alias; a list of column names renames the first."""
    renamed = [
        replace(out, name=names[place]) if names and place < len(names) else out
        for place, out in enumerate(outs)
    ]
    counts = [folded(out.name) for out in renamed]
    refs = [
        Ref(alias, out.name, out.type, traced=out.traced)
        for out in renamed
        if counts.count(folded(out.name)) == 1
    ]
    return refs, renamed
