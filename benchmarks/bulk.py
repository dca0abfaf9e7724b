"""Training an ETL by rows on many rows: the store's way, from the call to the last row, beside the script in process.

The script runs in this process on the same batches, which it has in memory; the store computes them out of the
warehouse, sends them through its workers, and delivers the result to the client, which spools and reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import featurestore
from benchmarks import blocks
from benchmarks.blocks import Rounds
from benchmarks.results import Figure, Part, at_least
from featurestore.etl.script import Script

ROUNDS = 5
BATCH_ROWS = 2**17
_PUBLISH_ROWS = 250_000
_SQL = "SELECT * FROM feature_store.visits"
_SCRIPT = '''
import numpy as np
from featurestore.etl import AbstractEtl

class Etl(AbstractEtl):
    """What people do with a time, some amounts and a text."""

    granularity = "rows"

    def extract(self):
        frame = self.df
        at = frame["at"]
        address = frame["address"].str.lower()
        features = frame[["visit_id"]].copy()
        features["evening"] = at.dt.hour >= 18
        features["weekend"] = at.dt.dayofweek >= 5
        features["age_days"] = (np.datetime64("2030-01-01") - at).dt.total_seconds() / 86_400
        features["log_amount"] = np.log1p(frame["amount"].clip(lower=0))
        features["per_item"] = frame["amount"] / frame["items"]
        features["host"] = address.str.split("@").str[1]
        features["number"] = address.str.extract(r"(\\d+)", expand=False).str.len()
        return features
'''


def part(folder: Path, rows: int) -> Part:
    """Both, and how they compare."""
    found = measure(folder, rows)
    group = f"{rows:,} rows through an ETL by rows"
    return Part(
        rows=[
            at_least(
                "training an ETL by rows: rows a second, ours / the script in process on one core",
                found.each(lambda ours, script: script / ours, "ours", "script"),
                1.6,
            )
        ],
        figures=[
            Figure(group, name, "rows a second", found.each(lambda ms: rows / ms * 1_000, name))
            for name in ("ours", "script")
        ],
        notes=["Ours computes the rows in each round and delivers them; the script has them in memory."],
    )


def measure(folder: Path, rows: int, rounds: int = ROUNDS) -> Rounds:
    """Rounds of `ours` and `script`, milliseconds for all rows."""
    path = folder / "etl.py"
    path.write_text(_SCRIPT)
    pa.set_cpu_count(1)
    with featurestore.local(folder / "store") as store:
        for piece in visits(rows):
            store.publish("visits", piece)
        query = store.query_train(_SQL, save=True).query_id
        batches = [
            pa.Table.from_batches([batch])
            for batch in store.query_train(_SQL)
            .to_arrow()
            .combine_chunks()
            .to_batches(max_chunksize=BATCH_ROWS)
        ]
        script = Script(_SCRIPT, str(path), "Etl", {}, sealed=False)
        contract, _ = script.run(batches[0], None)

        def ours() -> None:
            trained = store.extract_train(query, str(path), progress=False)
            _all(sum(batch.num_rows for batch in trained), rows)

        def in_process() -> None:
            _all(sum(script.run(batch, contract.schema)[0].num_rows for batch in batches), rows)

        return blocks.rounds({"ours": (ours, 1), "script": (in_process, 1)}, rounds)


def visits(count: int) -> Iterator[pa.Table]:
    """Rows of some 60 bytes, in pieces."""
    for start in range(0, count, _PUBLISH_ROWS):
        draw = np.random.default_rng(start)
        rows = min(_PUBLISH_ROWS, count - start)
        numbers = pa.array(draw.integers(10**5, 10**6, rows)).cast(pa.string())
        yield pa.table(
            {
                "visit_id": np.arange(start, start + rows),
                "at": pa.array(draw.integers(0, 2**50, rows)).cast(pa.timestamp("us")),
                "amount": draw.integers(-100, 10_000, rows) / 8,
                "items": draw.integers(1, 9, rows),
                "address": pc.binary_join_element_wise("User", numbers, "@example.com", ""),
            }
        )


def _all(found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"{found} rows came where {wanted} were expected")
