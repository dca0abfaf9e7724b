"""Sameness: what comparing training with serving found, and why they differ where they do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from featurestore.model.table import Version


class Cause(StrEnum):
    """Why training and serving do not agree; docs/sameness.md says what to do about each."""

    CONTRACT = "CONTRACT"
    """What is served has other columns or types than training had at the save."""
    FRAME_DEPENDENT = "FRAME_DEPENDENT"
    """The ETL looks at other keys' rows: run on the key's rows alone it gives what is served."""
    TIME_DEPENDENT = "TIME_DEPENDENT"
    """The query or the ETL reads the clock."""
    RANDOM = "RANDOM"
    """The ETL gives something else each time it is run on the same rows."""
    ORDER_DEPENDENT = "ORDER_DEPENDENT"
    """The query's answer, or the ETL's, hangs on an order of rows that nobody promises."""
    DATA_DIFFERS = "DATA_DIFFERS"
    """The warehouse and realtime hold other rows."""
    UNKNOWN = "UNKNOWN"
    """None of these could be shown."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where training and serving do not agree.

    Attributes:
        key: the index value, printed.
        column: of the features, or, where the rows that they are made from differ already, of the query; empty when a
            whole row is missing or extra, or one side failed.
        trained: the value, or the whole row, in training, printed; likewise `served`.
        cause: one of `Cause`.
    """

    key: str
    column: str
    trained: str
    served: str
    cause: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Whether training and serving agree, key by key.

    Attributes:
        checked: keys compared; at least one, or the report is not consistent.
        agreed: keys without a difference.
        skipped: keys that were written meanwhile, twice.
        differences: the first 100.
        version: the lowest data version that was compared.
        remarks: how it was compared, where that is not plain.
        exact: floats had to be equal to the last bit; else within 1e-9 relative.
        float_values: finite floats that were held side by side.
        float_values_bitwise_equal: those of them that are equal to the last bit.
        largest_error: the largest relative difference of two of them.
    """

    checked: int
    agreed: int
    skipped: int
    differences: tuple[Difference, ...]
    version: Version
    remarks: tuple[str, ...] = ()
    exact: bool = False
    float_values: int = 0
    float_values_bitwise_equal: int = 0
    largest_error: float = 0.0

    @property
    def consistent(self) -> bool:
        """True when at least one key was checked and every checked key agrees."""
        return self.checked > 0 and self.agreed == self.checked


@dataclass(frozen=True, slots=True)
class KeptReport:
    """The last report of a saved query or ETL by one index key.

    Attributes:
        report: with its first differences only.
    """

    index_key: tuple[str, ...]
    report: VerifyReport
    verified_at: datetime
