"""SQL ETLs: one SELECT over `input`, checked, bound and run as saved queries are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from featurestore.engine import profile
from featurestore.engine.column_types import storage_type
from featurestore.engine.describe import describe
from featurestore.engine.failures import translate
from featurestore.engine.order import terms
from featurestore.engine.outputs import finish
from featurestore.engine.sql_check import parse
from featurestore.engine.wrapping import training_sql
from featurestore.etl.bases import SqlEtl
from featurestore.etl.declarations import BadDeclaration, Kind
from featurestore.etl.results import UnsupportedColumn, features_of
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import QueryForm

INPUT = "input"
"""The table that holds the rows of the query."""

_MEMORY = "1TB"  # the worker's own limit is the one that counts


class SqlRuns:
    """Implements `kinds.Runs` for `SqlEtl`.

    Raises:
        BadDeclaration: its `sql` can't be what a saved query can't be, or reads another table than `input`.
    """

    kind: Kind = "sql"
    returns = "rows"

    def __init__(self, etl: type[SqlEtl]) -> None:
        text: object = getattr(etl, "sql", None)
        if not isinstance(text, str):
            raise BadDeclaration("sql", "sql must be the text of one SELECT")
        try:
            self._checked = parse(text, given=INPUT)
        except InvalidArgument as error:
            raise BadDeclaration("sql", f"sql: {error.message}") from error
        if self._checked.uses_clock and etl.pure:
            raise BadDeclaration("pure", "pure must be False: the SQL reads the clock")
        self._rows = _Rows()
        self._cursor = _engine().cursor()
        self._form = QueryForm("", ())
        self._bound_to: pa.Schema | None = None
        self._text = ""

    def given(self, table: pa.Table) -> pa.Table:
        """See `kinds.Runs`.

        Raises:
            UnsupportedColumn: a column has no place in a table.
        """
        for field in table.schema:
            if storage_type(field.type) is None:
                raise UnsupportedColumn(field.name, f"{field.type} has no place in SQL; cast it in the query")
        return table

    def made(self, rows: pa.Table) -> pa.Table:
        """See `kinds.Runs`.

        Raises:
            FeatureStoreError: as a query's: the SQL does not fit these columns, or fails on these rows.
        """
        self._rows.table = rows
        try:
            if rows.schema != self._bound_to:
                self._bind(rows.schema)
            return finish(self._cursor.execute(self._text).to_arrow_table(), self._form)
        except (duckdb.Error, OSError) as error:
            raise translate(error) from error
        finally:
            self._rows.table = None

    def features(
        self,
        made: pa.Table,
        *,
        input_schema: pa.Schema,  # noqa: ARG002 - of `Runs`
        contract: pa.Schema | None,
        output_types: Mapping[str, pa.DataType],
    ) -> tuple[pa.Table, tuple[str, ...]]:
        """See `kinds.Runs`."""
        return features_of(made, contract=contract, output_types=output_types)

    def _bind(self, schema: pa.Schema) -> None:
        """Find the output's columns for rows of this schema, and the text that makes them leave as a query's do."""
        self._bound_to = None
        self._cursor.register(INPUT, self._rows)
        columns = describe(self._cursor, self._checked.sql)
        order, _ = terms(self._checked.order, columns)
        self._form = QueryForm(self._checked.sql, columns, order)
        self._text = training_sql(self._form)
        self._bound_to = schema


class _Rows:
    """What stands behind `input`: the rows at hand, each time the engine asks. Nothing is registered anew per run."""

    table: pa.Table | None = None

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        if self.table is None:
            raise RuntimeError("there are no rows at hand")
        return self.table.__arrow_c_stream__(requested_schema)


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    """One thread: what a key's few rows need, and what makes an order without ORDER BY the same each time."""
    return profile.connect(threads=1, memory_limit=_MEMORY)
