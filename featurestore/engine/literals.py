"""Key values as DuckDB literals of exactly the column's type, so that comparing casts nothing and finds the index.

A literal is the value's text with the type behind it: DuckDB reads bare numbers with types of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from featurestore.engine.key_values import KeyKind, key_kind
from featurestore.model.query import Column


def literal(value: object, column: Column) -> str:
    """The literal for a converted key value.

    Args:
        value: from `key_values.convert`, for this column.
        column: a key column.
    """
    return _LITERAL[key_kind(column)](value, column.engine_type)


def text_literal(text: str) -> str:
    """A text as a VARCHAR literal; any character, NUL too."""
    pieces = ["'" + piece.replace("'", "''") + "'" for piece in text.split("\0")]
    return pieces[0] if len(pieces) == 1 else "(" + " || chr(0) || ".join(pieces) + ")"


def _of_type(text: str, type_text: str) -> str:
    return f"'{text}'::{type_text}"


def _bool(value: Any, type_text: str) -> str:
    return _of_type("true" if value else "false", type_text)


def _plain(value: Any, type_text: str) -> str:
    return _of_type(str(value), type_text)


def _decimal(value: Any, type_text: str) -> str:
    return _of_type(format(value, "f"), type_text)


def _text(value: Any, type_text: str) -> str:
    return f"{text_literal(str(value))}::{type_text}"


def _blob(value: Any, type_text: str) -> str:
    return _of_type("".join(f"\\x{byte:02X}" for byte in value), type_text)


def _date(value: Any, type_text: str) -> str:
    return _of_type(value.isoformat(), type_text)


def _timestamp(value: Any, type_text: str) -> str:
    return _of_type(value.isoformat(sep=" "), type_text)


_LITERAL: dict[KeyKind, Callable[[Any, str], str]] = {
    KeyKind.BOOL: _bool,
    KeyKind.INTEGER: _plain,
    KeyKind.DECIMAL: _decimal,
    KeyKind.TEXT: _text,
    KeyKind.DATE: _date,
    KeyKind.TIMESTAMP: _timestamp,
    KeyKind.ZONED_TIMESTAMP: _timestamp,
    KeyKind.UUID: _plain,
    KeyKind.BLOB: _blob,
}
