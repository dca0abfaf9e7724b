"""Run by Feast's own Python, in its repository: declares one view of six features, two of what is made of them on demand, and writes a file of rows online."""

import sys
from datetime import timedelta
from typing import Any

import pandas as pd
from feast import (  # type: ignore[import-not-found]
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    ValueType,
)
from feast.on_demand_feature_view import on_demand_feature_view  # type: ignore[import-not-found]
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
    made = [
        Field(name="tries_per_visit", dtype=Float64),
        Field(name="weighted", dtype=Float64),
        Field(name="rich", dtype=Bool),
    ]

    @on_demand_feature_view(sources=[view], schema=made, mode="pandas")  # type: ignore[untyped-decorator]
    def made_by_pandas(df: pd.DataFrame) -> pd.DataFrame:
        result = pd.DataFrame()
        result["tries_per_visit"] = df["tries"] / (df["visits"] + 1)
        result["weighted"] = df["balance"] * df["score"]
        result["rich"] = df["balance"] > 500
        return result

    @on_demand_feature_view(sources=[view], schema=made, mode="python")  # type: ignore[untyped-decorator]
    def made_by_python(inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            "tries_per_visit": [
                tries / (visits + 1) for tries, visits in zip(inputs["tries"], inputs["visits"], strict=True)
            ],
            "weighted": [
                balance * score for balance, score in zip(inputs["balance"], inputs["score"], strict=True)
            ],
            "rich": [balance > 500 for balance in inputs["balance"]],
        }

    store = FeatureStore(".")
    store.apply([user, view, made_by_pandas, made_by_python])
    for start in range(0, len(rows), _WRITTEN_AT_ONCE):
        store.write_to_online_store("profile", rows[start : start + _WRITTEN_AT_ONCE])


main(sys.argv[1])
