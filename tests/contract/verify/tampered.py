"""Realtime that serves something else than it holds, and ETLs to be verified against it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pyarrow as pa

from featurestore.model.etl import EtlSource
from featurestore.model.query import QueryForm
from featurestore.model.serving import Answer, AnswerFormat, EtlRun, Keys
from featurestore.model.table import Version
from featurestore.model.verifying import VerifyReport
from services.realtime.realtime import RealtimeService
from tests.contract.test_extraction_etls import Repository
from tests.support.realtime_rows import new_id

SCHEMA = pa.schema(
    [("user_id", pa.int64()), ("day", pa.date32()), ("kind", pa.string()), ("amount", pa.float64())]
)
EVENTS = "feature_store.events"
SQL = f"SELECT * FROM {EVENTS}"
USERS = 40

PER_KEY = """
import pandas as pd
from featurestore.etl import AbstractEtl

class Etl(AbstractEtl):
    def extract(self):
        return pd.DataFrame({"total": [self.df["amount"].sum()], "rows": [len(self.df)]})
"""


class Tampered:
    """Realtime with another `query`: what it serves goes through `tamper`, and `after` runs last."""

    def __init__(self, realtime: RealtimeService) -> None:
        self._realtime = realtime
        self.asked: list[tuple[object, ...]] = []
        self.tamper: Callable[[tuple[object, ...], pa.RecordBatch], pa.RecordBatch] = lambda _, batch: batch
        self.after: Callable[[], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._realtime, name)

    async def query(self, query_id: str, form: QueryForm, keys: Keys, answer_format: AnswerFormat) -> Answer:
        self.asked += keys.tuples
        answer = await self._realtime.query(query_id, form, keys, answer_format)
        with pa.ipc.open_stream(answer.payload) as stream:
            batches = [self.tamper(key, batch) for key, batch in zip(keys.tuples, stream, strict=True)]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        counted = tuple(
            replace(key, row_count=each.num_rows) for key, each in zip(answer.keys, batches, strict=True)
        )
        if self.after is not None:
            await self.after()
        return replace(answer, keys=counted, payload=bytes(sink.getvalue()))


def train_on_all(
    extraction, realtime: Tampered, before: Callable[[], Awaitable[object]] | None = None
) -> None:
    """Let training see all that realtime holds when it starts, after `before`."""
    wait_until = extraction._follower.wait_until

    async def wait_for_all(_version: Version) -> Version:
        if before is not None:
            await before()
        return await wait_until(await realtime.version())

    extraction._follower.wait_until = wait_for_all


async def form_of(realtime: Tampered, sql: str = SQL) -> QueryForm:
    return QueryForm(sql, await realtime.describe(sql))


async def verify(extraction, realtime, *, sql=SQL, key=("user_id",), sample=20, etl=None) -> VerifyReport:
    return await extraction.verify("qry_x", await form_of(realtime, sql), etl, key, sample)


async def saved(extraction, realtime, tmp_path, text: str, sql: str = SQL, *, index_key=()) -> EtlRun:
    repository = Repository(tmp_path / f"repository-{new_id()}")
    repository.commit(text)
    form = await form_of(realtime, sql)
    source = EtlSource(address=f"git+file://{repository.folder}#etl.py")
    stream = await extraction.extract_train(
        form, await realtime.version(), source, pin=True, index_key=index_key
    )
    return EtlRun("etl_x", "qry_x", stream.script, form.columns, stream.head.schema)
