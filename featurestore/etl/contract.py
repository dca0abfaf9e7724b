"""Where a result differs from its contract, column by column. No pandas: both the worker and the service ask."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Difference:
    """One column that is not as the contract has it.

    Attributes:
        expected: the contract's type, or its position for `order`; empty for an unexpected column.
        found: the result's type, or its position for `order`; empty for a missing column.
    """

    column: str
    kind: Literal["missing", "unexpected", "type", "order"]
    expected: str
    found: str

    def __str__(self) -> str:
        match self.kind:
            case "missing":
                return f"column {self.column!r} ({self.expected}) is missing"
            case "unexpected":
                return f"column {self.column!r} ({self.found}) is not in the contract"
            case "type":
                return f"column {self.column!r} is {self.found}, the contract says {self.expected}"
            case "order":
                return (
                    f"column {self.column!r} is at position {self.found}, the contract says {self.expected}"
                )

    def as_dict(self) -> dict[str, str]:
        """The four fields by name, for JSON."""
        return asdict(self)


def differences(schema: pa.Schema, contract: pa.Schema) -> tuple[Difference, ...]:
    """Every column in which a schema differs from a contract: types, then missing, unexpected and moved ones.

    Compared are names, type texts and order; not nullability, not metadata.
    """
    if schema.equals(contract) and not any(pa.types.is_nested(kind) for kind in schema.types):
        return ()  # equality takes no notice of names inside nested types, and is far cheaper where there are none
    expected = {field.name: str(field.type) for field in contract}
    types = [
        Difference(field.name, "type", expected[field.name], str(field.type))
        for field in schema
        if field.name in expected and str(field.type) != expected[field.name]
    ]
    return (*types, *name_differences([(field.name, str(field.type)) for field in schema], contract))


def name_differences(columns: list[tuple[str, str]], contract: pa.Schema) -> tuple[Difference, ...]:
    """The columns that are missing, unexpected, or at another place: of (name, type text) pairs, in their order.

    The order counts only where both have the same columns; otherwise every later column would be listed too.
    """
    names = [name for name, _ in columns]
    if names == contract.names and len(set(names)) == len(names):
        return ()
    expected = {field.name: str(field.type) for field in contract}
    found = Counter(names)
    missing = [Difference(name, "missing", text, "") for name, text in expected.items() if name not in found]
    unexpected = [
        Difference(name, "unexpected", "", text)
        for name, text in columns
        if name not in expected or found[name] > 1
    ]
    if missing or unexpected:
        return (*missing, *unexpected)
    places = {name: position for position, name in enumerate(expected, start=1)}
    return tuple(
        Difference(name, "order", str(places[name]), str(position))
        for position, (name, _) in enumerate(columns, start=1)
        if places[name] != position
    )
