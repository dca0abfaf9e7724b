"""Random FROM clauses."""

from __future__ import annotations

from dataclasses import replace

from tests.property.planner import leaves
from tests.property.planner.conditions import condition, equality
from tests.property.planner.making import Around, Maker
from tests.property.planner.scopes import Out, Ref, Scope, Source, derived, hidden_by
from tests.property.planner.words import CASTABLE, KEYABLE, folded, quoted, written

_KINDS = {
    "INNER": 8,
    "LEFT": 6,
    "RIGHT": 2.5,
    "FULL": 3.5,
    "SEMI": 1.5,
    "ANTI": 1.5,
    "CROSS": 0.5,
    "POSITIONAL": 0.6,
    "ASOF": 1.6,
    "ASOF LEFT": 1.6,
    "LATERAL": 2.5,
    "LEFT LATERAL": 2,
}


def from_clause(maker: Maker, around: Around) -> Source:
    """One FROM clause: joins, some of them with a comma."""
    if around.ctes and maker.draw.chance(0.15):
        return _twice(maker, around)
    taken: set[str] = set()
    found = _joins(maker, around, taken, [])
    while maker.budget > 0 and maker.draw.chance(0.22):
        maker.used("comma")
        # What stands left may be named on the right: a lateral subquery needs no word for it.
        right = _joins(maker, around, taken, found.refs)
        found = _both(found, right, f"{found.text}, {right.text}")
    return found


def _twice(maker: Maker, around: Around) -> Source:
    """A WITH query joined with itself."""
    maker.used("CTE twice")
    maker.budget -= 1
    name, outs = maker.draw.choice(list(around.ctes.items()))
    names = [folded(out.name) for out in outs]
    keys = [out for out in outs if out.type in KEYABLE and out.traced and names.count(folded(out.name)) == 1]
    sides = [
        Source(f"{quoted(name)} AS {alias}", *derived(alias, list(outs)), {alias}) for alias in ("one", "two")
    ]
    if not keys:
        return sides[0]
    on = maker.draw.choice(keys)
    both = _both(*sides, "")
    pair = [next(ref for ref in side.refs if ref.name == on.name) for side in sides]
    word = maker.draw.choice(["JOIN", "LEFT JOIN", "FULL JOIN"])
    terms = " = ".join(f"{ref.alias}.{quoted(ref.name)}" for ref in pair)
    return replace(both, text=f"{sides[0].text} {word} {sides[1].text} ON {terms}", main=pair[0])


def _joins(maker: Maker, around: Around, taken: set[str], left_of: list[Ref]) -> Source:
    found = leaves.leaf(maker, _beside(around, left_of, taken), taken)
    more = maker.draw.weighted({0: 9, 1: 8, 2: 4, 3: 1})
    while more > 0 and maker.budget > 0:
        found = _joined(maker, around, found, taken)
        more -= 1
    return found


def _beside(around: Around, refs: list[Ref], taken: set[str]) -> Around:
    """Around a source that stands right of others."""
    return replace(around, outer=(*(ref for ref in refs if ref.alias), *hidden_by(list(around.outer), taken)))


def _joined(maker: Maker, around: Around, left: Source, taken: set[str]) -> Source:
    kind = maker.draw.weighted(_KINDS)
    maker.used(kind)
    if kind in ("LATERAL", "LEFT LATERAL"):
        return _lateral(maker, around, left, taken, kind)
    if kind.startswith("ASOF"):
        return _asof(maker, around, left, taken, kind)
    if kind not in ("CROSS", "POSITIONAL") and maker.draw.chance(0.06):
        return _natural(maker, around, left, taken, kind)
    # Inside a join on the right of POSITIONAL JOIN, DuckDB 1.5.5 looks names up in the queries around.
    right = _right(maker, around, left, taken, nested=kind != "POSITIONAL")
    if kind in ("CROSS", "POSITIONAL"):
        return _both(left, right, f"{left.text} {kind} JOIN {right.text}")
    shared = _shared(maker, left, right)
    if shared and maker.draw.chance(0.75 if kind == "FULL" else 0.35):
        return _using(maker, left, right, kind, shared)
    both = _both(left, right, "")
    text = f"{left.text} {_word(maker, kind)} {right.text} ON {_on(maker, around, both, left, right, kind)}"
    return replace(left, text=text, single=False) if kind in ("SEMI", "ANTI") else replace(both, text=text)


def _right(maker: Maker, around: Around, left: Source, taken: set[str], *, nested: bool) -> Source:
    right = leaves.leaf(maker, _beside(around, left.refs, taken), taken)
    if nested and maker.budget > 0 and maker.draw.chance(0.12):
        maker.used("nested join")
        inner = _joined(maker, around, right, taken)
        return replace(inner, text=f"({inner.text})")
    return right


def _word(maker: Maker, kind: str) -> str:
    if kind == "INNER":
        return maker.draw.choice(["JOIN", "INNER JOIN", "join"])
    return f"{kind} {maker.draw.choice(['', 'OUTER ']) if kind in ('LEFT', 'RIGHT', 'FULL') else ''}JOIN"


def _on(maker: Maker, around: Around, both: Source, left: Source, right: Source, kind: str) -> str:
    scope = Scope(maker.draw, both, list(around.outer))
    tries = range(maker.draw.weighted({1: 8, 2: 2}))
    terms = [found for _ in tries if (found := equality(maker, scope, left.refs, right.refs))]
    if (
        around.outer
        and maker.draw.chance(0.15)
        and (found := equality(maker, scope, right.refs, list(around.outer)))
    ):
        terms.append(found)
    if kind != "FULL" and maker.draw.chance(0.2):
        terms.append(condition(maker, scope, replace(around, depth=9)))
    maker.draw.shuffle(terms)
    return f"({' AND '.join(terms)})" if terms else "TRUE"


