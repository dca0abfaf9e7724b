"""What an answer depends on, and what a write touches, in the same words: values of columns of tables.

An answer depends on every row whose narrowed column has one of the values that narrowed it. A write touches the values that
the watched columns of its rows had before and have after. If the two share nothing, the answer is what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import duckdb
import pyarrow as pa

from featurestore.engine.apply import Tables, changes_by_table, defines
from featurestore.engine.column_types import quoted
from featurestore.engine.key_values import ConvertedKeys
from featurestore.engine.planner import Plan
from featurestore.engine.planner.text import Values
from featurestore.engine.row_text import has_key
from featurestore.engine.tables import identity, qualified
from featurestore.model.query import Column
from featurestore.model.table import Operation, Put, TableDefinition

Place: TypeAlias = tuple[str, str]
"""A table and a column, both as `identity` has them."""
Places: TypeAlias = tuple[Place, ...]
"""Those that one value narrowed, each once and in order."""
Touch: TypeAlias = tuple[Places, object]
"""A value, as `comparable` has it, and the places that it narrowed."""

_INCOMING: Final = "__fs_touched"
_PIECE: Final = 10_000
"""So many values become Python objects at once, for a millisecond in which no other thread gets the interpreter."""
_INTEGERS: Final = {
    pa.date32().id: pa.int32(),  # Python's dates end at the year 9999 ...
    pa.timestamp("us").id: pa.int64(),  # ... and its moments at microseconds too
}


@dataclass(frozen=True, slots=True)
class Dependence:
    """What an answer depends on.

    Attributes:
        touches: values that narrowed a table.
        whole: tables that were read whole.
    """

    touches: frozenset[Touch]
    whole: frozenset[str]


@dataclass(slots=True)
class Touched:
    """What a write touches.

    Attributes:
        tables: those with rows that are written, by the columns that were looked at.
        values: of the places that were looked at.
        everything: definitions change: no answer is safe.
    """

    tables: dict[str, frozenset[str]] = field(default_factory=dict)
    values: dict[Place, set[object]] = field(default_factory=dict)
    everything: bool = False

    @property
    def value_count(self) -> int:
        """How many values it holds."""
        return sum(map(len, self.values.values()))

    def spoils(self, answer: Dependence) -> bool:
        """Whether the answer may be another one after the write."""
        if self.everything or not self.tables.keys().isdisjoint(answer.whole):
            return True
        for places, value in answer.touches:
            for place in places:
                looked_at = self.tables.get(place[0])
                if looked_at is not None and (place[1] not in looked_at or value in self.values[place]):
                    return True
        return False


def comparable(values: pa.Array | pa.ChunkedArray) -> list[object]:
    """Values of a column as Python objects that are equal where the engine's are."""
    as_integers = _INTEGERS.get(values.type.id)
    if as_integers is not None:
        values = values.cast(as_integers)
    if pa.types.is_decimal(values.type):  # the same objects, four times as fast
        return list(values.to_numpy(zero_copy_only=False).tolist() if len(values) else [])
    return list(values.to_pylist())


def dependences(plan: Plan, keys: ConvertedKeys, values: Values) -> list[Dependence]:
    """What the answer for each of these keys depends on, by the plan that gave it.

    Args:
        values: of the plan's chains, as they were used; for each of the keys all of them count.
    """
    common: set[Touch] = set()
    whole: set[str] = set()
    by_part: dict[int, set[Place]] = {}
    for occurrence in plan.occurrences:
        read = occurrence.read_set
        table = identity(read.table)
        if read.column is None or (read.chain is not None and values[read.chain] is None):
            whole.add(table)
        elif read.chain is None:
            by_part.setdefault(read.part, set()).add((table, read.column.lower()))
        else:
            used = _as_stored(plan.chains[read.chain].column, list(values[read.chain] or ()))
            common.update((((table, read.column.lower()),), value) for value in used)
    touches = [
        _touches(tuple(sorted(places)), keys.columns[part], [each[part] for each in keys.tuples])
        for part, places in by_part.items()
    ]
    shared = frozenset(whole)
    if not touches:
        return [Dependence(frozenset(common), shared)] * len(keys.tuples)
    return [Dependence(frozenset((*own, *common)), shared) for own in zip(*touches, strict=True)]


def _touches(places: Places, column: Column, values: Sequence[object]) -> list[Touch]:
    return [(places, value) for value in _as_stored(column, values)]


def touched(
    cursor: duckdb.DuckDBPyConnection,
    tables: Tables,
    operations: Sequence[Operation],
    watched: Mapping[str, frozenset[str]],
) -> Touched:
    """What a group of operations touches; asked before it is applied, in the transaction that will apply it.

    Args:
        tables: the definitions before.
        watched: by table, the columns that answers depend on.

    Raises:
        duckdb.Error: the transaction can only be rolled back.
    """
    found = Touched(everything=defines(operations))
    if found.everything:
        return found
    for table, changes in changes_by_table(operations).items():
        columns = watched.get(table, frozenset())
        found.tables[table] = columns
        found.values.update({(table, column): set() for column in columns})
        definition = tables[table]
        names = [name for name in definition.schema.names if name.lower() in columns]
        key = definition.primary_key
        parts = [change.rows if isinstance(change, Put) else change.keys for change in changes]
        for part in parts:
            _add(found, table, part, names)
        if key and not set(key).issuperset(names):
            keys = pa.concat_tables([part.select(list(key)) for part in parts])
            _add(found, table, _before(cursor, definition, keys, names), names)
    return found


def _add(found: Touched, table: str, rows: pa.Table, names: Iterable[str]) -> None:
    for name in names:
        if name in rows.column_names:
            column, values = rows.column(name), found.values[table, name.lower()]
            for start in range(0, len(column), _PIECE):
                values.update(comparable(column.slice(start, _PIECE)))


def _before(
    cursor: duckdb.DuckDBPyConnection, definition: TableDefinition, keys: pa.Table, names: list[str]
) -> pa.Table:
    """The named columns of the rows that will be replaced or removed, as they are."""
    select = f"SELECT {', '.join(map(quoted, names))} FROM {qualified(definition.name)} WHERE"
    listed = has_key(keys)
    if listed is not None:
        return cursor.execute(f"{select} {listed}").to_arrow_table()
    key = ", ".join(map(quoted, definition.primary_key))
    cursor.register(_INCOMING, keys)
    try:
        return cursor.execute(f"{select} ({key}) IN (SELECT ({key}) FROM {_INCOMING})").to_arrow_table()
    finally:
        cursor.unregister(_INCOMING)


def _as_stored(column: Column, values: Sequence[object]) -> list[object]:
    """Converted key values, as `comparable` has those of a table's column of the same type."""
    if column.engine_type == "DATE":
        return comparable(pa.array(values, pa.date32()))
    if column.engine_type.startswith("TIMESTAMP"):
        return comparable(pa.array(values, _arrow_timestamp(column.engine_type)))
    return list(values)


def _arrow_timestamp(engine_type: str) -> pa.DataType:
    unit = {"TIMESTAMP_S": "s", "TIMESTAMP_MS": "ms", "TIMESTAMP_NS": "ns"}.get(engine_type, "us")
    return pa.timestamp(unit)
