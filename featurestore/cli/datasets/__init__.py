"""What the demo shows: a query and an ETL per data set, as files that a reader can open."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class DemoTexts:
    """A data set's query and ETL.

    Attributes:
        query: SQL, as `query_train` takes it.
        etl: the text of an ETL script.
        index_key: the column that both are served by.
    """

    query: str
    etl: str
    index_key: str


_INDEX_KEYS = {"insurance": "user_id", "flights": "tailnum"}
DATASETS = tuple(_INDEX_KEYS)


def demo_texts(dataset: str) -> DemoTexts:
    """The texts of a data set: `insurance` or `flights`."""
    folder = resources.files(__name__) / dataset
    return DemoTexts(
        (folder / "query.sql").read_text(), (folder / "etl.py").read_text(), _INDEX_KEYS[dataset]
    )