def _both(left: Source, right: Source, text: str) -> Source:
    return Source(text, left.refs + right.refs, left.shown + right.shown, left.aliases | right.aliases)


def _shared(maker: Maker, left: Source, right: Source) -> list[str]:
    """Names that USING may hold: one column of each side, of one type."""
    names = []
    for name in {folded(out.name) for out in left.shown}:
        sides = [[out for out in side.shown if folded(out.name) == name] for side in (left, right)]
        if [len(side) for side in sides] != [1, 1]:
            continue
        one, other = sides[0][0], sides[1][0]
        if one.type == other.type or (other.type in CASTABLE.get(one.type, ()) and maker.draw.chance(0.1)):
            names.append(one.name)
    return sorted(names)


def _using(maker: Maker, left: Source, right: Source, kind: str, shared: list[str]) -> Source:
    maker.used("USING")
    keys = [name for name in shared if name not in ("id", "v", "b")]
    names = maker.draw.some(keys or shared, 1, 2)
    listed = ", ".join(written(maker.draw, name) for name in names)
    text = f"{left.text} {_word(maker, kind)} {right.text} USING ({listed})"
    return _merged(left, right, text, kind, names)


def _merged(left: Source, right: Source, text: str, kind: str, names: list[str]) -> Source:
    """What a join with merged columns shows."""
    if kind in ("SEMI", "ANTI"):
        return replace(left, text=text, single=False)
    joined = {folded(name) for name in names}
    refs = [
        replace(ref, plain=ref.plain and folded(ref.name) not in joined)
        for ref in left.refs + right.refs
        if ref.alias or folded(ref.name) not in joined
    ]
    types = {folded(out.name): out for out in left.shown}
    if kind == "RIGHT":
        types |= {folded(out.name): out for out in right.shown}
    refs += [Ref("", types[name].name, types[name].type) for name in sorted(joined)]
    shown = [types[folded(out.name)] if folded(out.name) in joined else out for out in left.shown]
    shown += [out for out in right.shown if folded(out.name) not in joined]
    return Source(text, refs, shown, left.aliases | right.aliases)


def _natural(maker: Maker, around: Around, left: Source, taken: set[str], kind: str) -> Source:
    """With a projection, so that it has few columns in common."""
    names = [folded(out.name) for out in left.shown]
    once = [out for out in left.shown if names.count(folded(out.name)) == 1 and out.name not in ("v", "id")]
    if not once:
        return left
    maker.used("NATURAL")
    table = maker.draw.choice(maker.database.tables)
    common = [out for out in once if table.columns.get(out.name) == out.type][:6]
    if not common:
        return left
    common = maker.draw.some(common, 1, 2)
    maker.budget -= 1
    items = [written(maker.draw, out.name) for out in common]
    extra = maker.fresh({*names})
    items.append(f"v AS {extra if extra.isascii() and ' ' not in extra else 'v9'}")
    shown = [Out(out.name, out.type, traced=True) for out in common]
    shown.append(Out(extra if extra.isascii() and " " not in extra else "v9", "DOUBLE"))
    alias = maker.alias(taken)
    taken.add(folded(alias))
    text = f"(SELECT {', '.join(items)} FROM {table.path}) AS {written(maker.draw, alias)}"
    refs = [Ref(alias, out.name, out.type, traced=out.traced) for out in shown]
    right = Source(text, refs, shown, {folded(alias)})
    del around
    word = f"NATURAL {_word(maker, kind)}"
    return _merged(left, right, f"{left.text} {word} {text}", kind, [out.name for out in common])


def _asof(maker: Maker, around: Around, left: Source, taken: set[str], kind: str) -> Source:
    """The nearest row by the table's primary key, so that it is determined."""
    numbers = [ref for ref in left.refs if ref.type == "BIGINT"]
    if not numbers:
        return left
    right = leaves.table(maker, around, taken, plain=True)
    both = _both(left, right, "")
    scope = Scope(maker.draw, both, list(around.outer))
    nearest = next(ref for ref in right.refs if ref.name == "id")
    terms = [f"{scope.write(maker.draw.choice(numbers))} >= {scope.write(nearest)}"]
    if found := equality(maker, scope, left.refs, [ref for ref in right.refs if ref.name != "id"]):
        terms.append(found)
    maker.draw.shuffle(terms)
    word = "ASOF LEFT JOIN" if kind == "ASOF LEFT" else "ASOF JOIN"
    return replace(both, text=f"{left.text} {word} {right.text} ON {' AND '.join(terms)}")


def _lateral(maker: Maker, around: Around, left: Source, taken: set[str], kind: str) -> Source:
    right = leaves.lateral(maker, _beside(around, left.refs, taken), taken)
    both = _both(left, right, "")
    on = "TRUE"
    if maker.draw.chance(0.2):
        scope = Scope(maker.draw, both, list(around.outer))
        on = equality(maker, scope, left.refs, right.refs) or "TRUE"
    word = maker.draw.choice(["LATERAL ", ""])
    side = "LEFT JOIN" if kind == "LEFT LATERAL" else "JOIN"
    return replace(both, text=f"{left.text} {side} {word}{right.text} ON {on}")
