"""Random sources: tables, subqueries, WITH queries, and those whose rows the planner does not follow."""

from __future__ import annotations

from tests.property.planner.making import Around, Maker
from tests.property.planner.scopes import Out, Ref, Source, derived
from tests.property.planner.words import FRESH, constant, folded, literal, quoted, written


def leaf(maker: Maker, around: Around, taken: set[str]) -> Source:
    """Any source."""
    maker.budget -= 1
    kinds = {"table": 10.0}
    if around.ctes:
        kinds["cte"] = 14 if maker.last_cte in around.ctes else 8
    if maker.may_nest(around):
        kinds |= {"subquery": 3, "pivot": 0.3, "unpivot": 0.2, "values": 0.3, "unnest": 0.4}
    kind = maker.draw.weighted(kinds)
    if kind == "table":
        return table(maker, around, taken)
    maker.used(kind)
    if kind == "subquery":
        # Not correlated, most of them: a lateral one is made by `lateral`.
        return lateral(maker, around if maker.draw.chance(0.1) else around.inside(), taken)
    return _MAKE[kind](maker, around, taken)


def table(maker: Maker, _around: Around, taken: set[str], *, plain: bool = False) -> Source:
    """A table of the store.

    Args:
        plain: without a list of column names.
    """
    draw = maker.draw
    found = draw.choice(maker.database.tables)
    schema = draw.weighted({"feature_store": 12, '"feature_store"': 1, "Feature_Store": 1})
    dot = draw.weighted({".": 20, " . ": 1, "./* ü */": 1, ".\n-- c\n": 1})
    path = f"{schema}{dot}{written(draw, found.name)}"
    outs = [Out(name, type_, traced=True) for name, type_ in found.columns.items()]
    if folded(found.name) not in taken and draw.chance(0.25):
        taken.add(folded(found.name))
        refs, shown = derived(found.name, outs)
        return Source(path, refs, shown, {folded(found.name)}, single=True)
    alias = maker.alias(taken)
    taken.add(folded(alias))
    names = None
    listed = ""
    if not plain and draw.chance(0.05):
        maker.used("column list")
        names = draw.some(FRESH, 1, 2)
        listed = f"({', '.join(map(quoted, names))})"
    refs, shown = derived(alias, outs, names)
    word = draw.choice(["AS ", "AS ", ""])
    return Source(f"{path} {word}{written(draw, alias)}{listed}", refs, shown, {folded(alias)}, single=True)


def lateral(maker: Maker, around: Around, taken: set[str]) -> Source:
    """A subquery; around are the columns that it may name."""
    from tests.property.planner import queries  # noqa: PLC0415 - sources and queries hold each other

    inner = queries.query(maker, around.inside(around.outer))
    return _aliased(maker, taken, f"({inner.text})", inner.outs)


def _aliased(maker: Maker, taken: set[str], text: str, outs: list[Out]) -> Source:
    alias = maker.alias(taken)
    taken.add(folded(alias))
    names, listed = None, ""
    if maker.draw.chance(0.12):
        maker.used("column list")
        names = maker.draw.some(FRESH, 1, min(2, len(outs)))
        listed = f"({', '.join(map(quoted, names))})"
    refs, shown = derived(alias, outs, names)
    return Source(
        f"{text} AS {written(maker.draw, alias)}{listed}", refs, shown, {folded(alias)}, single=True
    )


def _cte(maker: Maker, around: Around, taken: set[str]) -> Source:
    name, outs = maker.draw.choice(list(around.ctes.items()))
    if maker.last_cte in around.ctes and maker.draw.chance(0.5):
        name, outs = maker.last_cte, around.ctes[maker.last_cte]  # once more
    maker.last_cte = name
    if folded(name) not in taken and maker.draw.chance(0.4):
        taken.add(folded(name))
        refs, shown = derived(name, list(outs))
        return Source(written(maker.draw, name), refs, shown, {folded(name)}, single=True)
    return _aliased(maker, taken, written(maker.draw, name), list(outs))


def _pivot(maker: Maker, _around: Around, taken: set[str]) -> Source:
    found = maker.draw.choice(maker.database.tables)
    group, over = maker.draw.sample([name for name in found.columns if name not in ("v", "id", "xs")], 2)
    values = (
        maker.draw.sample(["0", "1", "2", "3"], 2) if found.columns[over] != "BOOLEAN" else ["true", "false"]
    )
    if found.columns[over] not in ("BIGINT", "INTEGER", "VARCHAR", "BOOLEAN"):
        return table(maker, _around, taken)
    listed = ", ".join(literal(value, found.columns[over]) for value in values)
    text = (
        f"(PIVOT {found.path} ON {quoted(over)} IN ({listed}) USING sum(v) AS total GROUP BY {quoted(group)})"
    )
    outs = [Out(group, found.columns[group], traced=True)]
    outs += [Out(f"{value}_total", "DOUBLE") for value in values]
    return _aliased(maker, taken, text, outs)


def _unpivot(maker: Maker, _around: Around, taken: set[str]) -> Source:
    found = maker.draw.choice(maker.database.tables)
    text = f"(UNPIVOT (SELECT k, v, v * 2 AS v2 FROM {found.path}) ON v, v2 INTO NAME which VALUE val)"
    outs = [Out("k", found.columns["k"], traced=True), Out("which", "VARCHAR"), Out("val", "DOUBLE")]
    return _aliased(maker, taken, text, outs)


def _values(maker: Maker, _around: Around, taken: set[str]) -> Source:
    types = maker.draw.some(["BIGINT", "VARCHAR", "DATE"], 1, 2)
    rows = ", ".join(
        f"({', '.join(constant(maker.draw, type_) for type_ in types)})"
        for _ in range(maker.draw.randint(1, 3))
    )
    alias = maker.alias(taken)
    taken.add(folded(alias))
    names = maker.draw.sample(["k", "s", "key", "n"], len(types))
    refs, shown = derived(alias, [Out(name, type_) for name, type_ in zip(names, types, strict=True)])
    text = f"(VALUES {rows}) AS {written(maker.draw, alias)}({', '.join(names)})"
    return Source(text, refs, shown, {folded(alias)}, single=True)


def _unnest(maker: Maker, around: Around, taken: set[str]) -> Source:
    lists = [ref for ref in around.outer if ref.type == "BIGINT[]"]
    inner = "[1, 2]::BIGINT[]"
    if lists:
        ref = maker.draw.choice(lists)
        inner = f"{quoted(ref.alias)}.{quoted(ref.name)}"
    alias = maker.alias(taken)
    taken.add(folded(alias))
    text = f"unnest({inner}) AS {written(maker.draw, alias)}(el)"
    return Source(
        text, [Ref(alias, "el", "BIGINT", traced=False)], [Out("el", "BIGINT")], {folded(alias)}, single=True
    )


_MAKE = {"cte": _cte, "pivot": _pivot, "unpivot": _unpivot, "values": _values, "unnest": _unnest}
