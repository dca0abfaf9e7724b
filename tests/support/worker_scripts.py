"""ETL scripts and rows for tests of the workers, and the ways to run them."""

import hashlib
import textwrap

import pyarrow as pa
import pytest

from featurestore.model.errors import FailedPrecondition
from services.extraction.worker_types import EtlCode, WorkerLimits
from services.extraction.workers import WorkerPool

SCHEMA = pa.schema(
    [
        ("user_id", pa.int64()),
        ("created", pa.timestamp("us")),
        ("bound", pa.timestamp("us")),
        ("failed", pa.int64()),
    ]
)
DAY = 86_400_000_000
ROWS = pa.table(
    {
        "user_id": [1, 1, 2, 3],
        "created": pa.array([0, DAY, 2 * DAY, 3 * DAY], pa.timestamp("us")),
        "bound": pa.array([DAY, None, 3 * DAY, None], pa.timestamp("us")),
        "failed": pa.array([2, None, 0, None], pa.int64()),
    },
    schema=SCHEMA,
)
BINDING = """
    from etl_abc import AbstractEtl

    class Etl(AbstractEtl):
        def extract(self):
            frame = self.df
            frame["creation_to_binding"] = frame["bound"] - frame["created"]
            frame["failed_twice"] = frame["failed"] * 2
            return frame[["user_id", "failed_twice", "creation_to_binding"]]
"""
CONTRACT = pa.schema(
    [("user_id", pa.int64()), ("failed_twice", pa.int64()), ("creation_to_binding", pa.duration("us"))]
)
LIMITS = WorkerLimits(workers=3, workers_per_etl=2, output_bytes=400 * 2**20)


def code(body, path="features/etl.py", class_name="Etl"):
    source = textwrap.dedent(body)
    return EtlCode(source, path, hashlib.sha256(source.encode()).hexdigest(), class_name)


def etl(*lines):
    """A script whose extract() consists of these lines; the first of them is line 5."""
    head = "import numpy as np, pandas as pd\nfrom featurestore.etl import AbstractEtl\n"
    body = "".join(f"        {line}\n" for line in lines)
    return code(f"{head}class Etl(AbstractEtl):\n    def extract(self):\n{body}")


ENDLESS = etl("while True: pass")


@pytest.fixture(scope="session")
async def pool():
    async with WorkerPool(LIMITS) as pool:
        yield pool


async def train(pool, script, table=ROWS, deadline_seconds=60):
    return await pool.run(
        script, [table], input_schema=table.schema, contract=None, deadline_seconds=deadline_seconds
    )


async def serve(pool, script, batches, contract=CONTRACT, deadline_seconds=60):
    return await pool.run(
        script, batches, input_schema=SCHEMA, contract=contract, deadline_seconds=deadline_seconds
    )


async def refused(pool, script, kind=FailedPrecondition, *, contract=None, table=ROWS, deadline_seconds=60):
    with pytest.raises(kind) as caught:
        await pool.run(
            script, [table], input_schema=table.schema, contract=contract, deadline_seconds=deadline_seconds
        )
    return caught.value
