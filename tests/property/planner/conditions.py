"""Random conditions, the equalities that tie things together first of all."""

from __future__ import annotations

from tests.property.planner.making import Around, Maker
from tests.property.planner.scopes import Ref, Scope, hidden_by
from tests.property.planner.words import CASTABLE, DOMAINS, KEYABLE, constant

_COMPARED = {"=": 3, "<": 2, ">=": 2, "<>": 1}


def condition(maker: Maker, scope: Scope, around: Around, depth: int = 0) -> str:
    """Any condition."""
    kinds = {"compared": 5, "null": 1, "listed": 1, "same": 2, "not_distinct": 0.7, "mixed": 0.5}
    if depth < 2:
        kinds |= {"either": 1.2, "negated": 1}
    if maker.may_nest(around):
        kinds |= {"exists": 2.5, "member": 4, "quantified": 0.7, "scalar": 1}
    kind = maker.draw.weighted(kinds)
    maker.used(kind)
    return _MAKE[kind](maker, scope, around, depth)


def equality(maker: Maker, scope: Scope, left: list[Ref], right: list[Ref]) -> str | None:
    """Two columns of one type, the interesting ones first; sometimes of two types."""
    pairs = [(one, other) for one in left for other in right if one.type == other.type and one != other]
    if maker.draw.chance(0.05):
        pairs = [
            (one, other) for one in left for other in right if other.type in CASTABLE.get(one.type, ())
        ] or pairs
    keys = [pair for pair in pairs if pair[0].type in KEYABLE and pair[0].traced and pair[1].traced]
    named = [pair for pair in keys if pair[0].name == pair[1].name and pair[0].type != "BOOLEAN"]
    among = pairs
    if named and maker.draw.chance(0.7):
        among = named
    elif keys and maker.draw.chance(0.8):
        among = keys
    if not among:
        return None
    pair = list(maker.draw.choice(among))
    maker.draw.shuffle(pair)
    return f"{scope.write(pair[0])} = {scope.write(pair[1])}"


def _ref(maker: Maker, scope: Scope) -> Ref | None:
    refs = [ref for ref in scope.own.refs if ref.type in DOMAINS and ref.type != "BIGINT[]"]
    if scope.outer and maker.draw.chance(0.1):
        refs = [ref for ref in scope.outer if ref.type in DOMAINS and ref.type != "BIGINT[]"]
    return maker.draw.choice(refs) if refs else None


def _compared(maker: Maker, scope: Scope, _around: Around, _depth: int) -> str:
    ref = _ref(maker, scope)
    if ref is None:
        return "TRUE"
    return f"{scope.write(ref)} {maker.draw.weighted(_COMPARED)} {constant(maker.draw, ref.type)}"


def _null(maker: Maker, scope: Scope, _around: Around, _depth: int) -> str:
    ref = _ref(maker, scope)
    return f"{scope.write(ref)} IS {maker.draw.choice(['', 'NOT '])}NULL" if ref else "TRUE"


def _listed(maker: Maker, scope: Scope, _around: Around, _depth: int) -> str:
    ref = _ref(maker, scope)
    if ref is None:
        return "TRUE"
    values = ", ".join(constant(maker.draw, ref.type) for _ in range(maker.draw.randint(1, 3)))
    return f"{scope.write(ref)} {maker.draw.choice(['', '', 'NOT '])}IN ({values})"


def _same(maker: Maker, scope: Scope, around: Around, depth: int) -> str:
    refs = scope.own.refs
    found = equality(maker, scope, refs, [*refs, *scope.outer])
    return found or _compared(maker, scope, around, depth)


def _not_distinct(maker: Maker, scope: Scope, around: Around, depth: int) -> str:
    refs = scope.own.refs
    found = equality(maker, scope, refs, [*refs, *scope.outer])
    return found.replace(" = ", " IS NOT DISTINCT FROM ") if found else _compared(maker, scope, around, depth)


