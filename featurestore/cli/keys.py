"""`--key` and `--index-key`: index values as they are written on a command line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import click

_NEXT_COLUMN = re.compile(r",(?=[^,=]+=)")


@dataclass(frozen=True)
class AskedKeys:
    """The values to ask for.

    Attributes:
        columns: the index key.
        values: one per `--key`, in order: the value itself, or a tuple for a composite key. Text as it was written;
            the store holds it to the column's type.
    """

    columns: tuple[str, ...]
    values: list[object]

    @property
    def index_key(self) -> str | list[str]:
        """The index key as the client takes it."""
        return self.columns[0] if len(self.columns) == 1 else list(self.columns)

    def tuples(self, order: Sequence[str]) -> list[tuple[object, ...]]:
        """The values as tuples whose parts stand in this order of the columns."""
        wide = [value if isinstance(value, tuple) else (value,) for value in self.values]
        places = [self.columns.index(column) for column in order]
        return [tuple(value[place] for place in places) for value in wide]


def parse_keys(given: Sequence[str]) -> AskedKeys:
    """Read `user_id=7`, `user_id=7,merchant_id=9`, or `{"user_id": 7}` for values that hold commas and equal signs.

    Raises:
        click.BadParameter: a key without `=`, or keys of different columns.
    """
    parsed = [_parse_key(text) for text in given]
    columns = tuple(parsed[0])
    for text, key in zip(given, parsed, strict=True):
        if set(key) != set(columns):
            raise click.BadParameter(
                f"{text!r} names the columns {', '.join(key)}, the first one {', '.join(columns)}:"
                " all must name the same ones.",
                param_hint="--key",
            )
    tuples = [tuple(key[column] for column in columns) for key in parsed]
    return AskedKeys(columns, [values[0] if len(columns) == 1 else values for values in tuples])


def parse_columns(given: str | None) -> list[str] | None:
    """The columns in `a,b`; None for None."""
    return None if given is None else [name.strip() for name in given.split(",") if name.strip()]


def parse_index_key(given: str | None) -> str | list[str] | None:
    """The index key in `a` or `a,b`, as the client takes it."""
    columns = parse_columns(given)
    return columns[0] if columns is not None and len(columns) == 1 else columns


def _parse_key(text: str) -> dict[str, object]:
    if text.startswith("{"):
        try:
            key = json.loads(text)
        except json.JSONDecodeError as error:
            raise click.BadParameter(f"{text!r} is not JSON: {error}.", param_hint="--key") from None
        if not key:
            raise click.BadParameter(f"{text!r} names no column.", param_hint="--key")
        return dict(key)
    pairs = [piece.partition("=") for piece in _NEXT_COLUMN.split(text)]
    if any(not column or not equals for column, equals, _ in pairs):
        raise click.BadParameter(
            f"{text!r} is no key: write COLUMN=VALUE, such as user_id=7.", param_hint="--key"
        )
    return {column: value for column, _, value in pairs}
