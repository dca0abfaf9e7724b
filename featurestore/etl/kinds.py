"""How each kind of ETL is given its rows, and how its result becomes Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa

from featurestore.etl.arrow_types import as_canonical
from featurestore.etl.bases import AbstractEtl, ArrowEtl, Etl, PolarsEtl, SqlEtl
from featurestore.etl.declarations import BadDeclaration, Kind
from featurestore.etl.results import UnsupportedColumn, features_of
from featurestore.etl.sql import SqlRuns
from featurestore.etl.types import from_pandas, to_pandas, undecided_columns


class Runs(Protocol):
    """One script's class, run on rows in three steps, of which the second is the script's own.

    Attributes:
        kind: what its base class says.
        returns: what its `extract()` must return, in words.
    """

    kind: Kind
    returns: str

    def given(self, table: pa.Table) -> Any:
        """What the script gets.

        Raises:
            UnsupportedColumn: a column can't be handed over.
        """
        ...

    def made(self, rows: Any) -> Any:
        """What the script makes of it. Raises what the script raises.

        Raises:
            NoFrame: it is nothing that this kind may return.
        """
        ...

    def features(
        self,
        made: Any,
        *,
        input_schema: pa.Schema,
        contract: pa.Schema | None,
        output_types: Mapping[str, pa.DataType],
    ) -> tuple[pa.Table, tuple[str, ...]]:
        """The result in Arrow, and without a contract the columns whose types it does not decide.

        Raises:
            UnsupportedColumn: a column can't be kept.
            ContractBroken: with every column that differs.
        """
        ...


class NoFrame(TypeError):
    """What `extract()` returned is none of what it may return; the text is its type."""

    def __init__(self, returned: object) -> None:
        super().__init__(type(returned).__name__)


class PandasRuns:
    """Implements `Runs` for `AbstractEtl`."""

    kind: Kind = "pandas"
    returns = "a pandas DataFrame"

    def __init__(self, etl: type[AbstractEtl]) -> None:
        self._etl = etl

    def given(self, table: pa.Table) -> pd.DataFrame:
        """See `Runs`."""
        return to_pandas(table)

    def made(self, rows: pd.DataFrame) -> pd.DataFrame:
        """See `Runs`."""
        result: object = self._etl(rows).extract()
        if not isinstance(result, pd.DataFrame):
            raise NoFrame(result)
        return result

    def features(
        self,
        made: pd.DataFrame,
        *,
        input_schema: pa.Schema,
        contract: pa.Schema | None,
        output_types: Mapping[str, pa.DataType],
    ) -> tuple[pa.Table, tuple[str, ...]]:
        """See `Runs`."""
        table = from_pandas(made, input_schema=input_schema, contract=contract, output_types=output_types)
        if contract is not None:
            return table, ()
        return table, undecided_columns(made, table, input_schema=input_schema, output_types=output_types)


class ArrowRuns:
    """Implements `Runs` for `ArrowEtl`."""

    kind: Kind = "arrow"
    returns = "a pyarrow Table or RecordBatch, or anything else with __arrow_c_stream__"

    def __init__(self, etl: type[ArrowEtl]) -> None:
        self._etl = etl

    def given(self, table: pa.Table) -> pa.Table:
        """See `Runs`."""
        return table

    def made(self, rows: pa.Table) -> pa.Table:
        """See `Runs`."""
        result: object = self._etl(rows).extract()
        if isinstance(result, pa.Table):
            return result
        if isinstance(result, pa.RecordBatch):
            return pa.Table.from_batches([result])
        if not hasattr(result, "__arrow_c_stream__"):
            raise NoFrame(result)
        return pa.table(result)

    def features(
        self,
        made: pa.Table,
        *,
        input_schema: pa.Schema,  # noqa: ARG002 - of `Runs`
        contract: pa.Schema | None,
        output_types: Mapping[str, pa.DataType],
    ) -> tuple[pa.Table, tuple[str, ...]]:
        """See `Runs`."""
        return features_of(made, contract=contract, output_types=output_types)


class PolarsRuns:
    """Implements `Runs` for `PolarsEtl`.

    Raises:
        BadDeclaration: polars is not installed.
    """

    kind: Kind = "polars"
    returns = "a polars DataFrame or LazyFrame"

    def __init__(self, etl: type[PolarsEtl]) -> None:
        self._etl = etl
        self._polars = _polars()

    def given(self, table: pa.Table) -> Any:
        """See `Runs`."""
        try:
            return self._polars.DataFrame(table)
        except (self._polars.exceptions.PolarsError, TypeError, ValueError) as error:
            raise UnsupportedColumn(
                "", f"a column has no place in a polars frame ({type(error).__name__}); cast it in the query"
            ) from error

    def made(self, rows: Any) -> pa.Table:
        """See `Runs`."""
        result: object = self._etl(rows).extract()
        if isinstance(result, self._polars.LazyFrame):
            result = result.collect()
        if not isinstance(result, self._polars.DataFrame):
            raise NoFrame(result)
        return result.to_arrow()

    def features(
        self,
        made: pa.Table,
        *,
        input_schema: pa.Schema,
        contract: pa.Schema | None,
        output_types: Mapping[str, pa.DataType],
    ) -> tuple[pa.Table, tuple[str, ...]]:
        """See `Runs`. Polars has times in nanoseconds only and no timestamps in seconds: what was so gets it back."""
        wanted = contract if contract is not None else input_schema
        for place, field in enumerate(made.schema):
            if field.name in wanted.names and _only_finer(field.type, wanted.field(field.name).type):
                restored = _coarser(made.column(place), wanted.field(field.name).type)
                made = made.set_column(place, field.name, restored)
        return features_of(made, contract=contract, output_types=output_types)


def runs_of(etl: type[Etl]) -> Runs:
    """How a script's class is run, by what it subclasses.

    Raises:
        BadDeclaration: it is of several kinds, needs what is not installed, or has a SQL that can't be.
    """
    kinds: list[tuple[type[Etl], Any]] = [
        (AbstractEtl, PandasRuns),
        (ArrowEtl, ArrowRuns),
        (PolarsEtl, PolarsRuns),
        (SqlEtl, SqlRuns),
    ]
    fitting = [(base, runs) for base, runs in kinds if issubclass(etl, base)]
    if len(fitting) != 1:
        names = " and ".join(base.__name__ for base, _ in fitting)
        raise BadDeclaration("", f"class {etl.__name__} must be of one kind, it subclasses {names or 'none'}")
    runs: Runs = fitting[0][1](etl)
    return runs


def _polars() -> ModuleType:
    try:
        import polars as pl  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BadDeclaration(
            "",
            "a PolarsEtl needs the package polars, which is not installed where ETLs run: install polars there",
        ) from error
    return pl


def _only_finer(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a type is that of the query but for a unit that polars does not have."""
    if pa.types.is_time(found) and pa.types.is_time(wanted):
        return bool(found != wanted)
    return bool(
        pa.types.is_timestamp(found)
        and pa.types.is_timestamp(wanted)
        and wanted.unit == "s"
        and found.unit != "s"
        and found.tz == wanted.tz
    )


def _coarser(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """The column in the coarser type if no value loses by it; else as it is."""
    try:
        return as_canonical(column).cast(wanted)
    except pa.ArrowInvalid:
        return column
