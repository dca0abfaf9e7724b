"""Whether two tables hold the same rows: as a multiset, by value, floats within a tolerance.

A parallel sum of doubles differs in its last bits from run to run of the same query, so floats are equal within
1e-9 relative, unless equality to the last bit is asked for. NaN and null are one value. Everything else must be equal
exactly, also inside lists and structs.
"""

from __future__ import annotations

import bisect
import math
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa

RELATIVE_TOLERANCE = 1e-9
_PRINTED = 200  # characters of a value in a report
_PAIRED = 100  # differing rows that are paired for the report; the search for the likest row is quadratic

Exact: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One place where two tables differ.

    Attributes:
        column: empty when a row is missing or extra.
        trained: the value, or the whole row, printed; empty for an extra row. Likewise `served`.
    """

    column: str
    trained: str
    served: str


@dataclass(slots=True)
class Floats:
    """How near each other the floats of two tables are, of rows that belong together.

    Attributes:
        values: pairs of numbers that were held side by side; a null, a NaN or an infinity is none.
        bitwise: pairs that are equal to the last bit.
        largest_error: the largest relative difference of a pair.
    """

    values: int = 0
    bitwise: int = 0
    largest_error: float = 0.0

    def equal(self, floats: Iterable[float]) -> None:
        """Count floats that are equal to the last bit."""
        finite = sum(map(math.isfinite, floats))
        self.values += finite
        self.bitwise += finite

    def pair(self, a: float, b: float) -> None:
        """Count two floats."""
        if not (math.isfinite(a) and math.isfinite(b)):
            return
        self.values += 1
        self.bitwise += _BITS.pack(a) == _BITS.pack(b)
        if a != b:
            # Halved first: the difference of two finite numbers may be infinite.
            apart = abs(a / 2 - b / 2) / max(abs(a), abs(b)) * 2
            self.largest_error = max(self.largest_error, apart)

    def add(self, other: Floats) -> None:
        """Count those of other tables too."""
        self.values += other.values
        self.bitwise += other.bitwise
        self.largest_error = max(self.largest_error, other.largest_error)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two tables, held side by side.

    Attributes:
        mismatches: one per differing column of rows that belong together, one per missing or extra row.
    """

    mismatches: list[Mismatch] = field(default_factory=list)
    floats: Floats = field(default_factory=Floats)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row in two parts: what must be equal exactly, and the floats, which may differ in their last bits."""

    values: tuple[object, ...]
    exact: Exact
    floats: tuple[float, ...]

    @property
    def identity(self) -> tuple[Exact, bytes]:
        """Equal for rows that are equal to the last bit: a zero differs from a negative one."""
        return self.exact, struct.pack(f"{len(self.floats)}d", *self.floats)


class _Float:
    """Stands in a row's exact part where a float was, so that a number never equals a null."""


_FLOAT = _Float()
_BITS = struct.Struct("d")


def differences(trained: pa.Table, served: pa.Table) -> list[Mismatch]:
    """The mismatches of `compare`, floats within the tolerance."""
    return compare(trained, served).mismatches


def compare(trained: pa.Table, served: pa.Table, *, exact: bool = False) -> Comparison:
    """Compare two tables of the same schema, whose rows may come in any order.

    Args:
        trained: rows that training shows.
        served: rows that were served.
        exact: floats must be equal to the last bit.
    """
    found = Comparison()
    if trained.num_rows == 0 and served.num_rows == 0:
        return found
    left, right = _unequal(_rows(trained), _rows(served), found.floats)
    if not exact:
        left, right = _beyond_tolerance(left, right, found.floats)
    found.mismatches.extend(_report(trained.column_names, left, right, found.floats, exact=exact))
    return found


def _rows(table: pa.Table) -> list[_Row]:
    if table.num_columns == 0:
        return [_Row((), (), ())] * table.num_rows
    columns = [_objects(column) for column in table.columns]
    rows = []
    for values in zip(*columns, strict=True):
        floats: list[float] = []
        exact = tuple(_split(value, floats) for value in values)
        rows.append(_Row(values, exact, tuple(floats)))
    return rows


def _objects(column: pa.ChunkedArray) -> list[object]:
    if pa.types.is_temporal(column.type):
        # As text: Python has no dates beyond the year 9999 and no nanoseconds, Arrow and DuckDB have both.
        column = column.cast(pa.int64() if pa.types.is_duration(column.type) else pa.string())
    objects: list[object] = column.to_pylist()
    return objects


