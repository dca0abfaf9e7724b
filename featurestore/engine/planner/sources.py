"""FROM clauses: tables, subqueries, joins, and which columns they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from featurestore.engine.planner import trees
from featurestore.engine.planner.columns import (
    Col,
    Cte,
    From,
    Join,
    OpaqueLeaf,
    TableLeaf,
    derived,
    folded,
)
from featurestore.engine.planner.model import Rule
from featurestore.engine.planner.trees import Node

if TYPE_CHECKING:
    from featurestore.engine.planner.resolve import Resolver, Scope


class Sources:
    """Reads the FROM clauses of one text."""

    def __init__(self, resolver: Resolver, tables: Mapping[str, Mapping[str, str]]) -> None:
        """Read for a resolver.

        Args:
            tables: by name, each column's type.
        """
        self._resolver = resolver
        self._tables = {folded(name): columns for name, columns in tables.items()}
        self.found: list[tuple[Node, TableLeaf]] = []
        self.fixed_names: set[str] = set()

    def read(self, node: Node | None, scope: Scope, ctes: Mapping[str, Cte]) -> From | None:
        """A FROM clause or a part of one; None for none."""
        match node:
            case None | {"type": "EMPTY"}:
                return None
            case {"type": "BASE_TABLE"}:
                return self._table(node, ctes)
            case {"type": "SUBQUERY"}:
                query = self._resolver.query(node["subquery"]["node"], ctes, scope)
                leaf = derived(
                    node.get("alias", ""),
                    query.outputs,
                    complete=query.complete,
                    names=node.get("column_name_alias", []),
                )
                leaf.query = query
                return leaf
            case {"type": "JOIN"}:
                return self._join(node, scope, ctes)
            case _:
                return self._opaque(node, scope, ctes)

    def _table(self, node: Node, ctes: Mapping[str, Cte]) -> From:
        name, names = node["table_name"], node.get("column_name_alias", [])
        alias = node.get("alias") or name
        if not node.get("schema_name"):
            cte = ctes[folded(name)]
            used = derived(alias, cte.outputs, complete=cte.complete, names=names)
            used.cte = cte
            cte.uses += 1
            return used
        leaf = TableLeaf(
            folded(alias), occurrence=len(self.found), qualified=folded(alias) in self.fixed_names
        )
        for place, (written, type_) in enumerate(self._tables[folded(name)].items()):
            called = names[place] if place < len(names) else written
            leaf.columns.append(Col(folded(called), type_, leaf, written=written))
        self.found.append((node, leaf))
        return leaf

    def _opaque(self, node: Node, scope: Scope, ctes: Mapping[str, Cte]) -> From:
        leaf = OpaqueLeaf(folded(node.get("alias", "")), complete=False)
        inside = {key: value for key, value in node.items() if key != "source"}
        if source := self.read(node.get("source"), scope, ctes):
            if isinstance(source, TableLeaf) and Rule.PIVOT in self._resolver.off:
                source.alias, source.complete = leaf.alias, False
                return source
            leaf.pivoted.append(source)
        leaf.queries = [self._resolver.query(each, ctes, scope) for each in trees.queries(inside)]
        return leaf

    def _join(self, node: Node, scope: Scope, ctes: Mapping[str, Cte]) -> From:
        left = self._side(node["left"], scope, ctes)
        scope.roots.append(left)  # a subquery on the right may use what stands left of it
        right = self._side(node["right"], scope, ctes)
        scope.roots.pop()
        style, kind = node.get("ref_type", "REGULAR"), node.get("join_type", "INNER")
        if style == "POSITIONAL" or (style == "ASOF" and kind not in ("INNER", "LEFT")):
            kind = "POSITIONAL"
        join = Join(left, right, kind, asof=style == "ASOF")
        around, scope.roots, scope.beside = (
            (scope.roots, scope.beside),
            [left, right],
            scope.roots + scope.beside,
        )
        self._conditions(join, node, scope, ctes)
        scope.roots, scope.beside = around
        if style == "NATURAL" and not (left.complete and right.complete):
            join.merges_unknown = True
            join.visible = [(name, None) for name, _ in left.visible + right.visible]
        else:
            self._show(join, _shared(join) if style == "NATURAL" else node.get("using_columns", []))
        return join

    def _side(self, node: Node, scope: Scope, ctes: Mapping[str, Cte]) -> From:
        return self.read(node, scope, ctes) or OpaqueLeaf("", complete=False)

    def _conditions(self, join: Join, node: Node, scope: Scope, ctes: Mapping[str, Cte]) -> None:
        for condition in trees.conjuncts(node.get("condition"), self._resolver.off):
            join.misses += self._resolver.misses(condition, scope)
            pair = self._resolver.equality(condition, scope)
            if pair is None:
                inside = trees.queries(condition)
                join.queries += [self._resolver.query(each, ctes, scope) for each in inside]
            elif not join.asof or _across(join, pair):
                join.equalities.append(pair)

    def _show(self, join: Join, using: list[str]) -> None:
        """Pair the columns of USING, and say what the join shows."""
        shown: dict[str, Col | None] = {}
        for place, name in enumerate(map(folded, using)):
            left, right = _only(join.left, name), _only(join.right, name)
            shown[name] = self._merged(join, left, right) if left and right else None
            nearest = join.asof and place == len(using) - 1 and Rule.ASOF not in self._resolver.off
            if left and right and not nearest:
                join.equalities.append((left, right))
        join.visible = [(name, shown.get(name, col)) for name, col in join.left.visible]
        known = {name for name, _ in join.visible}
        join.visible += [(name, None) for name in shown if name not in known]
        if join.kind not in ("SEMI", "ANTI"):
            join.visible += [(name, col) for name, col in join.right.visible if name not in shown]

    def _merged(self, join: Join, left: Col, right: Col) -> Col:
        if join.kind == "RIGHT":
            return right
        if join.kind != "FULL" or Rule.FULL_MERGED in self._resolver.off:
            return left
        type_ = left.type if left.type == right.type else None
        merged = Col(left.name, type_, merged=(left, right))
        join.merged.append(merged)
        return merged


def _only(source: From, name: str) -> Col | None:
    found = [col for called, col in source.visible if called == name]
    return found[0] if len(found) == 1 else None


def _shared(join: Join) -> list[str]:
    """The columns of NATURAL JOIN."""
    right = {name for name, _ in join.right.visible}
    return [name for name, _ in join.left.visible if name in right]


def _across(join: Join, pair: tuple[Col, Col]) -> bool:
    one, other = pair
    return (join.left.owns(one) and join.right.owns(other)) or (
        join.left.owns(other) and join.right.owns(one)
    )
