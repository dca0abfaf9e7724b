"""May this text be saved? Judged on its own, before it is wrapped and before any table is looked at.

DuckDB's own parser is asked, so checker and engine can't read a text in two ways. What its tree may hold is an
allow-list (`sql_walk`): a kind of node that is not known there is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import duckdb

from featurestore.engine import inspector
from featurestore.engine.canonical import canonical
from featurestore.engine.lexer import without_semicolon
from featurestore.engine.order import Ordering, orderings
from featurestore.engine.place import place_in
from featurestore.engine.sql_walk import Node, Walk, refuse_depth, refuse_parameter
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import Warned

MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CheckedSql:
    """A text that may be saved and run, as far as the text alone tells.

    Attributes:
        sql: without a trailing semicolon; this very text was checked.
        canonical: part of the content key.
        tables: the tables it reads, without the schema, as written, sorted; one per name, ignoring case.
        uses_clock: it calls now() or the like.
        order: its own ORDER BY; empty when it has none. `order.terms` says what of it can be kept.
        warnings: what the saver should know.
    """

    sql: str
    canonical: str
    tables: tuple[str, ...]
    uses_clock: bool
    order: tuple[Ordering, ...]
    warnings: tuple[Warned, ...]


def parse(sql: str, *, given: str = "") -> CheckedSql:
    """Check a text on its own.

    Args:
        sql: as the caller wrote it, at most 64 KiB of UTF-8; trailing semicolons are dropped.
        given: the one table that it may read, written without a schema; empty for those of the store.

    Raises:
        InvalidArgument: `SQL_EMPTY`, `SQL_TOO_LARGE`, `SQL_TOO_DEEP`, `SQL_SYNTAX`, `SQL_NOT_ONE_STATEMENT`,
            `SQL_NOT_SELECT`, `SQL_MODIFIES_DATA`, `SQL_PARAMETER`, `SQL_FUNCTION`, `UNKNOWN_FUNCTION`,
            `SQL_TABLE_FUNCTION`, `SQL_SAMPLE`, `SQL_UNSUPPORTED`, `UNKNOWN_TABLE`, `SQL_RESERVED_NAME`; with
            line and character where they are known.
    """
    text = without_semicolon(_readable(sql))
    if not text:
        raise InvalidArgument("SQL_EMPTY", "the SQL is empty: write one SELECT")
    query = _only_query(text)
    walk = Walk(text, given)
    walk.run(query)
    return CheckedSql(
        sql=text,
        canonical=canonical(text, walk.strings),
        tables=tuple(sorted(walk.tables.values())),
        uses_clock=bool(walk.clock),
        order=orderings(query.get("modifiers", ())),
        warnings=walk.warnings(),
    )


def _readable(sql: str) -> str:
    try:
        size = len(sql.encode())
    except UnicodeEncodeError as error:
        at = place_in(sql, error.start)
        raise InvalidArgument(
            "SQL_SYNTAX", f"the SQL holds half of a surrogate pair {at}: write it again", **at.details
        ) from None
    if size > MAX_BYTES:
        raise InvalidArgument(
            "SQL_TOO_LARGE",
            f"the SQL has {size} bytes: at most {MAX_BYTES} can be saved",
            bytes=size,
            limit=MAX_BYTES,
        )
    if "\0" in sql:
        at = place_in(sql, sql.index("\0"))
        raise InvalidArgument("SQL_SYNTAX", f"the SQL holds a NUL character {at}: write chr(0)", **at.details)
    return sql


def _only_query(text: str) -> Node:
    try:
        tree = inspector.parse_tree(text)
    except RecursionError:
        refuse_depth()
    if tree["error"]:
        _explain(text, tree)
    statements = tree.get("statements", [])
    if not statements:
        raise InvalidArgument("SQL_EMPTY", "the SQL holds only comments: write one SELECT")
    if len(statements) > 1:
        _refuse_count(len(statements))
    query: Node = statements[0]["node"]
    return query


def _explain(text: str, tree: Node) -> NoReturn:
    message = str(tree["error_message"])
    if "memory exhausted" in message or "expression depth" in message:
        refuse_depth()
    if tree["error_type"] == "parser":
        if "CTE needs a SELECT" in message:
            raise InvalidArgument(
                "SQL_MODIFIES_DATA",
                "a WITH clause changes data: a saved query only reads; write a SELECT there",
            )
        at = place_in(text, int(tree["position"])) if "position" in tree else None
        raise InvalidArgument(
            "SQL_SYNTAX", f"{message} {at}" if at else message, **(at.details if at else {})
        )
    if "parameters" in message:
        refuse_parameter()
    _explain_kind(text)


def _explain_kind(text: str) -> NoReturn:
    try:
        kinds = inspector.statement_kinds(text)
    except duckdb.Error:
        raise InvalidArgument("SQL_SYNTAX", "DuckDB can't read this SQL: write one plain SELECT") from None
    if kinds == ["CREATE", "SELECT"] and text.count(";") == 0:
        # How DuckDB spells a PIVOT whose columns depend on the data.
        raise InvalidArgument(
            "SQL_UNSUPPORTED",
            "PIVOT without values has other columns whenever the data change: write ON column IN (value, ...)",
        )
    if len(kinds) != 1:
        _refuse_count(len(kinds))
    kind = kinds[0]
    raise InvalidArgument(
        "SQL_NOT_SELECT", f"the SQL is {kind}: only a SELECT can be saved or run", kind=kind
    )


def _refuse_count(count: int) -> NoReturn:
    raise InvalidArgument(
        "SQL_NOT_ONE_STATEMENT", f"the SQL holds {count} statements: write exactly one", statements=count
    )
