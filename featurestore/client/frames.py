"""Frames of any make, in and out: pandas, polars, pyarrow, anything with `__arrow_c_stream__`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from featurestore.model.errors import InvalidArgument
from featurestore.model.frames import table_to_stream

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

PIECE_BYTES = 32 * 2**20
"""About the Arrow bytes of one piece of a frame that is too large for one publish."""


def to_table(frame: Any, what: str = "the frame") -> pa.Table:
    """A frame as an Arrow table; a pandas index is not part of it, and NaN in a float column is null.

    Raises:
        InvalidArgument: `BAD_FRAME`: it is no frame, or a column holds what Arrow has no type for.
    """
    try:
        if isinstance(frame, pa.Table):
            return frame
        if isinstance(frame, pa.RecordBatch):
            return pa.Table.from_batches([frame])
        if isinstance(frame, list):
            return pa.Table.from_pylist(frame)
        if type(frame).__module__.partition(".")[0] == "pandas":
            return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
        if hasattr(frame, "__arrow_c_stream__"):
            return pa.table(frame)
    except (
        pa.ArrowInvalid,
        pa.ArrowTypeError,
        pa.ArrowNotImplementedError,
        AttributeError,
        ValueError,
    ) as error:
        raise InvalidArgument("BAD_FRAME", f"{what} can't be made into Arrow: {error}", what=what) from error
    raise InvalidArgument(
        "BAD_FRAME",
        f"{what} is a {type(frame).__name__}: give a pandas, polars or pyarrow frame, or a list of dicts",
        what=what,
        type=type(frame).__name__,
    )


def pieces(table: pa.Table, limit: int) -> Iterator[bytes]:
    """The table as one Arrow IPC stream, or, when that has more than `limit` bytes, as several of about PIECE_BYTES."""
    whole = table_to_stream(table) if table.nbytes <= limit else None
    if whole is not None and len(whole) <= limit:
        yield whole
        return
    rows = max(1, table.num_rows * min(PIECE_BYTES, limit // 2) // max(1, table.nbytes))
    for start in range(0, table.num_rows, rows):
        yield table_to_stream(table.slice(start, rows))


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """The table as pandas, with dtypes that depend on its schema alone; the same as `self.df` of an ETL.

    Raises:
        ImportError: pandas is not installed.
    """
    from featurestore.etl import types  # noqa: PLC0415 - the bare client has no pandas

    return types.to_pandas(table)


def to_polars(table: pa.Table) -> pl.DataFrame:
    """The table as polars.

    Raises:
        ImportError: polars is not installed.
    """
    import polars as pl  # noqa: PLC0415 - an extra

    frame = pl.from_arrow(table)
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def is_address(text: str) -> bool:
    """Whether `etl=` names a place in a repository."""
    return text.startswith(("git+", "http://", "https://"))


def is_local_script(text: str) -> bool:
    """Whether `etl=` names a file on this machine, rather than an address, an id or a name."""
    if is_address(text) or text.startswith("etl_"):
        return False
    return text.endswith(".py") or os.sep in text or os.path.isfile(text)  # noqa: PTH113 - a plain look
