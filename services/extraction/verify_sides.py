"""What training and serving have for a key, and what differs between two of these."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import pyarrow as pa

from featurestore.engine.compare import Comparison, Mismatch, compare
from featurestore.model.errors import FeatureStoreError

In = TypeVar("In")
Out = TypeVar("Out")
Side: TypeAlias = pa.Table | FeatureStoreError
"""What one side has for a key: its rows, or why it could give none."""

BROKEN = "CONTRACT_BROKEN"


@dataclass(frozen=True, slots=True)
class Trained:
    """What training has for a key: the query's rows, and the features; these are the rows where there is no ETL.

    Attributes:
        whole: the features are from a run over all keys' rows.
    """

    rows: pa.Table
    features: Side
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """What serving has for a key: the query's rows, and the features; these are the rows where there is no ETL."""

    rows: Side
    features: Side


@dataclass(frozen=True, slots=True)
class View:
    """Both sides of a key.

    Attributes:
        steady: each side showed the same rows whenever it was asked.
    """

    trained: Trained
    served: Served
    steady: bool = True


def compare_sides(trained: Side, served: Side, *, exact: bool = False) -> Comparison:
    """What differs: columns by type if the schemas differ, else rows and values, or one mismatch for a failure."""
    if isinstance(trained, FeatureStoreError) or isinstance(served, FeatureStoreError):
        return Comparison([*_broken_columns(served)] or [Mismatch("", _outcome(trained), _outcome(served))])
    if trained.schema != served.schema:
        types = [
            Mismatch(name, _type(trained, name), _type(served, name))
            for name in dict.fromkeys([*trained.column_names, *served.column_names])
            if _type(trained, name) != _type(served, name)
        ]
        return Comparison(
            types or [Mismatch("", ", ".join(trained.column_names), ", ".join(served.column_names))]
        )
    return compare(trained, served, exact=exact)


def alike(earlier: Side, later: Side, *, exact: bool = False) -> bool:
    """Whether one side shows the same at two times: the same rows, or the same failure."""
    if isinstance(earlier, FeatureStoreError) and isinstance(later, FeatureStoreError):
        return earlier.reason == later.reason
    return not compare_sides(earlier, later, exact=exact).mismatches


def of_the_etl(error: FeatureStoreError) -> bool:
    """Whether the script or its result is at fault, and not something between us and it."""
    return error.reason == BROKEN or (
        error.reason.startswith("ETL_") and error.reason not in {"ETL_BUSY", "ETL_SOURCE", "ETL_UNSEALED"}
    )


async def in_halves(
    items: Sequence[In],
    work: Callable[[Sequence[In]], Awaitable[list[Out]]],
    failed: Callable[[FeatureStoreError], Out],
    *,
    final: str = "",
) -> list[Out]:
    """Work on all items at once, or, where that can't be, on halves: an item that fails alone has failed.

    Args:
        failed: what to have in place of the item's result.
        final: the reason of an error that is raised at once.
    """
    if not items:
        return []
    try:
        return await work(items)
    except FeatureStoreError as error:
        if error.reason == final or not (of_the_etl(error) or error.reason == "ANSWER_TOO_LARGE"):
            raise
        if len(items) == 1:
            return [failed(error)]
    half = len(items) // 2
    return [
        *await in_halves(items[:half], work, failed, final=final),
        *await in_halves(items[half:], work, failed, final=final),
    ]


def _broken_columns(served: Side) -> list[Mismatch]:
    """The columns in which a result is not what its contract says: what training had, what serving gave."""
    if not isinstance(served, FeatureStoreError) or served.reason != BROKEN:
        return []
    return [
        Mismatch(each["column"], _placed(each, "expected"), _placed(each, "found"))
        for each in json.loads(served.details["differences"])
    ]


def _placed(difference: dict[str, str], side: str) -> str:
    value = difference[side]
    return f"position {value}" if difference["kind"] == "order" else value or "no such column"


def _outcome(side: Side) -> str:
    return str(side) if isinstance(side, FeatureStoreError) else f"{side.num_rows} rows"


def _type(table: pa.Table, name: str) -> str:
    return str(table.schema.field(name).type) if name in table.column_names else ""
