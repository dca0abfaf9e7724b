"""DuckDB's errors about a user's SQL as ours.

Under the profile DuckDB says what happened as JSON, also where pyarrow passes the error on while it streams.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeAlias

import duckdb

from featurestore.engine.place import place_in
from featurestore.engine.profile import SCHEMA
from featurestore.model.errors import (
    DeadlineExceeded,
    FeatureStoreError,
    Internal,
    InvalidArgument,
    ResourceExhausted,
)

INTERVAL_MONTHS = "INTERVAL_MONTHS: "
"""How the wrapper marks its own error for an interval with months."""

_QUOTED = re.compile(r'"((?:[^"]|"")+)"')
_Details: TypeAlias = dict[str, object]
_INTERNAL_TABLES = ("pg_", "duckdb_", "sqlite_", "pragma_")


def translate(error: Exception, sql: str = "", *, shift: int = 0) -> FeatureStoreError:
    """Our error for one that DuckDB, or pyarrow reading from it, raised while user SQL was bound or run.

    Args:
        error: a `duckdb.Error`, or the `OSError` as which pyarrow passes one on.
        sql: the user's text, for line and character; empty when the text that ran is not the user's own.
        shift: bytes before the user's text in the text that ran.

    Returns:
        `InvalidArgument`: `UNKNOWN_TABLE`, `UNKNOWN_COLUMN`, `UNKNOWN_FUNCTION`, `SQL_BIND`, `SQL_SYNTAX`,
            `SQL_UNSUPPORTED`, `SQL_VALUE`, `INTERVAL_MONTHS`.
        `ResourceExhausted`: `QUERY_MEMORY`.
        `DeadlineExceeded`: `DEADLINE`, after `interrupt()`.
        `Internal`: `ENGINE_FAILED`, for what says nothing about the SQL; raise it `from error`, and log that.
    """
    said = _said(error)
    kind, message = said.get("exception_type", ""), said.get("exception_message", "").strip()
    if kind == "INTERRUPT" or isinstance(error, duckdb.InterruptException):
        return DeadlineExceeded(
            "DEADLINE", "the call's time ended while the query ran: allow more time or ask for less"
        )
    if kind == "Out of Memory":
        return ResourceExhausted(
            "QUERY_MEMORY",
            "the query needs more memory than the engine may use: filter earlier, or join fewer rows",
        )
    if message.startswith(INTERVAL_MONTHS):
        return InvalidArgument("INTERVAL_MONTHS", message.removeprefix(INTERVAL_MONTHS))
    judge = _JUDGES.get(kind)
    if judge is None:
        return Internal("ENGINE_FAILED", "the engine could not run the query; the server's log says why")
    details: _Details = {}
    place = ""
    if sql and "position" in said:
        at = place_in(sql, int(said["position"]) - shift, in_bytes=True)
        details, place = at.details, f" ({at})"
    return judge(said, message, place, details)


def _said(error: Exception) -> dict[str, str]:
    text = str(error)
    start = text.find('{"exception_type"')
    if start < 0:
        return {}
    said, _ = json.JSONDecoder().raw_decode(text, start)
    return {str(key): str(value) for key, value in said.items()}


def _missing_entry(said: dict[str, str], message: str, place: str, details: _Details) -> FeatureStoreError:
    name = said.get("name") or _first_quoted(message)
    near = [each for each in _candidates(said) if not each.startswith(_INTERNAL_TABLES)]
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    if said.get("type") == "Table" or message.startswith("Table"):
        return InvalidArgument(
            "UNKNOWN_TABLE", f"there is no table {name} in {SCHEMA}{place}{hint}", table=name, **details
        )
    if "Function" in said.get("type", ""):
        return InvalidArgument(
            "UNKNOWN_FUNCTION", f"there is no function {name}{place}{hint}", function=name, **details
        )
    return InvalidArgument("SQL_BIND", _first_line(message) + place, **details)


def _binder(said: dict[str, str], message: str, place: str, details: _Details) -> FeatureStoreError:
    name = said.get("name") or _first_quoted(message)
    if message.startswith("Referenced table"):
        return InvalidArgument(
            "UNKNOWN_TABLE",
            f"{_one_line(message)}{place}: it is not in the FROM clause",
            table=name,
            **details,
        )
    if said.get("error_subtype") == "COLUMN_NOT_FOUND" or "does not have a column named" in message:
        column = name if said.get("name") else _QUOTED.findall(message)[1]
        near = _candidates(said) or _QUOTED.findall(message.partition("Candidate bindings")[2])
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        return InvalidArgument(
            "UNKNOWN_COLUMN", f"there is no column {column}{place}{hint}", column=column, **details
        )
    return InvalidArgument("SQL_BIND", _one_line(message) + place, **details)


def _syntax(_: dict[str, str], message: str, place: str, details: _Details) -> FeatureStoreError:
    return InvalidArgument("SQL_SYNTAX", message + place, **details)


def _unsupported(_: dict[str, str], message: str, place: str, details: _Details) -> FeatureStoreError:
    return InvalidArgument(
        "SQL_UNSUPPORTED", f"the engine can't run this: {_first_line(message)}{place}", **details
    )


def _data(_: dict[str, str], message: str, place: str, details: _Details) -> FeatureStoreError:
    return InvalidArgument(
        "SQL_VALUE", f"the query fails on its data: {_first_line(message)}{place}", **details
    )


def _candidates(said: dict[str, str]) -> list[str]:
    return [each.strip() for each in said.get("candidates", "").split(",") if each.strip()]


def _first_quoted(message: str) -> str:
    found = _QUOTED.search(message)
    return found[1] if found else ""


def _first_line(message: str) -> str:
    return message.partition("\n")[0]


def _one_line(message: str) -> str:
    return " ".join(message.split())


_JUDGES: dict[str, Callable[[dict[str, str], str, str, _Details], FeatureStoreError]] = {
    "Catalog": _missing_entry,
    "Binder": _binder,
    "Parser": _syntax,
    "Not implemented": _unsupported,
    "Permission": _unsupported,
    **dict.fromkeys(("Conversion", "Out of Range", "Invalid Input", "Mismatch Type", "Constraint"), _data),
}
"""By DuckDB's kind of error."""
