"""The classes that ETL scripts subclass, one per kind of ETL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:  # services import this module too, and they never load pandas or polars
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from featurestore.etl.declarations import Granularity


class Etl:
    """What every ETL declares.

    Attributes:
        output_types: Arrow types of output columns by name, such as `{"ratio": "double", "wait": "duration[us]"}`.
            Needed only for columns whose type the training rows don't show: all null, or no rows at all.
        granularity: what one result depends on: "rows", each row alone; "key", the rows of one index value; "frame",
            all rows.
        pure: True if the same rows always give the same result: no clock, no random numbers. Results may be kept
            then.
    """

    output_types: ClassVar[Mapping[str, str]] = {}
    granularity: ClassVar[Granularity] = "frame"
    pure: ClassVar[bool] = False


class AbstractEtl(Etl, ABC):
    """A pandas ETL: rows of a query in, a frame made from them out.

    In training it is made and called once, with every row; in serving once per index value, with that value's rows.

    Attributes:
        df: the rows. Its dtypes depend on the query's schema only, never on the rows: integers are `Int64`, `Int32`
            ..., booleans `boolean`, text `str`, floats `float64`, timestamps and dates `datetime64`, durations
            `timedelta64`; decimals, times, lists and structs are Python objects.
    """

    def __init__(self, df: pd.DataFrame) -> None:
        self.df = df

    @abstractmethod
    def extract(self) -> pd.DataFrame:
        """The features. Columns count by name, type and order; the frame's index is not part of the result."""


class ArrowEtl(Etl, ABC):
    """An Arrow ETL: the rows come as they are, and nothing is converted on the way.

    Attributes:
        table: the rows, in the query's schema.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @abstractmethod
    def extract(self) -> Any:
        """The features: a `pyarrow.Table`, a `RecordBatch`, or anything else with `__arrow_c_stream__`."""


class PolarsEtl(Etl, ABC):
    """A polars ETL.

    Attributes:
        frame: the rows, a `polars.DataFrame` over the Arrow data of the query.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    @abstractmethod
    def extract(self) -> pl.DataFrame | pl.LazyFrame:
        """The features; a lazy frame is collected."""


class SqlEtl(Etl):
    """A SQL ETL: one SELECT over the table `input`, which holds the rows of the query.

    It runs in a DuckDB with the settings that the query itself runs with, and may use what a saved query may.

    Attributes:
        sql: the SELECT, such as `select *, binding_date - creation_date as creation_to_binding from input`.
    """

    sql: ClassVar[str]
