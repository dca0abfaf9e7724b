"""Short words for the planner's tests: a query, a key, and what became of each table."""

from __future__ import annotations

import duckdb

from featurestore.engine import order, profile
from featurestore.engine.describe import describe
from featurestore.engine.key_values import convert_keys
from featurestore.engine.outputs import finish
from featurestore.engine.planner import Occurrence, Plan, plan
from featurestore.engine.planner.run import chain_values, planned_rows
from featurestore.engine.planner.text import planned_sql
from featurestore.engine.sql_check import parse
from featurestore.engine.wrapping import training_sql
from featurestore.model.query import QueryForm
from featurestore.model.serving import Keys


class Planning:
    """Tables, and queries on them."""

    def __init__(self, **tables: str) -> None:
        """Make tables.

        Args:
            tables: of each name, the columns with types, and behind a `;` rows as VALUES has them.
        """
        self.connection = profile.connect(threads=1, memory_limit="200MB")
        self.types: dict[str, dict[str, str]] = {}
        for name, text in tables.items():
            columns, _, rows = text.partition(";")
            self.connection.execute(f"CREATE TABLE feature_store.{name} ({columns})")
            if rows:
                self.connection.execute(f"INSERT INTO feature_store.{name} VALUES {rows}")
            found = self.connection.execute(f"DESCRIBE feature_store.{name}").fetchall()
            self.types[name] = {column: type_ for column, type_, *_ in found}

    @property
    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self.connection.cursor()

    def form(self, sql: str) -> QueryForm:
        """As a save makes it."""
        checked = parse(sql)
        columns = describe(self.cursor, checked.sql)
        return QueryForm(checked.sql, columns, order.terms(checked.order, columns)[0])

    def plan(self, sql: str, *key: str) -> Plan:
        return plan(self.form(sql), key or ("k",), self.types)

    def verdicts(self, sql: str, *key: str) -> list[str]:
        """Of each occurrence: the columns that it is narrowed on, the rule that stopped it, or `untied`."""
        return [_verdict(each) for each in self.plan(sql, *key).occurrences]

    def text(self, sql: str, *values: object, key: tuple[str, ...] = ("k",)) -> str:
        """What runs for keys, one column each."""
        form = self.form(sql)
        found = plan(form, key, self.types)
        keys = convert_keys(form, Keys(key, tuple((value,) for value in values)))
        return planned_sql(form, found, keys, chain_values(self.cursor, found, keys))

    def rows(self, sql: str, *values: object, key: str = "k") -> list[tuple[object, ...]]:
        """What is answered by the plan; it is seen to be what the plain query has."""
        form = self.form(sql)
        found = plan(form, (key,), self.types)
        keys = convert_keys(form, Keys((key,), tuple((value,) for value in values)))
        planned = planned_rows(self.cursor, form, found, keys).to_pylist()
        plain = finish(self.cursor.execute(training_sql(form)).to_arrow_table(), form).to_pylist()
        asked = {value for (value,) in keys.tuples}
        assert sorted(map(repr, planned)) == sorted(repr(row) for row in plain if row[key] in asked)
        return [tuple(row.values()) for row in planned]


def _verdict(occurrence: Occurrence) -> str:
    if occurrence.narrowed:
        return " ".join(
            each.column if each.chain is None else f"{each.column}<-chain" for each in occurrence.narrowed
        )
    assert occurrence.stopped is not None
    return occurrence.stopped.rule.value if occurrence.stopped.rule else "untied"
