"""Random grouped SELECTs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.property.planner.making import Query
from tests.property.planner.scopes import Ref
from tests.property.planner.words import DOMAINS, constant, folded

if TYPE_CHECKING:
    from tests.property.planner.selects import Parts


def grouped(parts: Parts, tail: str) -> Query:
    """GROUP BY in one of its forms."""
    draw = parts.maker.draw
    keys = _keys(parts)
    if parts.want is not None:
        for wanted in parts.want:
            _wanted(parts, keys, wanted.type)
    else:
        for key in keys:
            if key == parts.main or draw.chance(0.8):
                parts.bare(key)
        for _ in range(draw.randint(0 if parts.items else 1, 2)):
            _aggregate(parts)
    items = ", ".join(parts.items)
    by = _group_by(parts, keys)
    return Query(f"SELECT {items}{tail}{by}{_having(parts, keys)}", parts.outs)


def one_group(parts: Parts, tail: str) -> Query:
    """Aggregates over all rows."""
    if parts.want is not None:
        for wanted in parts.want:
            _wanted(parts, [], wanted.type)
    else:
        main = parts.main
        if main:
            parts.add(f"max({parts.scope.write(main)})", main.type, near=main.name)
        _aggregate(parts)
    return Query(f"SELECT {', '.join(parts.items)}{tail}", parts.outs)


def _keys(parts: Parts) -> list[Ref]:
    draw = parts.maker.draw
    refs = [ref for ref in parts.scope.own.refs if ref.type in DOMAINS and ref.type != "DOUBLE"]
    keys = [ref for ref in draw.some(refs, 0, 2) if ref != parts.main]
    if parts.main and draw.chance(0.9):
        keys.insert(draw.randint(0, len(keys)), parts.main)
    return keys or draw.some(refs, 1, 1)


def _wanted(parts: Parts, keys: list[Ref], type_: str) -> None:
    draw, scope = parts.maker.draw, parts.scope
    fitting = [key for key in keys if key.type == type_]
    refs = scope.of_type(type_)
    if fitting and draw.chance(0.9):
        parts.bare(draw.choice(fitting))
    elif refs and type_ in DOMAINS:
        parts.add(f"max({scope.write(draw.choice(refs))})", type_)
    elif type_ in DOMAINS:
        parts.add(constant(draw, type_), type_)
    else:
        parts.add(f"NULL::{type_}", type_)


def _aggregate(parts: Parts) -> None:
    draw, scope = parts.maker.draw, parts.scope
    kind = draw.choice(["count", "sum", "max", "distinct", "list"])
    refs = [ref for ref in scope.own.refs if ref.type in DOMAINS and ref.type != "BIGINT[]"]
    if kind == "sum":
        refs = scope.of_type("DOUBLE")
    if kind == "list":
        refs = scope.of_type("BIGINT")
    if kind == "count" or not refs:
        parts.add("count(*)", "BIGINT", near="n")
        return
    ref = draw.choice(refs)
    text = scope.write(ref)
    match kind:
        case "sum":
            parts.add(f"sum({text})", "DOUBLE")
        case "max":
            parts.add(f"{draw.choice(['min', 'max'])}({text})", ref.type)
        case "distinct":
            parts.add(f"count(DISTINCT {text})", "BIGINT")
        case _:
            parts.add(f"list({text} ORDER BY {text})", "BIGINT[]")


def _group_by(parts: Parts, keys: list[Ref]) -> str:
    draw, scope, maker = parts.maker.draw, parts.scope, parts.maker
    texts = [scope.write(key) for key in keys]
    if not keys:
        return ""
    kind = draw.weighted({"plain": 10, "ALL": 2, "ROLLUP": 1.5, "CUBE": 1.2, "SETS": 1.5, "mixed": 0.8})
    if kind == "ALL" and not all(any(text in item for item in parts.items) for text in texts):
        kind = "plain"
    maker.used(f"GROUP BY {kind}")
    listed = ", ".join(texts)
    match kind:
        case "plain":
            return f"\nGROUP BY {', '.join(_placed(parts, text) for text in texts)}"
        case "ALL":
            return "\nGROUP BY ALL"
        case "ROLLUP" | "CUBE":
            return f"\nGROUP BY {kind} ({listed})"
        case "mixed":
            return f"\nGROUP BY {texts[0]}, ROLLUP ({', '.join(texts[1:] or texts)})"
    sets = [f"({', '.join(draw.some(texts, 0, len(texts)))})" for _ in range(draw.randint(1, 2))]
    return f"\nGROUP BY GROUPING SETS (({listed}), {', '.join(sets)})"


def _placed(parts: Parts, text: str) -> str:
    """A column by its place in the select list, now and then."""
    places = [place for place, item in enumerate(parts.items, start=1) if item == text]
    return str(places[0]) if places and parts.maker.draw.chance(0.2) else text


def _having(parts: Parts, keys: list[Ref]) -> str:
    draw, scope = parts.maker.draw, parts.scope
    if not draw.chance(0.2):
        return ""
    parts.maker.used("HAVING")
    pairs = [(one, other) for one in keys for other in keys if one.type == other.type and one != other]
    if pairs and draw.chance(0.4):
        one, other = draw.choice(pairs)
        return f"\nHAVING {scope.write(one)} = {scope.write(other)}"
    texts = [ref for ref in scope.own.refs if folded(ref.name) == "v"]
    if texts and draw.chance(0.5):
        return f"\nHAVING max({scope.write(draw.choice(texts))}) > 0.5"
    return f"\nHAVING count(*) >= {draw.randint(1, 2)}"
