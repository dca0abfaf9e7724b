"""However the rows are cut: an ETL by rows gives what one run over all gives, one by key what a loop over the keys gives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from featurestore.etl import wire
from featurestore.etl.answering import Answering
from featurestore.etl.packages import Guard
from featurestore.etl.script import Script
from featurestore.model.errors import FailedPrecondition
from services.extraction import checking
from services.extraction.bulk import EtlRows
from services.extraction.etl_inputs import EtlInputs, Inputs, KeyGroups
from services.extraction.worker_pool_errors import reported
from services.extraction.worker_types import EtlResult

SCHEMA = pa.schema(
    [("key", pa.int64()), ("part", pa.string()), ("amount", pa.float64()), ("price", pa.decimal128(10, 3))]
)
BY_ROWS = """
from decimal import Decimal
from featurestore.etl import AbstractEtl

class Etl(AbstractEtl):
    granularity = "rows"

    def extract(self):
        frame = self.df
        frame["more"] = frame["amount"] + frame["key"].astype("float64")
        frame["text"] = frame["part"].str.upper()
        frame["net"] = [None if p is None else (p / 2).normalize() for p in frame["price"]]
        return frame[frame["part"] != "gone"].drop(columns=["price"])
"""
BY_KEY = """
from featurestore.etl import AbstractEtl

class Etl(AbstractEtl):
    granularity = "key"

    def extract(self):
        frame = self.df
        prices = [price for price in frame["price"] if price is not None]
        frame["rank"] = range(len(frame))
        frame["share"] = frame["amount"] / frame["amount"].sum()
        frame["lowest"] = min(prices, default=None)
        frame["rows"] = len(frame) if len(frame) > 1 else None
        return frame.drop(columns=["price", "amount"]).head(3)
"""

VALUES = st.fixed_dictionaries(
    {
        "key": st.none() | st.integers(0, 4),
        "part": st.sampled_from([None, "a", "b", "gone"]),
        "amount": st.none() | st.integers(-80, 80).map(lambda n: n / 8),
        "price": st.none() | st.integers(-999, 999).map(lambda n: Decimal(n).scaleb(-3)),
    }
)
ROWS = st.lists(VALUES, max_size=40).map(lambda rows: pa.Table.from_pylist(rows, SCHEMA))
CUTS = st.lists(st.integers(1, 9), min_size=40, max_size=40)


def pieces(rows: pa.Table, cuts: list[int]) -> Iterator[pa.RecordBatch]:
    at = 0
    for count in cuts:
        if at < rows.num_rows:
            yield rows.slice(at, count).combine_chunks().to_batches()[0]
        at += count


class Pieces:
    """Stands for a query's open result."""

    done_share = None

    def __init__(self, rows: pa.Table, cuts: list[int]) -> None:
        self._batches = pieces(rows, cuts)

    async def next(self, convert: Callable[[pa.RecordBatch], Any] = lambda batch: batch) -> Any:
        batch = next(self._batches, None)
        return None if batch is None else convert(batch)

    async def close(self) -> None:
        self._batches = iter(())


class Batches(Pieces):
    """The inputs of an ETL by rows."""

    async def next(self, _: object = None) -> Inputs | None:
        batch = await super().next()
        return None if batch is None else [pa.Table.from_batches([batch])]


def running(text: str) -> Callable[[Inputs, pa.Schema | None], Awaitable[EtlResult]]:
    """A worker, in this process."""
    worker = Answering(sealed=False)
    worker._guard = Guard(())  # not installed: it would guard the imports of the tests too
    script = {"source": text, "path": "etl.py", "class_name": "Etl", "modules": {}}

    async def run(inputs: Inputs, contract: pa.Schema | None) -> EtlResult:
        counts, body = wire.encode_tables(inputs, inputs[0].schema)
        header = {
            "script": script,
            "modules_allowed": [],
            "contract": contract and wire.schema_to_text(contract),
            "batches": counts,
            "output_bytes": 10**9,
        }
        reply, tables = worker.answer(header, body)
        if "failed" in reply:
            raise reported(reply["failed"])
        _, stream = wire.encode_tables(tables, tables[0].schema)
        results, schema = checking.checked(reply, stream, len(inputs), contract)
        return EtlResult(results, schema, tuple(reply["undecided"]))

    return run


async def in_parts(text: str, inputs: Callable[[], EtlInputs]) -> pa.Table:
    async def opened() -> EtlInputs:
        return inputs()

    rows = await EtlRows.open(opened, running(text), input_schema=SCHEMA, contract=None, workers=2)
    found: list[pa.RecordBatch] = []
    while (batch := await rows.next(lambda batch: batch)) is not None:
        found.append(batch)
    return pa.Table.from_batches(found, rows.schema)


async def outcome(text: str, inputs: Callable[[], EtlInputs]) -> pa.Table | FailedPrecondition:
    try:
        return await in_parts(text, inputs)
    except FailedPrecondition as error:
        return error


def whole(text: str, rows: pa.Table, contract: pa.Schema | None = None) -> pa.Table:
    return Script(text, "etl.py", "Etl", {}, sealed=False).run(rows, contract)[0]


@given(ROWS, CUTS)
def test_by_rows_it_is_one_run_over_all_rows_or_the_column_is_named_whose_type_was_decided_too_early(
    rows, cuts
):
    wanted = whole(BY_ROWS, rows)
    found = asyncio.run(outcome(BY_ROWS, lambda: Batches(rows, cuts)))
    if isinstance(found, pa.Table):
        assert found.equals(wanted)
        return
    assert found.reason == "CONTRACT_BROKEN"
    assert "column 'net' is" in found.message
    first = whole(BY_ROWS, pa.Table.from_batches([next(pieces(rows, cuts))]))
    assert first.schema.field("net").type != wanted.schema.field("net").type


@given(ROWS, CUTS, st.sampled_from([("key",), ("part",), ("key", "part")]), st.integers(1, 5))
def test_by_key_it_is_a_loop_over_the_keys(rows, cuts, key, batch_keys):
    known = [row for row in rows.to_pylist() if all(row[name] is not None for name in key)]
    keys = sorted({tuple(row[name] for name in key) for row in known})
    groups = [[row for row in known if tuple(row[name] for name in key) == each] for each in keys]
    ordered = pa.Table.from_pylist([row for group in groups for row in group], SCHEMA)
    found = asyncio.run(in_parts(BY_KEY, lambda: KeyGroups(Pieces(ordered, cuts), key, batch_keys, 10**9)))
    looped = [
        whole(BY_KEY, pa.Table.from_pylist(group, SCHEMA), found.schema).to_pylist() for group in groups
    ]
    assert found.to_pylist() == [row for rows in looped for row in rows]
    if any(row["lowest"] is not None for row in found.to_pylist()):
        assert found.schema.field("lowest").type == pa.decimal128(38, 3)
