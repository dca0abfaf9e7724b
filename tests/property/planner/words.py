"""What random queries are made of: types, small domains of values, names."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

_T = TypeVar("_T")


class Draw(random.Random):
    """Random choices in the words of a generator."""

    def chance(self, share: float) -> bool:
        return self.random() < share

    def weighted(self, weights: Mapping[_T, float]) -> _T:
        return self.choices(list(weights), list(weights.values()))[0]

    def some(self, among: Sequence[_T], low: int, high: int) -> list[_T]:
        """Between `low` and `high` different ones, as far as there are so many; in random order."""
        return self.sample(list(among), min(len(among), self.randint(low, high)))


UUIDS = [f"0000000{n}-0000-4000-8000-00000000000{n}" for n in range(4)]

DOMAINS = {
    "BIGINT": ["0", "1", "2", "3", "4"],
    "INTEGER": ["0", "1", "2", "3", "4"],
    "VARCHAR": ["0", "1", "01", "2", "3"],  # all can be cast to a number, and two of them to the same
    "DATE": ["2024-01-01", "2024-01-02", "2024-02-29"],
    "DECIMAL(6,2)": ["0.00", "1.00", "2.00", "2.50"],
    "TIMESTAMP": [
        "2024-01-01 00:00:00",
        "2024-01-01 12:00:00.5",
        "2024-01-02 00:00:00",
        "2024-03-01 00:00:00",
    ],
    "UUID": UUIDS,
    "BOOLEAN": ["true", "false"],
    "DOUBLE": ["0.0", "0.125", "0.5", "1.0", "1.375", "2.0"],
    "BIGINT[]": ["[1, 2]", "[]", "[0, 2, 3]", "[4]"],
}
"""Small, so that values meet."""

KEYABLE = ("BIGINT", "INTEGER", "VARCHAR", "DATE", "DECIMAL(6,2)", "TIMESTAMP", "UUID", "BOOLEAN")

CASTABLE = {
    "BIGINT": ("INTEGER", "VARCHAR", "DECIMAL(6,2)", "DOUBLE"),
    "INTEGER": ("BIGINT", "VARCHAR", "DECIMAL(6,2)", "DOUBLE"),
    "VARCHAR": ("BIGINT", "INTEGER"),
    "DATE": ("TIMESTAMP",),
    "TIMESTAMP": ("DATE",),
    "DECIMAL(6,2)": ("BIGINT", "INTEGER", "DOUBLE"),
    "DOUBLE": ("BIGINT", "DECIMAL(6,2)"),
}
"""With which types values of a type may be compared."""

COLUMNS = {
    "j": "BIGINT",
    "i": "INTEGER",
    "s": "VARCHAR",
    "r": "VARCHAR",
    "d": "DATE",
    "c": "DECIMAL(6,2)",
    "ts": "TIMESTAMP",
    "g": "UUID",
    "b": "BOOLEAN",
    "xs": "BIGINT[]",
    "Odd k": "BIGINT",
    "ö": "VARCHAR",
}

ALIASES = ["a", "q", "x", "Big", "Odd Q", "ü", "l", "m", "t", "u", 'q"q', "k"]
FRESH = ["k", "j", "s", "key", "K2", "val", "n", "Odd k", "f", "ts", "ö", "top"]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def folded(name: str) -> str:
    return name.lower() if name.isascii() else name


def written(draw: Draw, name: str) -> str:
    """A name in one of the ways to write it."""
    if not (name.isascii() and name.isidentifier()):
        return quoted(name)
    return draw.weighted({name: 8, name.upper(): 1, quoted(name): 1})


def literal(text: str, type_: str) -> str:
    return f"{text}::{type_}" if type_.endswith("[]") else f"'{text}'::{type_}"


def constant(draw: Draw, type_: str) -> str:
    return literal(draw.choice(DOMAINS[type_]), type_)
