"""What an ETL script subclasses.

A script is a module with a class `Etl`:

    from featurestore.etl import AbstractEtl          # or: from etl_abc import AbstractEtl

    class Etl(AbstractEtl):
        def extract(self):
            frame = self.df
            frame["creation_to_binding"] = frame["binding_date"] - frame["creation_date"]
            return frame

This package knows pandas and pyarrow, and nothing of the store: it is all that a worker process loads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:  # services import this package too, and they never load pandas
    import pandas as pd

    from featurestore.etl.declarations import Granularity

__all__ = ["AbstractEtl"]


class AbstractEtl(ABC):
    """A pandas ETL: rows of a query in, a frame made from them out.

    In training it is made and called once, with every row; in serving once per index value, with that value's rows.

    Attributes:
        df: the rows. Its dtypes depend on the query's schema only, never on the rows: integers are `Int64`, `Int32`
            ..., booleans `boolean`, text `str`, floats `float64`, timestamps and dates `datetime64`, durations
            `timedelta64`; decimals, times, lists and structs are Python objects.
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

    def __init__(self, df: pd.DataFrame) -> None:
        self.df = df

    @abstractmethod
    def extract(self) -> pd.DataFrame:
        """The features. Columns count by name, type and order; the frame's index is not part of the result."""
