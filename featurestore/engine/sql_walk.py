"""One pass over DuckDB's parse tree of a query: what it may hold, and what it reads.

`json_serialize_sql` marks each node with its kind; the kinds are an allow-list, so that a construct of a newer
engine is refused until someone has thought about it.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from featurestore.engine import functions, inspector, sizes
from featurestore.engine.place import Place, place_in
from featurestore.engine.profile import SCHEMA
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import Warned

MAX_DEPTH = 600
"""Levels of the parse tree, 2 to 4 for each level of the SQL: less than Python's stack or the engine's bears."""
RESERVED_PREFIX = "__fs"

Node: TypeAlias = dict[str, Any]
_Scope: TypeAlias = frozenset[str]

_NODES = """
SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE CTE_NODE
EMPTY BASE_TABLE SUBQUERY JOIN TABLE_FUNCTION EXPRESSION_LIST PIVOT
ORDER_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER DISTINCT_MODIFIER ORDER_DEFAULT ASCENDING DESCENDING
COLUMN_REF STAR FUNCTION VALUE_CONSTANT CASE_EXPR LAMBDA POSITIONAL_REFERENCE COLLATE GROUPING_FUNCTION
ARRAY_EXTRACT ARRAY_SLICE ARRAY_CONSTRUCTOR STRUCT_EXTRACT CONJUNCTION_AND CONJUNCTION_OR
DECIMAL_TYPE_INFO LIST_TYPE_INFO ARRAY_TYPE_INFO STRUCT_TYPE_INFO ENUM_TYPE_INFO UNBOUND_TYPE_INFO
"""
_KINDS = frozenset(_NODES.split())
_KIND_FAMILIES = ("COMPARE_", "OPERATOR_", "WINDOW_")

_NAME_KEYS = ("alias", "table_name", "cte_name", "function_name", "key")
_NAME_LIST_KEYS = ("column_names", "column_name_alias", "aliases", "using_columns", "unpivot_names")
_LOCATION = re.compile(r'(?<!\\)"query_location": [0-9]+(, )?')


def refuse_depth() -> NoReturn:
    """Raise `SQL_TOO_DEEP`."""
    raise InvalidArgument(
        "SQL_TOO_DEEP",
        "the SQL nests too deep, in parentheses or in one long chain of operators: split it into WITH clauses",
    )


def refuse_parameter(at: Place | None = None) -> NoReturn:
    """Raise `SQL_PARAMETER`."""
    raise InvalidArgument(
        "SQL_PARAMETER",
        f"the SQL holds a parameter{f' {at}' if at else ''}: a saved query has none; "
        "the index value is added when it is served",
        **(at.details if at else {}),
    )


@dataclass(slots=True)
class Walk:
    """The pass, and what it found.

    Attributes:
        text: what was parsed, for places in it.
        given: the one table there is, in lower case and without a schema; empty for those of the store.
        tables: by lower-case name, as written.
        strings: every string in the tree, names among them.
        clock: calls that read the clock.
        undetermined: constructs whose result hangs on ties or input order.
    """

    text: str
    given: str = ""
    tables: dict[str, str] = field(default_factory=dict)
    strings: set[str] = field(default_factory=set)
    clock: set[str] = field(default_factory=set)
    undetermined: set[str] = field(default_factory=set)
    _sorted: set[int] = field(default_factory=set)

    def run(self, query: Node) -> None:
        """See every node once, each with the CTE names in its scope.

        Raises:
            InvalidArgument: see `sql_check.parse`.
        """
        waiting: list[tuple[Any, _Scope, int]] = [(query, frozenset(), 0)]
        while waiting:  # not recursive: the depth of a tree is its author's choice
            part, ctes, depth = waiting.pop()
            if depth > MAX_DEPTH:
                refuse_depth()
            if isinstance(part, str):
                self.strings.add(part)
            elif isinstance(part, list):
                waiting += [(each, ctes, depth + 1) for each in part]
            elif isinstance(part, dict):
                self._check(part, ctes)
                waiting += [(each, seen, depth + 1) for each, seen in self._parts(part, ctes)]

    def warnings(self) -> tuple[Warned, ...]:
        """What the saver should know of what was found."""
        found: list[Warned] = []
        if self.clock:
            found.append(
                Warned(
                    "CLOCK",
                    f"{', '.join(sorted(self.clock))} reads the clock: training and serving run at different times, "
                    "so their values differ, and answers are never cached",
                )
            )
        if self.undetermined:
            found.append(
                Warned(
                    "UNDETERMINED",
                    f"{', '.join(sorted(self.undetermined))}: where rows tie or come in no order, two runs of this "
                    "query can differ; order by something unique",
                )
            )
        return tuple(found)

    def _parts(self, node: Node, ctes: _Scope) -> list[tuple[Any, _Scope]]:
        """What is below a node; a CTE sees those before it, the rest of its query sees all."""
        parts: list[tuple[Any, _Scope]] = []
        for entry in node.get("cte_map", {}).get("map", ()):
            self._check_name(entry["key"], node)
            self.strings.add(entry["key"])
            parts.append((entry["value"], ctes))
            ctes |= {entry["key"].lower()}
        rest = {key: value for key, value in node.items() if key != "cte_map"}
        if node.get("type") == "RECURSIVE_CTE_NODE":
            parts.append((rest.pop("right"), ctes | {node["cte_name"].lower()}))
        if node.get("type") == "TABLE_FUNCTION":
            call = rest.pop("function")  # its name is judged by another list than a scalar function's
            self.strings.add(call["function_name"])
            parts.append((call.get("children", []), ctes))
        return parts + [(value, ctes) for value in rest.values()]

    def _check(self, node: Node, ctes: _Scope) -> None:
        kind = node.get("type")
        if isinstance(kind, str):
            self._check_kind(kind, node)
        if "sample" in node:
            self._refuse(
                "SQL_SAMPLE", "a sample is another one at each run: filter by hash(column) instead", node
            )
        for name in (node[key] for key in _NAME_KEYS if isinstance(node.get(key), str)):
            self._check_name(name, node)
        for name in (name for key in _NAME_LIST_KEYS for name in node.get(key, ())):
            self._check_name(name, node)
        match node:
            case {"type": "BASE_TABLE"}:
                self._check_table(node, ctes)
            case {"type": "TABLE_FUNCTION", "function": call}:
                self._check_table_function(call)
            case {"type": "COLUMN_REF"}:
                self._check_column(node)
            case {"class": "FUNCTION" | "WINDOW"}:
                self._check_function(node)
            case {"type": "LIMIT_MODIFIER" | "LIMIT_PERCENT_MODIFIER"}:
                self.undetermined.add("LIMIT")
            case {"type": "DISTINCT_MODIFIER", "distinct_on_targets": _}:
                self.undetermined.add("DISTINCT ON")
            case {"type": "COLLATE"}:
                self._refuse(
                    "SQL_UNSUPPORTED",
                    "COLLATE changes which values are equal, in the index key too: compare or order by lower(x) or "
                    "strip_accents(x) instead",
                    node,
                )

    def _check_kind(self, kind: str, node: Node) -> None:
        if kind in _KINDS or kind.startswith(_KIND_FAMILIES):
            return
        if kind == "VALUE_PARAMETER":
            refuse_parameter(self._place(node))
        if kind == "SHOW_REF":
            self._refuse(
                "SQL_NOT_SELECT", "SHOW, DESCRIBE and SUMMARIZE read the catalogue: write a SELECT", node
            )
        if kind.endswith("_QUERY_NODE"):
            self._refuse("SQL_MODIFIES_DATA", "the SQL changes data: a saved query only reads", node)
        construct = kind.replace("_", " ").lower()
        self._refuse(
            "SQL_UNSUPPORTED", f"{construct} is not supported in saved SQL", node, construct=construct
        )

    def _check_name(self, name: str, node: Node) -> None:
        if name.lower().startswith(RESERVED_PREFIX):
            self._refuse(
                "SQL_RESERVED_NAME",
                f"names that start with {RESERVED_PREFIX} are the store's own: rename {name}",
                node,
                name=name,
            )

    def _check_table(self, node: Node, ctes: _Scope) -> None:
        name, schema, catalog = node["table_name"], node.get("schema_name", ""), node.get("catalog_name", "")
        if "at_clause" in node:
            self._refuse("SQL_UNSUPPORTED", "AT (time travel) is not supported in saved SQL", node)
        if not schema and not catalog and name.lower() in (*ctes, self.given):
            return
        if self.given:
            self._refuse(
                "UNKNOWN_TABLE", f"there is no table {name}: only {self.given} can be read", node, table=name
            )
        if not schema and not catalog:
            self._refuse(
                "UNKNOWN_TABLE",
                f"there is no table {name}: tables live in the schema {SCHEMA}; write {SCHEMA}.{name}",
                node,
                table=name,
            )
        if schema.lower() != SCHEMA or catalog:
            full = ".".join(filter(None, (catalog, schema, name)))
            self._refuse(
                "UNKNOWN_TABLE", f"there is no table {full}: only {SCHEMA}.NAME can be read", node, table=full
            )
        self.tables.setdefault(name.lower(), name)

    def _check_table_function(self, call: Node) -> None:
        name = call["function_name"].lower()
        if name not in functions.TABLE_FUNCTIONS:
            self._refuse(
                "SQL_TABLE_FUNCTION",
                f"{name}(...) can't be read from: publish the data as a table; only range, generate_series and "
                "unnest are allowed in FROM",
                call,
                function=name,
            )

    def _check_column(self, node: Node) -> None:
        *qualifiers, name = (each.lower() for each in node["column_names"])
        if name == "rowid":
            self._refuse(
                "SQL_FUNCTION",
                "rowid is where the engine keeps a row, which differs between training and serving: use a key column",
                node,
                function=name,
            )
        if qualifiers:
            return
        if name in functions.CLOCK_WORDS:
            self.clock.add(name)
        if name in functions.SESSION_WORDS:
            self._refuse(
                "SQL_FUNCTION",
                f"{name} may be the session function, whose result differs between training and serving: if a column "
                f"is meant, write its table before it, as in t.{name}",
                node,
                function=name,
            )

    def _check_function(self, node: Node) -> None:
        name, arguments = node["function_name"].lower(), node.get("children", [])
        if name not in functions.ALLOWED:
            self._refuse_function(name, node)
        if name in functions.BOUNDED and not sizes.are_bounded(name, arguments):
            self._refuse("SQL_FUNCTION", f"{name}(...) {sizes.advice(name)}", node, function=name)
        if name in functions.CLOCK or (name == "age" and len(arguments) == 1):
            self.clock.add(f"{name}()")
        if name in functions.SORTS and arguments:
            self._sorted.add(id(arguments[0]))  # as which DuckDB's parser also spells list(x ORDER BY x)
        if name in functions.ORDER_SENSITIVE and not self._is_sorted(name, node):
            self.undetermined.add(f"{name}()")

    def _is_sorted(self, name: str, node: Node) -> bool:
        """Whether what a function collects is ordered by itself, so that ties don't show."""
        if name not in functions.COLLECTS or node["class"] != "FUNCTION" or not node.get("children"):
            return False
        orders = node.get("order_bys", {}).get("orders", ())
        collected = _without_locations(node["children"][0])
        return id(node) in self._sorted or any(
            _without_locations(order["expression"]) == collected for order in orders
        )

    def _refuse_function(self, name: str, node: Node) -> NoReturn:
        if name in inspector.function_names():
            self._refuse(
                "SQL_FUNCTION",
                f"{name}(...) can't be used in saved SQL: {functions.why_refused(name)}",
                node,
                function=name,
            )
        near = difflib.get_close_matches(name, functions.ALLOWED, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        self._refuse("UNKNOWN_FUNCTION", f"there is no function {name}{hint}", node, function=name)

    def _refuse(self, reason: str, message: str, node: Node, **details: object) -> NoReturn:
        at = self._place(node)
        raise InvalidArgument(
            reason, f"{message} ({at})" if at else message, **details, **(at.details if at else {})
        )

    def _place(self, node: Node) -> Place | None:
        offset = node.get("query_location")
        return None if offset is None else place_in(self.text, offset, in_bytes=True)


def _without_locations(node: Node) -> str:
    return _LOCATION.sub("", json.dumps(node))
