"""Functions that make something large from a short text: allowed with small sizes that are written out."""

from __future__ import annotations

import re
from typing import Any

MAX_WIDTH = 10_000
"""Characters that `lpad` and `rpad` may pad to; `printf` and `format` take widths of up to four digits."""
MAX_LENGTH = 1_000_000
"""How far from 0 the bounds of a list made by `range` or `generate_series` may be."""

_WIDE_FIELD = re.compile(r"\*|\{[^{}]*\{|[0-9]{5}")
"""In a printf or format template: a width that is taken from the data, or has five digits."""
_STEP = 2


def are_bounded(name: str, arguments: list[dict[str, Any]]) -> bool:
    """Whether a call of one of `functions.BOUNDED` has small constant sizes.

    Args:
        name: in lower case.
        arguments: nodes of DuckDB's parse tree.
    """
    if name in ("lpad", "rpad"):
        width = _integer(arguments[1]) if len(arguments) > 1 else None
        return width is not None and width <= MAX_WIDTH
    if name in ("printf", "format"):
        template = _constant(arguments[0]) if arguments else None
        return isinstance(template, str) and _WIDE_FIELD.search(template.replace("{{", "")) is None
    if len(arguments) > _STEP and _integer(arguments[_STEP]) is None:
        return True  # a series in time: its step is an interval
    bounds = [_integer(argument) for argument in arguments]
    return all(bound is not None and abs(bound) <= MAX_LENGTH for bound in bounds)


def advice(name: str) -> str:
    """What to write instead of an unbounded call: the second half of a sentence."""
    if name in ("lpad", "rpad"):
        return f"needs its width as a number that is written out, at most {MAX_WIDTH}"
    if name in ("printf", "format"):
        return "needs its template written out, with widths of at most four digits"
    return f"makes a list: its bounds must be numbers that are written out, at most {MAX_LENGTH}; in FROM any will do"


def _constant(node: dict[str, Any]) -> object:
    return node.get("value", {}).get("value") if node.get("class") == "CONSTANT" else None


def _integer(node: dict[str, Any]) -> int | None:
    value = _constant(node)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