def _mixed(maker: Maker, scope: Scope, around: Around, depth: int) -> str:
    ref = _ref(maker, scope)
    others = [other for other in scope.own.refs if ref and other.type in CASTABLE.get(ref.type, ())]
    if not ref or not others:
        return _compared(maker, scope, around, depth)
    return f"{scope.write(ref)} = {scope.write(maker.draw.choice(others))}"


def _either(maker: Maker, scope: Scope, around: Around, depth: int) -> str:
    one, other = (condition(maker, scope, around, depth + 1) for _ in range(2))
    return f"({one} {maker.draw.choice(['OR', 'OR', 'AND'])} {other})"


def _negated(maker: Maker, scope: Scope, around: Around, depth: int) -> str:
    return f"NOT ({condition(maker, scope, around, depth + 1)})"


def _inside(scope: Scope, around: Around, *, correlated: bool) -> Around:
    refs = [*scope.own.refs, *hidden_by(scope.outer, scope.own.aliases)] if correlated else []
    return around.inside([ref for ref in refs if ref.alias])


def _exists(maker: Maker, scope: Scope, around: Around, _depth: int) -> str:
    from tests.property.planner import selects  # noqa: PLC0415 - conditions and queries hold each other

    query = selects.select(maker, _inside(scope, around, correlated=True))
    return f"{maker.draw.choice(['', '', 'NOT '])}EXISTS ({query.text})"


def _member(maker: Maker, scope: Scope, around: Around, depth: int) -> str:
    from tests.property.planner import queries  # noqa: PLC0415

    ref = _tie(maker, scope)
    if ref is None:
        return _compared(maker, scope, around, depth)
    inside = _inside(scope, around, correlated=maker.draw.chance(0.3))
    member = queries.of_types(maker, inside, [ref.type])
    return f"{scope.write(ref)} {maker.draw.choice(['', '', '', 'NOT '])}IN ({member.text})"


def _quantified(maker: Maker, scope: Scope, around: Around, depth: int) -> str:
    from tests.property.planner import queries  # noqa: PLC0415

    ref = _tie(maker, scope)
    if ref is None:
        return _compared(maker, scope, around, depth)
    member = queries.of_types(maker, _inside(scope, around, correlated=False), [ref.type])
    return f"{scope.write(ref)} {maker.draw.choice(['= ANY', '<> ALL', '>= ALL', '< ANY'])} ({member.text})"


def _tie(maker: Maker, scope: Scope) -> Ref | None:
    refs = [ref for ref in scope.own.refs if ref.type in KEYABLE]
    traced = [ref for ref in refs if ref.traced and ref.type != "BOOLEAN"]
    named = [ref for ref in traced if ref.name == "k"]
    if named and maker.draw.chance(0.5):
        return maker.draw.choice(named)
    return maker.draw.choice(traced or refs) if refs else None


def _scalar(maker: Maker, scope: Scope, around: Around, depth: int) -> str:
    refs = scope.of_type("DOUBLE")
    if not refs:
        return _compared(maker, scope, around, depth)
    return f"{scope.write(maker.draw.choice(refs))} <= {scalar(maker, scope, around, 'DOUBLE')}"


def scalar(maker: Maker, scope: Scope, around: Around, type_: str) -> str:
    """A subquery with one value."""
    from tests.property.planner import selects  # noqa: PLC0415

    maker.used("scalar subquery")
    inside = _inside(scope, around, correlated=maker.draw.chance(0.85))
    return f"({selects.one_value(maker, inside, type_)})"


_MAKE = {
    "compared": _compared,
    "null": _null,
    "listed": _listed,
    "same": _same,
    "not_distinct": _not_distinct,
    "mixed": _mixed,
    "either": _either,
    "negated": _negated,
    "exists": _exists,
    "member": _member,
    "quantified": _quantified,
    "scalar": _scalar,
}
