"""Run by Feast's own Python, in its repository: declares one view of six features, and writes a file of rows online."""

import sys
from datetime import timedelta

import pandas as pd
from feast import (  # type: ignore[import-not-found]
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    ValueType,
)
from feast.types import Bool, Float64, Int64, String  # type: ignore[import-not-found]

_WRITTEN_AT_ONCE = 10_000
_TYPES = {"int64": Int64, "float64": Float64, "bool": Bool}


def main(path: str) -> None:
    """Declare, and write."""
    rows = pd.read_parquet(path)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    view = FeatureView(
        name="profile",
        entities=[user],
        ttl=timedelta(days=36_500),
        schema=[
            Field(name=name, dtype=_TYPES.get(str(rows.dtypes[name]), String))
            for name in rows.columns
            if name not in {"user_id", "event_timestamp"}
        ],
        source=FileSource(path=path, timestamp_field="event_timestamp"),
    )
    store = FeatureStore(".")
    store.apply([user, view])
    for start in range(0, len(rows), _WRITTEN_AT_ONCE):
        store.write_to_online_store("profile", rows[start : start + _WRITTEN_AT_ONCE])


main(sys.argv[1])
