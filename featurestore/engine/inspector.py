"""An empty engine in memory that only reads texts: DuckDB's own parser, and its names for types."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import duckdb

_PARSE = "SELECT json_serialize_sql($1, skip_empty := true, skip_null := true, skip_default := true)"
_FUNCTION_NAMES = "SELECT DISTINCT lower(function_name) FROM duckdb_functions()"


@cache
def _root() -> duckdb.DuckDBPyConnection:
    root = duckdb.connect(
        config={
            "threads": "1",
            "memory_limit": "512MB",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "enable_external_access": "false",
            "temp_directory": "",
        }
    )
    root.execute("SET GLOBAL lock_configuration = true")
    return root


def parse_tree(sql: str) -> dict[str, Any]:
    """DuckDB's parse of a text, never run: `statements`, or `error` with its type, message and position.

    Raises:
        RecursionError: the tree is too deep for Python.
    """
    with _root().cursor() as cursor:
        [(serialized,)] = cursor.execute(_PARSE, [sql]).fetchall()
    tree: dict[str, Any] = json.loads(serialized)
    return tree


def statement_kinds(sql: str) -> list[str]:
    """The kind of each statement in a text, such as `SELECT` or `INSERT`.

    Raises:
        duckdb.Error: the text does not parse.
    """
    with _root().cursor() as cursor:
        return [statement.type.name for statement in cursor.extract_statements(sql)]


@cache
def function_names() -> frozenset[str]:
    """Every function that the engine has, in lower case."""
    with _root().cursor() as cursor:
        return frozenset(name for (name,) in cursor.execute(_FUNCTION_NAMES).fetchall())


@cache
def aggregate_names() -> frozenset[str]:
    """Those of them that DuckDB lists as aggregates."""
    with _root().cursor() as cursor:
        found = cursor.execute(f"{_FUNCTION_NAMES} WHERE function_type = 'aggregate'").fetchall()
    return frozenset(name for (name,) in found)


def engine_type(text: str) -> Any:
    """DuckDB's type object for a type's text.

    Raises:
        duckdb.Error: it is no type that can be named, such as a struct without field names.
    """
    with _root().cursor() as cursor:
        return cursor.sqltype(text)