def _split(value: object, floats: list[float]) -> object:
    """The value as something hashable, its floats moved to `floats`."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        floats.append(value)
        return _FLOAT
    if isinstance(value, dict):
        return tuple((name, _split(item, floats)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_split(item, floats) for item in value)
    return value


def _unequal(left: Sequence[_Row], right: Sequence[_Row], floats: Floats) -> tuple[list[_Row], list[_Row]]:
    """Take away the rows that are equal to the last bit, one for one: nearly always all of them."""
    available = Counter(row.identity for row in right)

    def taken(row: _Row) -> bool:
        found = available[row.identity] > 0
        available[row.identity] -= found
        return found

    left_over = []
    for row in left:
        if taken(row):
            floats.equal(row.floats)
        else:
            left_over.append(row)
    return left_over, [row for row in right if taken(row)]  # of equal ones any: which is all the same


def _beyond_tolerance(
    left: Sequence[_Row], right: Sequence[_Row], floats: Floats
) -> tuple[list[_Row], list[_Row]]:
    """Take away the pairs that differ in the last bits of their floats only.

    Rows pair within groups of equal exact parts. In a group the candidates are sorted by their first float, so
    that a row looks only at those whose first float is within the tolerance, and takes the first that fits.
    Greedy is enough: "within the tolerance" is not transitive, so in a chain a ~ b ~ c with a !~ c a row could take
    another's partner; but last-bit noise is a million times finer than the tolerance, and rows left without a
    partner are reported, never hidden.
    """
    groups: defaultdict[Exact, list[_Row]] = defaultdict(list)
    for row in right:
        groups[row.exact].append(row)
    for group in groups.values():
        group.sort(key=lambda row: row.floats)
    left_over = []
    for row in left:
        group = groups[row.exact]
        at = _candidate(row.floats, group)
        if at is None:
            left_over.append(row)
        else:
            for a, b in zip(row.floats, group.pop(at).floats, strict=True):
                floats.pair(a, b)
    return left_over, [row for group in groups.values() for row in group]


def _candidate(floats: tuple[float, ...], group: Sequence[_Row]) -> int | None:
    if not floats:
        return None  # equal without floats is equal to the last bit: already taken away
    first = floats[0]
    reach = (
        2 * RELATIVE_TOLERANCE * abs(first) if math.isfinite(first) else 0.0
    )  # a little wide: isclose decides
    start = bisect.bisect_left(group, first - reach, key=lambda row: row.floats[0])
    for at in range(start, len(group)):
        candidate = group[at].floats
        if candidate[0] > first + reach:
            return None
        if all(_close(a, b) for a, b in zip(floats, candidate, strict=True)):
            return at
    return None


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE)


def _report(
    names: Sequence[str], left: list[_Row], right: list[_Row], floats: Floats, *, exact: bool
) -> Iterator[Mismatch]:
    """Put the likest rows side by side, so that a report names the column that differs, not two whole rows."""
    unpaired = list(right)
    for row in left[:_PAIRED]:
        likeness = [_likeness(row, other, exact=exact) for other in unpaired[:_PAIRED]]
        likest = max(range(len(likeness)), key=likeness.__getitem__, default=None)
        if likest is None or (len(left) != len(right) and likeness[likest] == 0):
            yield Mismatch("", _printed_row(names, row), "")
            continue
        other = unpaired.pop(likest)
        for name, a, b in zip(names, row.values, other.values, strict=True):
            if not _same(a, b, exact=exact, floats=floats):
                yield Mismatch(name, _printed(a), _printed(b))
    for row in left[_PAIRED:]:
        yield Mismatch("", _printed_row(names, row), "")
    for row in unpaired:
        yield Mismatch("", "", _printed_row(names, row))


def _likeness(a: _Row, b: _Row, *, exact: bool) -> int:
    return sum(_same(x, y, exact=exact) for x, y in zip(a.values, b.values, strict=True))


def _same(a: object, b: object, *, exact: bool, floats: Floats | None = None) -> bool:
    """Whether two values are equal; their floats are counted."""
    left: list[float] = []
    right: list[float] = []
    if _split(a, left) != _split(b, right):
        return False
    pairs = list(zip(left, right, strict=True))
    if floats is not None:
        for x, y in pairs:
            floats.pair(x, y)
    return all(_BITS.pack(x) == _BITS.pack(y) if exact else _close(x, y) for x, y in pairs)


def _printed(value: object) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= _PRINTED else text[:_PRINTED] + "..."


def _printed_row(names: Sequence[str], row: _Row) -> str:
    return _printed({name: _printed(value) for name, value in zip(names, row.values, strict=True)})
