"""One row is changed somewhere: is every key whose answer changes among those that the plan's read sets name?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from featurestore.engine.key_values import ConvertedKeys, convert
from featurestore.engine.planner import Plan, ReadSet, plan
from featurestore.engine.planner.run import chain_values
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import Column, QueryForm
from tests.property.planner import queries
from tests.property.planner.databases import Database, Table, row
from tests.property.planner.oracle import Discarded, Tally, key_columns, saved, trained
from tests.property.planner.words import Draw, literal, quoted

CHANGES_EACH = 4
_BUDGETS = (2, 3, 4, 6, 8)

Values = dict[str, object]


@dataclass(frozen=True)
class Change:
    """One row, inserted, deleted or updated.

    Attributes:
        statement: what does it.
        versions: the row before and after, as far as there is one, by column.
    """

    table: Table
    statement: str
    versions: list[Values]


def one(
    draw: Draw,
    base: Database,
    connection: duckdb.DuckDBPyConnection,
    tally: Tally,
    note: Callable[[str], None],
) -> str:
    """A random query and some changes; returns what differs, empty if nothing does."""
    cursor = connection.cursor()
    query, features = queries.whole(draw, base, draw.choice(_BUDGETS))
    form = saved(cursor, query.text)
    note("plain")
    rows = trained(cursor, form)
    names = key_columns(draw, form, query.outs)
    found = plan(form, names, base.types)
    read = {occurrence.table.lower() for occurrence in found.occurrences}
    tables = [table for table in base.tables if table.name.lower() in read and table.columns]
    if not tables:
        raise Discarded("no table is read")
    for _ in range(CHANGES_EACH):
        change = _change(draw, cursor, draw.choice(tables))
        if change is None:
            continue
        note("changed")
        after = _after(cursor, form, change)
        changed = _changed_keys(found, rows, after)
        tally.add(found, rows=bool(changed), features=features)
        for key in sorted(changed, key=repr):
            if not _named(cursor, found, key, change):
                occurrences = "\n".join(map(str, found.occurrences))
                return (
                    f"key {key} changed, but no read set names it\n{base.script};\n--\n{form.sql}\n--\n"
                    f"{change.statement}\n{occurrences}\n{found.chains}"
                )
    return ""


def _after(cursor: duckdb.DuckDBPyConnection, form: QueryForm, change: Change) -> pa.Table:
    cursor.begin()
    try:
        cursor.execute(change.statement)
        return trained(cursor, form)
    finally:
        cursor.rollback()


def _changed_keys(found: Plan, before: pa.Table, after: pa.Table) -> set[tuple[object, ...]]:
    one, other = (_by_key(found, rows) for rows in (before, after))
    return {key for key in one.keys() | other.keys() if None not in key and one[key] != other[key]}


def _by_key(found: Plan, rows: pa.Table) -> defaultdict[tuple[object, ...], Counter[str]]:
    answers: defaultdict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    keys = zip(*(rows[column.name].to_pylist() for column in found.index_key), strict=True)
    for key, values in zip(
        keys, zip(*(column.to_pylist() for column in rows.columns), strict=True), strict=True
    ):
        answers[key][repr(values)] += 1
    return answers


def _named(cursor: duckdb.DuckDBPyConnection, found: Plan, key: tuple[object, ...], change: Change) -> bool:
    """Whether the key's read sets, as of before the change, name the row."""
    keys = ConvertedKeys(found.index_key, (key,))  # type: ignore[arg-type] # values of an answer
    values = chain_values(cursor, found, keys)
    reads = [each.read_set for each in found.occurrences if each.table.lower() == change.table.name.lower()]
    return any(_hits(found, each, key, values, version) for each in reads for version in change.versions)


def _hits(found: Plan, read: ReadSet, key: tuple[object, ...], values: object, version: Values) -> bool:
    if read.column is None:
        return True
    value = version[read.column.lower()]
    if read.chain is None:
        return value == key[read.part]
    used = values[read.chain]  # type: ignore[index] # a mapping
    return used is None or value in {_plain(each, found.chains[read.chain].column) for each in used}


def _change(draw: Draw, cursor: duckdb.DuckDBPyConnection, table: Table) -> Change | None:
    kind = draw.choice(["insert", "delete", "update"]) if table.rows else "insert"
    new = row(draw, table.columns, draw.randint(0, 30))
    if kind == "insert":
        return Change(table, table.insert((new,)), _versions(cursor, table, [new]))
    at = draw.randrange(len(table.rows))
    old = table.rows[at]
    where = f"WHERE rowid = {at}"
    if kind == "delete":
        return Change(table, f"DELETE FROM {table.path} {where}", _versions(cursor, table, [old]))
    columns = list(table.columns)
    moved = draw.some(columns, 1, 2)
    mixed = tuple(new[place] if name in moved else old[place] for place, name in enumerate(columns))
    sets = ", ".join(
        f"{quoted(name)} = {_literal(mixed[columns.index(name)], table.columns[name])}" for name in moved
    )
    return Change(table, f"UPDATE {table.path} SET {sets} {where}", _versions(cursor, table, [old, mixed]))


def _literal(value: str | None, type_: str) -> str:
    return "NULL" if value is None else literal(value, type_)


def _versions(
    cursor: duckdb.DuckDBPyConnection, table: Table, rows: Iterable[tuple[str | None, ...]]
) -> list[Values]:
    """Rows with values as keys have them."""
    columns = [Column(name, pa.null(), type_) for name, type_ in table.columns.items()]
    found = cursor.execute(f"VALUES {', '.join(map(table.tuple, rows))}").fetchall()
    return [
        {column.name.lower(): _plain(value, column) for column, value in zip(columns, values, strict=True)}
        for values in found
    ]


def _plain(value: object, column: Column) -> object:
    if value is None:
        return None
    try:
        return convert(value, column)
    except InvalidArgument:  # no type of a key
        return None
