"""What the names of a query mean, by DuckDB's rules; where they leave a doubt, a column is not known.

DuckDB has bound the query when this runs: a name that two sources have would have been an error, so the one that is
found is the one. Only a merged column of USING or NATURAL comes before others of its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featurestore.engine.planner import trees
from featurestore.engine.planner.columns import (
    Col,
    Cte,
    From,
    Miss,
    Output,
    Query,
    Select,
    SetOperation,
    Unfollowed,
    folded,
)
from featurestore.engine.planner.model import Rule
from featurestore.engine.planner.sources import Sources
from featurestore.engine.planner.trees import Node

Ctes = Mapping[str, Cte]

_GROUP_BY_ALL = "FORCE_AGGREGATES"


@dataclass(slots=True)
class Scope:
    """Where names are looked up: the sources of one SELECT, then those around it.

    Attributes:
        roots: the parts of FROM that are read so far; all of it as one, when it is read.
        beside: while ON is read, the parts left of the join: a name that its sides don't have may mean one of theirs.
        aliases: the names that the select list gives, with their expressions; None where one is given twice.
    """

    parent: Scope | None
    roots: list[From] = field(default_factory=list)
    beside: list[From] = field(default_factory=list)
    aliases: dict[str, Node | None] = field(default_factory=dict)

    def column(self, node: Node, *, own_alias: bool = False) -> Col | None:
        """The column that a name means; None where that is in doubt, or it is none.

        Args:
            own_alias: the name stands in the select list, where the list's own aliases come last.
        """
        names = [folded(name) for name in node["column_names"]]
        if len(names) == 1:
            return self._plain(names[0], own_alias=own_alias)
        return self._qualified(names[0], names[1]) if len(names) == 2 else None

    def _plain(self, name: str, *, own_alias: bool = False) -> Col | None:
        found = [col for root in self.roots for called, col in root.visible if called == name]
        if not found:
            return self._beyond(name, own_alias=own_alias) if self._lacks(name) else None
        if len(found) > 1 or any(root.may_merge for root in self.roots):
            return None
        if name in self.aliases and not own_alias and self._aliased(name) is not found[0]:
            return None  # which of both is meant differs from clause to clause
        return found[0]

    def _lacks(self, name: str) -> bool:
        """Whether no source has such a column, or is called so: its name would mean a whole row."""
        return not self.beside and all(
            root.complete and all(leaf.alias != name for leaf in root.named) for root in self.roots
        )

    def _beyond(self, name: str, *, own_alias: bool) -> Col | None:
        """What a name means that no column of the own sources has."""
        around = self.parent._plain(name) if self.parent else None  # noqa: SLF001 - of the same class
        if name not in self.aliases:
            return around
        return None if around or own_alias else self._aliased(name)

    def _aliased(self, name: str) -> Col | None:
        expression = self.aliases[name]
        if expression is None or not trees.is_column(expression):
            return None
        return self.column(expression, own_alias=True)

    def _qualified(self, alias: str, name: str) -> Col | None:
        leaves = [leaf for root in self.roots for leaf in root.named if leaf.alias == alias]
        if leaves:
            found = [col for leaf in leaves for col in leaf.columns if col.name == name]
            return found[0] if len(leaves) == 1 and found else None
        a_struct = any(called == alias for root in self.roots for called, _ in root.visible)
        if a_struct or self.beside or not all(root.complete for root in self.roots):
            return None
        return self.parent._qualified(alias, name) if self.parent else None  # noqa: SLF001 - of the same class


class Resolver:
    """Reads a parse tree into queries whose columns are known."""

    def __init__(self, tables: Mapping[str, Mapping[str, str]], off: frozenset[Rule]) -> None:
        """Read for one text.

        Args:
            tables: by name, each column's type.
            off: rules that tests switch off.
        """
        self.off = off
        self.sources = Sources(self, tables)

    def query(self, node: Node, ctes: Ctes, parent: Scope | None) -> Query:
        """A query and all that is inside."""
        own: list[Cte] = []
        for entry in node.get("cte_map", {}).get("map", ()):
            cte = self._cte(entry, ctes, parent)
            own.append(cte)
            ctes = {**ctes, cte.name: cte}
        match node["type"]:
            case "SELECT_NODE":
                found: Query = self._select(node, ctes, parent)
            case "SET_OPERATION_NODE":
                found = self._set_operation(node, ctes, parent)
            case "RECURSIVE_CTE_NODE":
                found = self._recursive(node, ctes, parent)
            case _:
                inside = [self.query(each, ctes, parent) for each in trees.queries(list(node.values()))]
                found = Unfollowed([], complete=False, queries=inside)
        found.ctes = own
        return found

    def _cte(self, entry: Node, ctes: Ctes, parent: Scope | None) -> Cte:
        query = self.query(entry["value"]["query"]["node"], ctes, parent)
        return Cte(folded(entry["key"]), *_renamed(query, entry["value"].get("aliases", [])), query)

    def _recursive(self, node: Node, ctes: Ctes, parent: Scope | None) -> Unfollowed:
        left = self.query(node["left"], ctes, parent)
        outputs, complete = _renamed(left, node.get("aliases", []))
        untyped = [Output(output.name, None, None) for output in outputs]
        itself = Cte(folded(node["cte_name"]), untyped, complete, None)
        right = self.query(node["right"], {**ctes, itself.name: itself}, parent)
        return Unfollowed(untyped, complete, [left, right])

    def _set_operation(self, node: Node, ctes: Ctes, parent: Scope | None) -> SetOperation:
        left, right = (self.query(node[side], ctes, parent) for side in ("left", "right"))
        limited = any(trees.modifiers(node, "LIMIT"))
        if node["setop_type"] == "UNION_BY_NAME" and Rule.SET_OPERATION not in self.off:
            names = [output.name for output in left.outputs]
            names += [output.name for output in right.outputs if output.name not in names]
            places = [(_place(left, name), _place(right, name)) for name in names]
            complete = left.complete and right.complete
            if not complete:
                names, places = [], []
        else:
            width = min(len(left.outputs), len(right.outputs))
            names = [output.name for output in left.outputs[:width]]
            places = [(place, place) for place in range(width)]
            complete = left.complete and (right.complete or len(left.outputs) == width)
        outputs = [
            Output(name, None, _common_type(left, right, place))
            for name, place in zip(names, places, strict=True)
        ]
        return SetOperation(outputs, complete, left, right, places, limited=limited)

    def _select(self, node: Node, ctes: Ctes, parent: Scope | None) -> Select:
        scope = Scope(parent)
        for item in node["select_list"]:
            if alias := item.get("alias"):
                name = folded(alias)
                scope.aliases[name] = None if name in scope.aliases else item
        source = self.sources.read(node.get("from_table"), scope, ctes)
        scope.roots = [source] if source else []
        select = Select(*self._outputs(node, scope), source)
        self._condition(select, node, scope, ctes)
        _grouping(select, node, scope)
        select.limited = any(trees.modifiers(node, "LIMIT"))
        for window in trees.windows([node["select_list"], node.get("qualify"), node.get("modifiers")]):
            partition = [scope.column(each) for each in window.get("partitions", ()) if trees.is_column(each)]
            select.partitions.append([col for col in partition if col])
        for distinct in trees.modifiers(node, "DISTINCT"):
            if targets := distinct.get("distinct_on_targets"):
                select.distinct_on = _columns(targets, scope, select)
        return select

    def _outputs(self, node: Node, scope: Scope) -> tuple[list[Output], bool]:
        outputs: list[Output] = []
        for item in node["select_list"]:
            if item["type"] == "STAR":
                starred = _starred(item, scope)
                if starred is None:
                    return outputs, False
                outputs += starred
            elif trees.is_column(item):
                col = scope.column(item, own_alias=True)
                name = folded(item.get("alias") or item["column_names"][-1])
                outputs.append(Output(name, col, col.type if col else None))
            elif trees.expands(item):
                return outputs, False
            else:
                outputs.append(self._computed(item, node, scope))
        return outputs, all(output.name is not None for output in outputs)

    def _computed(self, item: Node, node: Node, scope: Scope) -> Output:
        rule = Rule.EXPRESSION
        if trees.aggregates([item]):
            grouped = "group_expressions" in node or node.get("aggregate_handling") == _GROUP_BY_ALL
            rule = Rule.GROUP_BY if grouped else Rule.GLOBAL_AGGREGATE
        named = trees.part_of(item)
        part = scope.column(named, own_alias=True) if named else None
        name = folded(item["alias"]) if item.get("alias") else None
        return Output(name, part if rule in self.off else None, None, rule, part)

    def _condition(self, select: Select, node: Node, scope: Scope, ctes: Ctes) -> None:
        apart = {"cte_map", "from_table", "where_clause"}
        rest: list[Any] = [value for key, value in node.items() if key not in apart]
        conditions = list(trees.conjuncts(node.get("where_clause"), self.off))
        if Rule.HAVING in self.off:
            for clause in ("having", "qualify"):
                conditions += trees.conjuncts(node.get(clause), self.off)
        for condition in conditions:
            select.misses += self.misses(condition, scope)
            member = trees.membership(condition, self.off)
            col = scope.column(member[0]) if member else None
            if pair := self.equality(condition, scope):
                select.equalities.append(pair)
            elif member and col:
                select.members.append((col, self.query(member[1], ctes, scope)))
            else:
                rest.append(condition)
        for clause in ("having", "qualify"):
            pairs = [self.equality(each, scope) for each in trees.conjuncts(node.get(clause), self.off)]
            select.misses += [(*pair, Rule.HAVING) for pair in pairs if pair]
        select.queries = [(self.query(each, ctes, scope), rule) for each, rule in trees.ruled_queries(rest)]

    def equality(self, condition: Node, scope: Scope) -> tuple[Col, Col] | None:
        """The two columns of `a = b`, if both are known."""
        pair = trees.compared(condition, self.off)
        if pair is None:
            return None
        left, right = scope.column(pair[0]), scope.column(pair[1])
        return (left, right) if left and right else None

    def misses(self, condition: Node, scope: Scope) -> list[Miss]:
        """Columns that a condition compares without fixing one by the other; of an equality it says nothing new."""
        found = (
            (scope.column(one), scope.column(other), rule) for one, other, rule in trees.missed(condition)
        )
        return [(one, other, rule) for one, other, rule in found if one and other]


def _starred(item: Node, scope: Scope) -> list[Output] | None:
    """What a star stands for; None where that is not known."""
    if item.get("columns") or item.get("expr") or item.get("qualified_exclude_list"):
        return None
    if relation := item.get("relation_name"):
        leaves = [leaf for root in scope.roots for leaf in root.named if leaf.alias == folded(relation)]
        if len(leaves) != 1 or not leaves[0].complete:
            return None
        visible = leaves[0].visible
    elif all(root.complete for root in scope.roots):
        visible = [each for root in scope.roots for each in root.visible]
    else:
        return None
    if any(col is None for _, col in visible):
        return None
    left_out = {folded(name) for name in item.get("exclude_list", ())}
    replaced = {folded(each["key"]) for each in item.get("replace_list", ())}
    renamed = {
        folded(each["key"]["column"]): folded(each["value"])
        for each in item.get("rename_list", ())
        if not each["key"].get("table")
    }
    if len(renamed) != len(item.get("rename_list", ())):
        return None
    return [
        Output(name, None, None)
        if name in replaced
        else Output(renamed.get(name, name), col, col.type if col else None)
        for name, col in visible
        if name not in left_out
    ]


def _grouping(select: Select, node: Node, scope: Scope) -> None:
    parts = (node["select_list"], node.get("having"), node.get("qualify"), node.get("modifiers"))
    select.aggregates = bool(node.get("having")) or trees.aggregates(parts)
    if node.get("aggregate_handling") == _GROUP_BY_ALL:
        select.grouped = [output.col for output in select.outputs if output.col]
    elif "group_expressions" in node or "group_sets" in node:
        select.grouped = _columns(node.get("group_expressions", ()), scope, select)


def _columns(expressions: Sequence[Node], scope: Scope, select: Select) -> list[Col]:
    """The columns among expressions; a number is a place in the select list."""
    return [col for each in expressions if (col := _column(each, scope, select))]


def _column(expression: Node, scope: Scope, select: Select) -> Col | None:
    place = expression["value"].get("value") if expression["type"] == "VALUE_CONSTANT" else None
    if isinstance(place, int) and not isinstance(place, bool) and 1 <= place <= len(select.outputs):
        return select.outputs[place - 1].col
    return scope.column(expression) if trees.is_column(expression) else None


def _renamed(query: Query, names: Sequence[str]) -> tuple[list[Output], bool]:
    """A query's outputs under the names that a WITH gives them."""
    outputs = [
        Output(folded(names[place]) if place < len(names) else output.name, output.col, output.type)
        for place, output in enumerate(query.outputs)
    ]
    return outputs, query.complete or 0 < len(names) == len(outputs)


def _place(query: Query, name: str | None) -> int | None:
    places = [place for place, output in enumerate(query.outputs) if output.name == name]
    return places[0] if len(places) == 1 else None


def _common_type(left: Query, right: Query, places: tuple[int | None, int | None]) -> str | None:
    types = {
        query.outputs[place].type if place is not None else None
        for query, place in zip((left, right), places, strict=True)
    }
    return types.pop() if len(types) == 1 else None
