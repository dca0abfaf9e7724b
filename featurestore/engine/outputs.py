"""The Arrow side of a result: what DuckDB hands over becomes exactly the stored schema."""

from __future__ import annotations

from typing import TypeVar

import pyarrow as pa

from featurestore.model.query import QueryForm

_Rows = TypeVar("_Rows", pa.Table, pa.RecordBatch)


def finish(rows: _Rows, form: QueryForm) -> _Rows:
    """What Arrow has to do for rows of either text: afterwards their schema is the form's, exactly.

    Args:
        rows: as DuckDB hands them over, all of a result or a part.

    Raises:
        pa.ArrowInvalid: the rows are of another query.
    """
    schema = form.schema
    if rows.column_names != schema.names:
        raise pa.ArrowInvalid(f"columns {rows.column_names} are not those of the query, {schema.names}")
    if not form.nested and rows.schema.equals(schema, check_metadata=True):
        return rows  # as almost always
    arrays = [
        array if _is(array.type, field.type) else array.cast(field.type)
        for array, field in zip(rows.columns, schema, strict=True)
    ]
    return type(rows).from_arrays(arrays, schema=schema)


def _is(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether they are one type, also by the names inside, of which equality takes no notice."""
    return bool(found == wanted) and (not pa.types.is_nested(found) or str(found) == str(wanted))
