"""Random SELECTs: plain ones with windows, grouped ones, stars."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.property.planner.conditions import condition, equality, scalar
from tests.property.planner.froms import from_clause
from tests.property.planner.grouping import grouped, one_group
from tests.property.planner.making import Around, Maker, Query
from tests.property.planner.scopes import Out, Ref, Scope, Source
from tests.property.planner.windows import Windows
from tests.property.planner.words import DOMAINS, KEYABLE, constant, folded, quoted


@dataclass
class Parts:
    """A SELECT in the making.

    Attributes:
        main: the column that all of it turns round, if it goes well: it makes a good key.
        want: the types that it has to return; None where it is free.
    """

    maker: Maker
    around: Around
    scope: Scope
    main: Ref | None
    want: list[Out] | None
    items: list[str] = field(default_factory=list)
    outs: list[Out] = field(default_factory=list)

    @property
    def taken(self) -> set[str]:
        return {folded(out.name) for out in self.outs}

    def add(self, text: str, type_: str, *, near: str = "", traced: bool = False, bare: bool = False) -> None:
        """One more output column; the wanted name, if one is wanted."""
        wanted = self.want[len(self.outs)].name if self.want else ""
        name = wanted or self.maker.fresh(self.taken, near)
        keep = bare and folded(near) == folded(name) and self.maker.draw.chance(0.6)
        self.items.append(text if keep else f"{text} AS {quoted(name)}")
        self.outs.append(Out(near if keep else name, type_, traced=traced))

    def bare(self, ref: Ref) -> None:
        self.add(self.scope.write(ref), ref.type, near=ref.name, traced=ref.traced, bare=True)


def select(maker: Maker, around: Around, want: list[Out] | None = None) -> Query:
    """Any SELECT.

    Args:
        want: names and types to return, in order.
    """
    source = from_clause(maker, around)
    scope = Scope(maker.draw, source, list(around.outer))
    parts = Parts(maker, around, scope, _main(maker, source), want)
    tail = f"\nFROM {source.text}{_where(parts)}"
    kinds = {"plain": 60, "grouped": 22, "global": 1.5}
    if want is None:
        kinds["star"] = 9
    kind = maker.draw.weighted(kinds)
    maker.used(kind)
    if kind == "grouped":
        return grouped(parts, tail)
    if kind == "global":
        return one_group(parts, tail)
    return _star(parts, tail) if kind == "star" else _plain(parts, tail)


def one_value(maker: Maker, around: Around, type_: str) -> str:
    """A query of one column and at most one row."""
    draw = maker.draw
    maker.budget -= 1
    source = from_clause(maker, around) if draw.chance(0.2) else _one_table(maker, around)
    scope = Scope(draw, source, list(around.outer))
    parts = Parts(maker, around, scope, _main(maker, source), None)
    tail = f" FROM {source.text}{_where(parts)}"
    refs = scope.of_type(type_)
    if not refs or draw.chance(0.6):
        value = f"max({scope.write(draw.choice(refs))})" if refs else constant(draw, type_)
        value = value if refs else f"CASE WHEN count(*) > 1 THEN {value} END"
        return f"SELECT {value}{tail}"
    return f"SELECT {scope.write(draw.choice(refs))}{tail} ORDER BY {scope.total()} LIMIT 1"


def _one_table(maker: Maker, around: Around) -> Source:
    from tests.property.planner import leaves  # noqa: PLC0415 - sources and queries hold each other

    return leaves.table(maker, around, set())


def _main(maker: Maker, source: Source) -> Ref | None:
    if source.main and maker.draw.chance(0.85):
        return source.main
    refs = [ref for ref in source.refs if ref.type in KEYABLE and ref.type != "BOOLEAN"]
    traced = [ref for ref in refs if ref.traced and ref.name != "id"]
    merged = [ref for ref in refs if not ref.alias]
    if merged and maker.draw.chance(0.75):
        return maker.draw.choice(merged)
    named = [ref for ref in traced if ref.name == "k"]
    if named and maker.draw.chance(0.5):
        return maker.draw.choice(named)
    return maker.draw.choice(traced or refs) if refs else None


def _where(parts: Parts) -> str:
    maker, scope = parts.maker, parts.scope
    terms = []
    if (
        scope.outer
        and maker.draw.chance(0.85)
        and (found := equality(maker, scope, scope.own.refs, scope.outer))
    ):
        terms.append(found)
    if (
        "," in scope.own.text
        and maker.draw.chance(0.8)
        and (found := equality(maker, scope, scope.own.refs, scope.own.refs))
    ):
        terms.append(found)
    count = maker.draw.weighted({0: 12, 1: 6, 2: 0.7})
    terms += [condition(maker, scope, parts.around) for _ in range(count)]
    maker.draw.shuffle(terms)
    return f"\nWHERE {' AND '.join(terms)}" if terms else ""


def _star(parts: Parts, tail: str) -> Query:
    """All columns, or those of one source; without those whose names are there twice."""
    maker, own = parts.maker, parts.scope.own
    shown, prefix = own.shown, ""
    names = [folded(out.name) for out in shown]
    if len(set(names)) < len(names) or maker.draw.chance(0.2):
        refs = [ref for ref in own.refs if ref.alias]
        if not refs:
            return _plain(parts, tail)
        alias = maker.draw.choice(refs).alias
        shown = [Out(ref.name, ref.type, traced=ref.traced) for ref in refs if ref.alias == alias]
        prefix = f"{quoted(alias)}."
        # A source whose names are not all known apart has fewer refs than columns.
        if len({folded(out.name) for out in shown}) < len(shown) or "(" in own.text:
            return _plain(parts, tail)
    outs = list(shown)
    star = f"{prefix}*"
    if len(outs) > 2 and maker.draw.chance(0.25):
        maker.used("EXCLUDE")
        gone = maker.draw.choice(outs)
        star += f" EXCLUDE ({quoted(gone.name)})"
        outs.remove(gone)
    if maker.draw.chance(0.2):
        maker.used("REPLACE")
        at = maker.draw.randrange(len(outs))
        type_ = outs[at].type
        star += f" REPLACE ({constant(maker.draw, type_)} AS {quoted(outs[at].name)})"
        outs[at] = Out(outs[at].name, type_)
    items = [star]
    if maker.draw.chance(0.2):
        name = maker.fresh({folded(out.name) for out in outs})
        items.append(f"'1' AS {quoted(name)}")
        outs.append(Out(name, "VARCHAR"))
        if maker.draw.chance(0.5):
            items.reverse()
            outs.insert(0, outs.pop())
    return Query(f"SELECT {', '.join(items)}{tail}{_limited(maker, 0.05)}", outs)


def _plain(parts: Parts, tail: str) -> Query:
    maker, draw, scope = parts.maker, parts.maker.draw, parts.scope
    windows = Windows(maker, scope, parts.main)
    if parts.want is not None:
        for wanted in parts.want:
            _wanted(parts, wanted.type)
    else:
        count = draw.randint(1, 4)
        if parts.main and draw.chance(0.9):
            parts.bare(parts.main)
        for _ in range(count):
            _item(parts, windows)
        if not parts.items:
            parts.add("1::BIGINT", "BIGINT")
    qualify = windows.qualify()  # may name a window too
    return Query(*_distinct(parts, f"{tail}{windows.clause()}{qualify}", windowed=windows.any))


def _wanted(parts: Parts, type_: str) -> None:
    refs = parts.scope.of_type(type_)
    main = parts.main
    if main and main.type == type_ and parts.maker.draw.chance(0.7):
        parts.bare(main)
    elif refs and parts.maker.draw.chance(0.85):
        parts.bare(parts.maker.draw.choice(refs))
    elif type_ in DOMAINS:
        parts.add(constant(parts.maker.draw, type_), type_)
    else:
        parts.add(f"NULL::{type_}", type_)


def _item(parts: Parts, windows: Windows) -> None:
    draw, scope, maker = parts.maker.draw, parts.scope, parts.maker
    kinds = {"bare": 14, "window": 2.2, "computed": 1.5}
    if maker.may_nest(parts.around):
        kinds["scalar"] = 1
    if scope.of_type("BIGINT[]"):
        kinds["unnest"] = 0.3
    if scope.outer:
        kinds["outer"] = 0.7
    kind = draw.weighted(kinds)
    match kind:
        case "window":
            parts.add(*windows.call())
        case "scalar":
            parts.add(scalar(maker, scope, parts.around, "DOUBLE"), "DOUBLE")
        case "unnest":
            maker.used("select unnest")
            parts.add(f"unnest({scope.write(draw.choice(scope.of_type('BIGINT[]')))})", "BIGINT")
        case "computed":
            _computed(parts)
        case "outer":
            parts.add(scope.write(ref := draw.choice(scope.outer)), ref.type, near=ref.name)
        case _:
            refs = [ref for ref in scope.own.refs if ref.traced and ref.type in KEYABLE]
            refs = refs if refs and draw.chance(0.5) else scope.own.refs
            if refs:
                parts.bare(draw.choice(refs))


def _computed(parts: Parts) -> None:
    scope, draw = parts.scope, parts.maker.draw
    numbers = scope.of_type("BIGINT")
    texts = scope.of_type("VARCHAR")
    if numbers and draw.chance(0.6):
        ref = draw.choice(numbers)
        parts.add(f"{scope.write(ref)} + {draw.randint(0, 1)}", "BIGINT", near=ref.name)
    elif texts:
        ref = draw.choice(texts)
        parts.add(f"coalesce({scope.write(ref)}, '0')", "VARCHAR", near=ref.name)
    else:
        parts.add(constant(draw, "BIGINT"), "BIGINT")


def _distinct(parts: Parts, tail: str, *, windowed: bool) -> tuple[str, list[Out]]:
    """DISTINCT, DISTINCT ON, LIMIT, ORDER BY."""
    maker, draw, scope = parts.maker, parts.maker.draw, parts.scope
    items = ", ".join(parts.items)
    kind = draw.weighted({"": 70, "DISTINCT": 10, "DISTINCT ON": 11})
    unnested = any("unnest(" in item for item in parts.items)
    if kind == "DISTINCT":
        maker.used(kind)
        return f"SELECT DISTINCT {items}{tail}{_limited(maker, 0.05)}", parts.outs
    plain = {folded(ref.name) for ref in scope.own.refs if not ref.alias}
    if kind == "DISTINCT ON" and not windowed and not unnested and not plain & parts.taken:
        maker.used(kind)
        refs = draw.some(scope.own.refs, 0, 1)
        if parts.main and (draw.chance(0.75) or not refs):
            refs.append(parts.main)
        if refs:
            texts = [
                f"{quoted(ref.alias)}.{quoted(ref.name)}" if ref.alias else quoted(ref.name) for ref in refs
            ]
            on = ", ".join(texts)
            order = f"\nORDER BY {on}, {scope.total()}"
            return f"SELECT DISTINCT ON ({on}) {items}{tail}{order}", parts.outs
    return f"SELECT {items}{tail}{_limited(maker, 0.07)}", parts.outs


def _limited(maker: Maker, share: float) -> str:
    """ORDER BY all columns and LIMIT: rows that tie are equal."""
    if maker.draw.chance(share):
        maker.used("LIMIT")
        offset = maker.draw.choice(["", "", " OFFSET 1"])
        return f"\nORDER BY ALL LIMIT {maker.draw.randint(1, 6)}{offset}"
    return "\nORDER BY 1" if maker.draw.chance(0.05) else ""
