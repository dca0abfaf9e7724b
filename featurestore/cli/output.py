"""What commands print: tables for people, JSON lines for programs, progress on standard error."""

from __future__ import annotations

import base64
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any

import click
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNBOUNDED = 100_000
"""Columns of a page that nobody looks at through a terminal: nothing is cut or wrapped there."""


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> None:
    """A table on standard output, with a line below it."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    cells = list(rows)
    for at, name in enumerate(header):
        numbers = all(isinstance(row[at], int | float | Decimal | None) for row in cells)
        table.add_column(Text(name), overflow="fold", justify="right" if numbers else "left")
    for row in cells:
        table.add_row(*(Text(_cell(value)) for value in row))
    width = None if sys.stdout.isatty() else _UNBOUNDED
    Console(file=sys.stdout, width=width, highlight=False).print(table)
    if caption:
        click.echo(caption)


def print_fields(fields: Mapping[str, object]) -> None:
    """Names and values, a line each; a value of several lines stands below its name."""
    width = max(map(len, fields))
    for name, value in fields.items():
        text = _cell(value)
        if "\n" in text:
            indented = "\n".join(f"  {line}" for line in text.splitlines())
            click.echo(f"{name}\n{indented}")
        else:
            click.echo(f"{name:<{width}}  {text}".rstrip())


def print_error(message: str) -> None:
    """A refusal as one line on standard error."""
    click.echo("error: " + " ".join(message.split()), err=True)


def print_json(value: object) -> None:
    """One JSON value on one line of standard output."""
    click.echo(to_json(value))


def json_lines(batch: pa.RecordBatch | pa.Table) -> Iterator[str]:
    """The rows as JSON objects.

    Times are ISO 8601, decimals strings, binary base64, durations seconds; NaN is null, as it is in training.
    """
    return (to_json(row) for row in batch.to_pylist())


def to_json(value: object) -> str:
    """One JSON value on one line."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False)
    except ValueError:  # NaN or an infinity somewhere inside: JSON has neither
        return json.dumps(_finite(value), default=_plain, ensure_ascii=False)


def columns(schema: pa.Schema) -> list[dict[str, str]]:
    """A schema for JSON output."""
    return [{"name": field.name, "type": str(field.type)} for field in schema]


def took(began: float) -> str:
    """The time since `began`, a reading of `time.perf_counter`, as people write it."""
    seconds = time.perf_counter() - began
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple | list) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    if isinstance(value, pa.Schema):
        width = max(map(len, value.names), default=0)
        return "\n".join(f"{field.name:<{width}}  {field.type}" for field in value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds" if not value.microsecond else "microseconds")
    return str(value)


def _plain(value: Any) -> object:
    """What JSON has no type for."""
    if isinstance(value, datetime | date | time_of_day):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value
