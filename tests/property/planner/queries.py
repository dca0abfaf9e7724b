"""Random queries: WITH, set operations, recursion."""

from __future__ import annotations

from dataclasses import replace

from tests.property.planner.databases import Database
from tests.property.planner.making import Around, Maker, Query
from tests.property.planner.scopes import Out
from tests.property.planner.selects import select
from tests.property.planner.words import Draw, folded, quoted, written

_OPERATIONS = {
    "UNION ALL": 4,
    "UNION": 3,
    "UNION ALL BY NAME": 1.5,
    "UNION BY NAME": 1,
    "EXCEPT": 1.5,
    "EXCEPT ALL": 0.7,
    "INTERSECT": 1.2,
    "INTERSECT ALL": 0.6,
}
_SIBLINGS = {"BIGINT": "INTEGER", "INTEGER": "BIGINT", "DATE": "TIMESTAMP"}
_WIDER = {
    ("BIGINT", "INTEGER"): "BIGINT",
    ("INTEGER", "BIGINT"): "BIGINT",
    ("DATE", "TIMESTAMP"): "TIMESTAMP",
}


def whole(draw: Draw, database: Database, budget: int) -> tuple[Query, set[str]]:
    """A text that may be saved, and what it was made of."""
    maker = Maker(draw, database, budget)
    found = query(maker, Around())
    before = draw.weighted({"": 10, "/* ü 🦆 feature_store.t */ ": 2, "-- ünïcode\n": 1})
    after = draw.weighted({"": 10, " -- the end": 1, " ;": 1})
    return replace(found, text=f"{before}{found.text}{after}"), maker.features


def query(maker: Maker, around: Around, want: list[Out] | None = None) -> Query:
    """Any query."""
    draw = maker.draw
    ctes = ""
    share = 0.3 if around.depth == 0 else 0.08
    if maker.may_nest(around) and draw.chance(share):
        around, ctes = _with(maker, around)
    found = _body(maker, around, want)
    return replace(found, text=f"{ctes}{found.text}")


def of_types(maker: Maker, around: Around, types: list[str]) -> Query:
    """A query that returns these types."""
    want = [Out(f"w{place}", type_) for place, type_ in enumerate(types)]
    return query(maker, around, want)


def _body(maker: Maker, around: Around, want: list[Out] | None) -> Query:
    share = 0.15 if around.depth == 0 else 0.08
    if maker.budget > 1 and maker.draw.chance(share):
        return _set_operation(maker, around, want)
    return select(maker, around, want)


def _set_operation(maker: Maker, around: Around, want: list[Out] | None) -> Query:
    draw = maker.draw
    operation = draw.weighted(_OPERATIONS)
    maker.used(operation)
    left = select(maker, around, want)
    if maker.budget > 1 and draw.chance(0.15):
        left = _set_operation(maker, around, want)
    if operation.endswith("BY NAME") and want is None:
        return _by_name(maker, around, left, operation)
    operation = operation.removesuffix(" BY NAME")
    types = [_sibling(draw, out) for out in left.outs]
    right = select(maker, around, types)
    outs = [
        replace(out, type=_wider(out.type, other.type), traced=out.traced and other.traced)
        for out, other in zip(left.outs, right.outs, strict=True)
    ]
    return Query(f"{_side(left)}\n{operation}\n{_side(right)}{_tail(maker)}", outs)


def _by_name(maker: Maker, around: Around, left: Query, operation: str) -> Query:
    """With the columns in another order, one more or one less."""
    draw = maker.draw
    names = list(left.outs)
    draw.shuffle(names)
    if len(names) > 1 and draw.chance(0.4):
        names.pop()
    extra = []
    if draw.chance(0.3):
        extra = [Out(maker.fresh({folded(out.name) for out in left.outs}), "DOUBLE")]
    right = select(maker, around, names + extra)
    return Query(f"{_side(left)}\n{operation}\n{_side(right)}", left.outs + extra)


def _side(query: Query) -> str:
    return f"({query.text})"


def _sibling(draw: Draw, out: Out) -> Out:
    name = f"r_{folded(out.name)}" if draw.chance(0.5) else out.name
    type_ = _SIBLINGS.get(out.type, out.type) if draw.chance(0.05) else out.type
    return Out(name, type_)


def _wider(one: str, other: str) -> str:
    return _WIDER.get((one, other), _WIDER.get((other, one), one))


def _tail(maker: Maker) -> str:
    if maker.draw.chance(0.06):
        maker.used("LIMIT")
        return f"\nORDER BY ALL LIMIT {maker.draw.randint(1, 5)}"
    return ""


def _with(maker: Maker, around: Around) -> tuple[Around, str]:
    draw = maker.draw
    texts = []
    recursive = False
    for _ in range(draw.weighted({1: 5, 2: 3})):
        name = draw.choice(["c1", "c2", "t", "u", "Odd C"])  # may shadow a table's name, or another one
        if name in around.ctes and any(text.startswith(quoted(name)) for text in texts):
            continue
        maker.used("CTE")
        if draw.chance(0.07):
            found = _recursive(maker, name)
            recursive = True
        else:
            inner = query(maker, Around(around.outer, around.ctes, around.depth + 1))
            listed, outs = "", inner.outs
            if draw.chance(0.15):
                outs = [replace(inner.outs[0], name="key"), *inner.outs[1:]]
                listed = "(key)"
                if any(folded(out.name) == "key" for out in inner.outs[1:]):
                    listed, outs = "", inner.outs
            how = draw.weighted({"": 8, "MATERIALIZED ": 1, "NOT MATERIALIZED ": 1})
            found = Query(f"{quoted(name)}{listed} AS {how}({inner.text})", outs)
        texts.append(found.text)
        around = replace(around, ctes={**around.ctes, name: tuple(found.outs)})
        maker.budget += 1  # so that it is likely to be used
    if not texts:
        return around, ""
    return around, f"WITH {'RECURSIVE ' if recursive else ''}{', '.join(texts)}\n"


def _recursive(maker: Maker, name: str) -> Query:
    """Steps from row to row through a column of the key's type."""
    draw = maker.draw
    maker.used("recursion")
    found = draw.choice(maker.database.tables)
    type_ = found.columns["k"]
    nexts = [column for column, other in found.columns.items() if other == type_ and column != "k"] or ["k"]
    step = written(draw, draw.choice(nexts))
    text = (
        f"{quoted(name)}(k, n) AS (SELECT k, 0::BIGINT FROM {found.path} "
        f"UNION SELECT x.{step}, y.n + 1 FROM {quoted(name)} AS y JOIN {found.path} AS x ON x.k = y.k WHERE y.n < 2)"
    )
    return Query(text, [Out("k", type_, traced=True), Out("n", "BIGINT")])
