"""Random tables: nulls, duplicates, skew, and columns of one name with two types."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from featurestore.engine import profile
from tests.property.planner.words import COLUMNS, DOMAINS, Draw, literal, quoted

_TABLES = ["t", "u", "w", "Odd Tab", "ünï"]


@dataclass(frozen=True)
class Table:
    name: str
    columns: dict[str, str]
    rows: tuple[tuple[str | None, ...], ...]
    """As the domains write them."""

    @property
    def path(self) -> str:
        return f"feature_store.{quoted(self.name)}"

    @property
    def create(self) -> str:
        columns = ", ".join(f"{quoted(name)} {type_}" for name, type_ in self.columns.items())
        return f"CREATE TABLE {self.path} ({columns})"

    def insert(self, rows: tuple[tuple[str | None, ...], ...]) -> str:
        """The text that adds rows; empty for none."""
        if not rows:
            return ""
        return f"INSERT INTO {self.path} VALUES {', '.join(map(self.tuple, rows))}"

    def tuple(self, row: tuple[str | None, ...]) -> str:
        values = (
            "NULL" if value is None else literal(value, type_)
            for value, type_ in zip(row, self.columns.values(), strict=True)
        )
        return f"({', '.join(values)})"


@dataclass(frozen=True)
class Database:
    tables: tuple[Table, ...]

    @property
    def types(self) -> dict[str, dict[str, str]]:
        return {table.name: table.columns for table in self.tables}

    @property
    def script(self) -> str:
        """What makes it anew, for a bug report."""
        texts = [text for table in self.tables for text in (table.create, table.insert(table.rows)) if text]
        return ";\n".join(texts)

    def opened(self) -> duckdb.DuckDBPyConnection:
        connection = profile.connect(threads=1, memory_limit="500MB")
        for table in self.tables:
            connection.execute(table.create)
            if text := table.insert(table.rows):
                connection.execute(text)
        return connection


def database(draw: Draw) -> Database:
    names = draw.some(_TABLES, 3, 4)
    return Database(tuple(_table(draw, name) for name in names))


def row(draw: Draw, columns: dict[str, str], number: int) -> tuple[str | None, ...]:
    """A random row whose `id` is the number."""
    return tuple(str(number) if name == "id" else _value(draw, type_) for name, type_ in columns.items())


def _table(draw: Draw, name: str) -> Table:
    columns = {"k": draw.weighted({"BIGINT": 12, "INTEGER": 1, "VARCHAR": 1})}
    for other, type_ in draw.some(list(COLUMNS.items()), 3, 6):
        columns[other] = "VARCHAR" if type_ == "BIGINT" and draw.chance(0.05) else type_
    columns |= {"v": "DOUBLE", "id": "BIGINT"}
    count = draw.weighted({0: 1, draw.randint(1, 5): 4, draw.randint(6, 16): 12})
    numbers = draw.sample(range(count + 2), count)
    rows = [row(draw, columns, number) for number in numbers]
    for _ in range(draw.randint(0, 2) if rows else 0):  # the same but for the id
        at = list(columns).index("id")
        rows.append((*draw.choice(rows)[:at], str(len(rows) + 100)))
    return Table(name, columns, tuple(rows))


def _value(draw: Draw, type_: str) -> str | None:
    domain = DOMAINS[type_]
    if draw.chance(0.12):
        return None
    return domain[1] if draw.chance(0.25) else draw.choice(domain)
