"""The types that several results decide together, where each was made from a part of the rows.

A column gets the type that it would have if one frame held all of its values: of integers and floats `double`, of
decimals the largest scale, of times the finest unit, of structs all fields. A result in which a column has no value
at all only has a say where it does not contradict one that has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from featurestore.etl.arrow_types import has_null_type
from featurestore.etl.contract import Difference, name_differences

_UNITS = ("s", "ms", "us", "ns")


class ResultsDiffer(ValueError):
    """Two results that can't be parts of one.

    Attributes:
        differences: every column in which the later one is not as the earlier ones are.
    """

    def __init__(self, differences: tuple[Difference, ...]) -> None:
        super().__init__("; ".join(map(str, differences)))
        self.differences = differences


class Deciding:
    """Takes results without a contract, one after the other, and says what the contract of all of them is."""

    def __init__(self) -> None:
        self._first: pa.Schema | None = None
        self._with_values: dict[str, pa.DataType] = {}
        self._without: dict[str, list[pa.DataType]] = {}
        self._decided: set[str] = set()

    def add(self, table: pa.Table, undecided: Sequence[str]) -> None:
        """One more result.

        Args:
            undecided: its columns whose types its rows don't decide.

        Raises:
            ResultsDiffer: it has other columns than the earlier ones, or a type that has nothing in common with theirs.
        """
        if self._first is None:
            self._first = table.schema
        found = [(field.name, str(field.type)) for field in table.schema]
        differences = list(name_differences(found, self._first))
        for field in () if differences else table.schema:
            if table[field.name].null_count == table.num_rows:
                kinds = self._without.setdefault(field.name, [])
                if field.type not in kinds:
                    kinds.append(field.type)
                continue
            before = self._with_values.get(field.name, field.type)
            both = joined(before, field.type)
            if both is None:
                differences.append(Difference(field.name, "type", str(before), str(field.type)))
            else:
                self._with_values[field.name] = both
        if differences:
            raise ResultsDiffer(tuple(differences))
        self._decided.update(name for name in table.column_names if name not in undecided)

    @property
    def undecided(self) -> tuple[str, ...]:
        """The columns whose types no result decides so far."""
        names = self._first.names if self._first is not None else []
        return tuple(name for name in names if name not in self._decided or has_null_type(self._type(name)))

    @property
    def schema(self) -> pa.Schema:
        """The one schema of the results so far, of which there is at least one."""
        if self._first is None:
            raise ValueError("nothing was added yet")
        return pa.schema([pa.field(name, self._type(name)) for name in self._first.names])

    def _type(self, name: str) -> pa.DataType:
        kind = self._with_values.get(name, pa.null())
        for other in self._without.get(name, ()):
            kind = joined(kind, other) or kind
        return kind


def joined(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:  # noqa: PLR0911 - one line per kind of type
    """The type of a column that holds values of both; None if there is no such type."""
    if str(one) == str(other) or pat.is_null(other):
        return one
    if pat.is_null(one):
        return other
    if _is_number(one) and _is_number(other):
        return _joined_numbers(one, other)
    if (pat.is_decimal(one) or pat.is_integer(one)) and (pat.is_decimal(other) or pat.is_integer(other)):
        return _joined_decimals(one, other)
    if pat.is_timestamp(one) and pat.is_timestamp(other) and one.tz == other.tz:
        return pa.timestamp(_finer(one, other), one.tz)
    if pat.is_duration(one) and pat.is_duration(other):
        return pa.duration(_finer(one, other))
    if pat.is_time(one) and pat.is_time(other):
        unit = _finer(one, other)
        return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    if pat.is_list(one) and pat.is_list(other):
        inner = joined(one.value_type, other.value_type)
        return None if inner is None else pa.list_(inner)
    if pat.is_struct(one) and pat.is_struct(other):
        return _joined_structs(one, other)
    return None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pat.is_integer(kind) or pat.is_float32(kind) or pat.is_float64(kind))


def _joined_numbers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if pat.is_floating(one) or pat.is_floating(other):
        return pa.float64()
    both = np.result_type(one.to_pandas_dtype(), other.to_pandas_dtype())
    # Of int64 and uint64 it would be a double, which does not hold all of either.
    return pa.from_numpy_dtype(both) if both.kind in "iu" else None


def _joined_decimals(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    decimals = [kind for kind in (one, other) if pat.is_decimal(kind)]
    digits = max(kind.precision for kind in decimals) if len(decimals) > 1 else 38
    return pa.decimal128(digits, max(kind.scale for kind in decimals))


def _joined_structs(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    fields = {field.name: field.type for field in one}
    for field in other:
        both = joined(fields.get(field.name, field.type), field.type)
        if both is None:
            return None
        fields[field.name] = both
    return pa.struct(list(fields.items()))


def _finer(one: pa.DataType, other: pa.DataType) -> str:
    return _UNITS[max(_UNITS.index(one.unit), _UNITS.index(other.unit))]
