"""The same data with the same indexes in a bare DuckDB of this process: what the engine itself costs."""

from __future__ import annotations

import pyarrow as pa

from benchmarks import data
from featurestore.engine.apply import Tables, index
from featurestore.engine.column_types import duckdb_type
from featurestore.engine.describe import describe
from featurestore.engine.key_values import ConvertedKeys, convert_keys
from featurestore.engine.literals import literal
from featurestore.engine.planner import plan
from featurestore.engine.planner.text import planned_sql
from featurestore.engine.profile import connect
from featurestore.engine.sql_check import parse
from featurestore.engine.tables import create_sql, qualified
from featurestore.engine.wrapping import serving_sql
from featurestore.model.query import QueryForm
from featurestore.model.serving import Keys
from featurestore.model.table import TableDefinition


class Bare:
    """An engine under the same profile."""

    def __init__(self, tables: dict[str, pa.Table]) -> None:
        """Load the tables, with their primary keys."""
        self.cursor = connect(threads=2, memory_limit="8GB")
        definitions: Tables = {
            name: TableDefinition(name, rows.schema, (data.KEYS[name],)) for name, rows in tables.items()
        }
        for name, rows in tables.items():
            self.cursor.execute(create_sql(definitions[name]))
            self.cursor.register("incoming", rows)
            self.cursor.execute(f"INSERT INTO {qualified(name)} SELECT * FROM incoming")
            self.cursor.unregister("incoming")
        index(self.cursor, definitions)
        self.types = {
            name: {field.name: duckdb_type(field.type) for field in each.schema}
            for name, each in definitions.items()
        }


class BareQuery:
    """A query on it, with the indexes that its plan wants."""

    def __init__(self, bare: Bare, sql: str, index_key: str) -> None:
        """Plan the query."""
        self._cursor = bare.cursor
        checked = parse(sql)
        self._form = QueryForm(checked.sql, describe(bare.cursor, checked.sql))
        self._plan = plan(self._form, [index_key], bare.types)
        for each in self._plan.occurrences:
            for narrowing in each.narrowed:
                if data.KEYS[each.table] != narrowing.column:
                    bare.cursor.execute(
                        f"CREATE INDEX IF NOT EXISTS {each.table}_{narrowing.column} "
                        f"ON {qualified(each.table)} ({narrowing.column})"
                    )

    def narrowed(self, keys: Keys) -> pa.Table:
        """The text that realtime runs."""
        return self._run(planned_sql(self._form, self._plan, self._converted(keys), {}))

    def plain(self, keys: Keys) -> pa.Table:
        """Wrapped as it is: `= literal` for one key, `IN (literals)` for several."""
        return self._run(serving_sql(self._form, self._converted(keys)))

    def listed(self, keys: Keys) -> pa.Table:
        """Wrapped as it is, with `IN (literal)` also for one key."""
        converted = self._converted(keys)
        [column] = converted.columns
        values = ", ".join(literal(value, column) for (value,) in converted.tuples)
        return self._run(f"SELECT * FROM (\n{self._form.sql}\n) AS t WHERE t.{column.name} IN ({values})")

    def parameter(self, keys: Keys) -> pa.Table:
        """Wrapped as it is, the one key as a parameter."""
        sql = f"SELECT * FROM (\n{self._form.sql}\n) AS t WHERE t.{keys.columns[0]} = $1"
        return self._cursor.execute(sql, list(keys.tuples[0])).to_arrow_table()

    def _converted(self, keys: Keys) -> ConvertedKeys:
        return convert_keys(self._form, keys)

    def _run(self, sql: str) -> pa.Table:
        return self._cursor.execute(sql).to_arrow_table()
