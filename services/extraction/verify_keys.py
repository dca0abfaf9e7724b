"""Which keys Verify looks at, and which rows are theirs: all in Arrow, none of it in SQL."""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.model.query import Column

_HASH = "hash"


class KeySample:
    """A uniform sample of the distinct keys of a stream, in one pass and bounded memory.

    Keeps the keys with the smallest seeded hashes. A reservoir over rows would prefer keys with many rows.
    """

    def __init__(self, columns: Sequence[Column], count: int, seed: int) -> None:
        self._names = [column.name for column in columns]
        self._keys = [f"k{at}" for at in range(len(columns))]  # a query may name its columns anything
        self._count = count
        self._seed = seed.to_bytes(8, "big")
        types = [pa.field(key, column.type) for key, column in zip(self._keys, columns, strict=True)]
        self._kept = pa.schema([*types, pa.field(_HASH, pa.uint64())]).empty_table()

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at more rows; those with a null in the key don't count, for a null is never asked for."""
        keys = pa.Table.from_batches([batch]).select(self._names).rename_columns(self._keys)
        distinct = keys.drop_null().group_by(self._keys).aggregate([])
        if not distinct.num_rows:
            return
        candidates = distinct.append_column(_HASH, self._hashes(distinct))
        if self._kept.num_rows == self._count:
            candidates = candidates.filter(pc.less(candidates[_HASH], pc.max(self._kept[_HASH])))
        if not candidates.num_rows:
            return
        merged = pa.concat_tables([self._kept, candidates]).group_by([*self._keys, _HASH]).aggregate([])
        self._kept = merged.take(pc.sort_indices(merged[_HASH])[: self._count])

    def keys(self) -> pa.Table:
        """The sample: distinct keys without nulls, columns as the query names them."""
        return self._kept.select(self._keys).rename_columns(self._names)

    def _hashes(self, keys: pa.Table) -> pa.Array:
        parts = [_as_bytes(column) for column in keys.columns]
        joined = pc.binary_join_element_wise(*parts, b"\0") if len(parts) > 1 else parts[0]
        return pa.array(
            (
                int.from_bytes(hashlib.blake2b(text, digest_size=8, key=self._seed).digest(), "big")
                for text in joined.to_pylist()
            ),
            pa.uint64(),
        )


class KeyIndex:
    """Finds the rows of known keys, vectorised."""

    def __init__(self, keys: pa.Table) -> None:
        """Prepare for these keys: distinct, without nulls."""
        self._levels: list[tuple[pa.Array, pa.Array]] = []
        self._count = keys.num_rows
        code = pa.repeat(pa.scalar(0, pa.int64()), keys.num_rows)
        for column in keys.columns:
            values = pc.unique(column)
            combined = _combined(code, column, values)
            # Numbering the combinations anew keeps the codes small, however many columns there are. As numbers
            # go by first appearance, the last ones are the keys' own positions.
            known = pc.unique(combined)
            code = _position_in(combined, known)
            self._levels.append((values, known))

    def positions(self, columns: Sequence[pa.Array | pa.ChunkedArray]) -> pa.Array | pa.ChunkedArray:
        """For each row the position of its key, null for other rows; the columns stand in the keys' order."""
        code: pa.Array | pa.ChunkedArray = pa.repeat(pa.scalar(0, pa.int64()), len(columns[0]))
        for column, (values, known) in zip(columns, self._levels, strict=True):
            code = _position_in(_combined(code, column, values), known)
        return code

    def split(self, rows: pa.Table, positions: pa.Array | pa.ChunkedArray) -> list[pa.Table]:
        """The rows of each key, in the keys' order; rows without a position belong to none."""
        order = pc.sort_indices(positions)  # nulls at the end
        ordered, owners = rows.take(order), positions.take(order)
        counts = {item["values"]: item["counts"] for item in pc.value_counts(owners).to_pylist()}
        tables, at = [], 0
        for position in range(self._count):
            length = counts.get(position, 0)
            tables.append(ordered.slice(at, length))
            at += length
        return tables


class KeyRows:
    """Collects, from a stream, the rows of known keys and nothing else."""

    def __init__(self, keys: pa.Table, schema: pa.Schema) -> None:
        self._index = KeyIndex(keys)
        self._names = keys.column_names
        self._rows: list[pa.RecordBatch] = []
        self._owners: list[pa.Array] = []
        self._schema = schema

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at more rows."""
        positions = self._index.positions([batch.column(name) for name in self._names])
        theirs = pc.is_valid(positions)
        self._rows.append(batch.filter(theirs))
        self._owners.append(positions.filter(theirs))

    def tables(self) -> list[pa.Table]:
        """The rows of each key, in the keys' order."""
        owners = pa.chunked_array(self._owners, pa.int64())
        return self._index.split(pa.Table.from_batches(self._rows, self._schema), owners)


def rows_of_keys(table: pa.Table, keys: pa.Table) -> list[pa.Table]:
    """The rows of each key in a table that has the keys' columns, with the same types."""
    index = KeyIndex(keys)
    return index.split(table, index.positions([table.column(name) for name in keys.column_names]))


def distinct(keys: pa.Table) -> pa.Table:
    """The keys without repetitions and without nulls, in the order of their first appearance."""
    keys = keys.drop_null()
    if not keys.num_rows:
        return keys
    positions = KeyIndex(keys).positions(keys.columns)
    first = (
        pa.table({"key": positions, "at": pa.arange(0, keys.num_rows)})
        .group_by("key")
        .aggregate([("at", "min")])
    )
    return keys.take(first["at_min"].take(pc.sort_indices(first["at_min"])))


def made_up(columns: Sequence[Column], count: int, seed: int) -> pa.Table:
    """Keys that hardly any data has, valid for their types."""
    chance = random.Random(seed)  # noqa: S311 - nothing is secret about a sample
    schema = pa.schema([pa.field(column.name, column.type) for column in columns])
    rows = [[_made_up(column, chance) for column in columns] for _ in range(count)]
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)],
        schema=schema,
    )


def _made_up(column: Column, chance: random.Random) -> object:  # noqa: PLR0911 - one line per kind of type
    kind = column.type
    if pa.types.is_boolean(kind):
        return chance.random() < 0.5
    if pa.types.is_integer(kind):
        bits = kind.bit_width - (1 if pa.types.is_signed_integer(kind) else 0)
        return chance.randrange(1, 2**bits)
    if pa.types.is_decimal(kind):
        return Decimal(f"{chance.randrange(1, 10**kind.precision)}E{-kind.scale}")
    if pa.types.is_date(kind):
        return date(1900, 1, 1) + timedelta(days=chance.randrange(100_000))
    if pa.types.is_timestamp(kind):
        moment = datetime(1900, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(10_000_000_000))
        return moment if kind.tz else moment.replace(tzinfo=None)
    if pa.types.is_binary(kind):
        return chance.randbytes(16)
    if column.engine_type == "UUID":
        return str(uuid.UUID(int=chance.getrandbits(128), version=4))
    return f"absent-{chance.getrandbits(64):016x}"


def _combined(code: pa.Array, column: pa.Array, values: pa.Array) -> pa.Array:
    return pc.add(pc.multiply(code, pa.scalar(len(values), pa.int64())), _position_in(column, values))


def _position_in(column: pa.Array, values: pa.Array) -> pa.Array:
    return pc.index_in(column, value_set=values).cast(pa.int64())


def _as_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_binary(kind):
        return column
    return column.cast(pa.string()).cast(pa.binary())
