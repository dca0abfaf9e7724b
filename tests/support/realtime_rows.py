"""Short words for realtime's tests: rows as they travel, and frames."""

import uuid

import pyarrow as pa

from featurestore.model import frames
from featurestore.model.table import TableRows
from services.realtime.realtime import RealtimeService


def new_id():
    return uuid.uuid4().hex


def rows_of(table, columns, key=None, event_time=None, schema=None):
    """Rows for one table of a publish, from a dict of columns."""
    return TableRows(table, frames.table_to_stream(pa.table(columns, schema=schema)), key, event_time)


def keys_of(**columns):
    """Keys of a delete, as an Arrow stream."""
    return frames.table_to_stream(pa.table(columns))


def opened(folder, **options):
    """A realtime service on the folder, small."""
    return RealtimeService(folder, **{"engine_threads": 1, "memory_limit": "1GB", "readers": 3, **options})


async def table_rows(realtime, table):
    """All rows of a table, sorted."""
    sql = f"SELECT * FROM feature_store.{table} ORDER BY ALL"
    return await realtime._readers.run(lambda cursor: cursor.execute(sql).fetchall())
