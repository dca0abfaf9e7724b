"""Arrow types from their text: the inverse of `str(type)` for the types that a column may have."""

from __future__ import annotations

import re

import pyarrow as pa

_ZONED = re.compile(r"timestamp\[(s|ms|us|ns), tz=([^\]]+)\]")
_DECIMAL = re.compile(r"decimal(32|64|128|256)\((\d+), ?(\d+)\)")
_FIELD_NAME = re.compile(r"([^:<>,]+): ")
_PLAIN = re.compile(r"[a-z]+(_[a-z]+)?\d*(\[[a-z]+\])?")


def parse_type(text: str) -> pa.DataType:
    """The Arrow type with this text, such as `int64`, `timestamp[us, tz=UTC]` or `list<item: decimal128(38, 2)>`.

    `list<int64>` is short for `list<item: int64>`.

    Raises:
        ValueError: the text names no type.
    """
    text = text.strip()
    parsed, end = _parse(text, 0)
    if end != len(text):
        raise ValueError(f"{text!r} is no Arrow type: nothing is expected after {text[:end]!r}")
    return parsed


def _parse(text: str, at: int) -> tuple[pa.DataType, int]:
    if text.startswith(("list<", "large_list<"), at):
        make = pa.list_ if text.startswith("list<", at) else pa.large_list
        fields, end = _fields(text, text.index("<", at) + 1, default_name="item")
        if len(fields) != 1:
            raise ValueError(f"{text!r} is no Arrow type: a list has one kind of element")
        return make(fields[0]), end
    if text.startswith("struct<", at):
        fields, end = _fields(text, at + len("struct<"), default_name=None)
        return pa.struct(fields), end
    if match := _ZONED.match(text, at):
        return pa.timestamp(match[1], match[2]), match.end()
    if match := _DECIMAL.match(text, at):
        make = {"32": pa.decimal32, "64": pa.decimal64, "128": pa.decimal128, "256": pa.decimal256}[match[1]]
        return make(int(match[2]), int(match[3])), match.end()
    if match := _PLAIN.match(text, at):
        name = "date32" if match[0] == "date32[day]" else match[0]
        try:
            return pa.type_for_alias(name), match.end()
        except ValueError as error:
            raise ValueError(f"{match[0]!r} is no Arrow type; int64, double or timestamp[us] are") from error
    raise ValueError(f"{text!r} is no Arrow type; int64, double, timestamp[us] or list<item: int64> are")


def _fields(text: str, at: int, *, default_name: str | None) -> tuple[list[pa.Field], int]:
    """`name: type, name: type>` from a position on, and the position after the `>`."""
    fields: list[pa.Field] = []
    while True:
        name = default_name
        if match := _FIELD_NAME.match(text, at):
            name, at = match[1], match.end()
        if name is None:
            raise ValueError(f"{text!r} is no Arrow type: a struct's fields are written as `name: type`")
        parsed, at = _parse(text, at)
        fields.append(pa.field(name, parsed))
        if text.startswith(">", at):
            return fields, at + 1
        if not text.startswith(", ", at):
            raise ValueError(f"{text!r} is no Arrow type: a `>` or `, ` is expected after {text[:at]!r}")
        at += len(", ")
