"""Whether a saved query still returns what was stored with it: asked by both sides before they run it."""

from __future__ import annotations

import duckdb

from featurestore.engine.describe import describe
from featurestore.model.errors import FailedPrecondition, InvalidArgument
from featurestore.model.query import QueryForm


def check_stored_columns(cursor: duckdb.DuckDBPyConnection, form: QueryForm) -> None:
    """See that the query still returns its stored columns: a table may have been dropped and made anew.

    The wrapper casts what leaves, so a column that changed its type could go unnoticed in the rows. Columns that a `*`
    returns on top, since a table got more of them, are no change; two of one name are, for the stored one may no
    longer be the one that is meant.

    Raises:
        FailedPrecondition: `QUERY_SCHEMA_CHANGED`, naming the columns.
    """
    try:
        found = {column.name: column.engine_type for column in describe(cursor, form.sql)}
    except InvalidArgument as error:
        raise FailedPrecondition(
            "QUERY_SCHEMA_CHANGED",
            f"the query worked when it was saved and no longer does: {error.message}; bring back its tables as "
            "they were, or save the query anew",
            **error.details,
        ) from error
    changed = [column for column in form.columns if found.get(column.name) != column.engine_type]
    if changed:
        now = "; ".join(
            f"{column.name} was {column.engine_type}, is {found.get(column.name, 'gone')}"
            for column in changed
        )
        raise FailedPrecondition(
            "QUERY_SCHEMA_CHANGED",
            f"the query returns other columns than are stored with it: {now}; bring back its tables as they were, "
            "or save the query anew",
            column=changed[0].name,
            columns=", ".join(column.name for column in changed),
        )
