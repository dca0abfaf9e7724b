"""Both sides of some keys, read through the paths that callers use, and read again where a write came in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from featurestore.engine.key_values import check_key_columns
from featurestore.model.errors import FeatureStoreError
from featurestore.model.peers import Realtime
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import AnswerFormat, AnswerInfo, EtlRun, Keys
from featurestore.model.table import Version
from services.extraction.etl_runs import EtlRuns, served_batches
from services.extraction.follower import Follower
from services.extraction.training import QueryRows, whole_table
from services.extraction.verify_keys import KeyRows, rows_of_keys
from services.extraction.verify_sides import Served, Side, Trained, View, alike, in_halves, of_the_etl
from services.extraction.warehouse import Warehouse

_KEYS_PER_CALL = 100


@dataclass(frozen=True, slots=True)
class Subject:
    """What is verified.

    Attributes:
        etl: None to verify the query alone.
    """

    query_id: str
    form: QueryForm
    etl: EtlRun | None
    index_key: tuple[str, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The index key's columns."""
        return check_key_columns(self.form, self.index_key)


class Reading:
    """Reads what training and serving have for keys."""

    def __init__(
        self,
        realtime: Realtime,
        follower: Follower,
        warehouse: Warehouse,
        etls: EtlRuns,
        max_etl_input_bytes: int,
    ) -> None:
        self._realtime = realtime
        self._follower = follower
        self._warehouse = warehouse
        self._etls = etls
        self._max_etl_input_bytes = max_etl_input_bytes

    async def views(
        self, subject: Subject, keys: pa.Table, remarks: list[str], *, exact: bool
    ) -> tuple[list[View | None], Version]:
        """Both sides of each key, and the lowest version that they show.

        A key whose rows differ is looked at again, for it may have been written between the two reads: serving is
        asked before and after training is. One whose rows agree is the ETL's matter alone, whatever is written.

        Returns:
            Per key None when it was written again meanwhile.
        """
        served, version = await self._serve(subject, keys, remarks)
        await self._follower.wait_until(version)
        trained = await self._train(subject, keys, remarks)
        views: list[View | None] = [View(*each) for each in zip(trained, served, strict=True)]
        doubtful = [
            at for at in range(keys.num_rows) if not alike(trained[at].rows, served[at].rows, exact=exact)
        ]
        if doubtful:
            before = [trained[at] for at in doubtful]
            again = await self._look_again(
                subject, keys.take(pa.array(doubtful)), before, remarks, exact=exact
            )
            for at, view in zip(doubtful, again, strict=True):
                views[at] = view
        return views, version

    async def _look_again(
        self,
        subject: Subject,
        keys: pa.Table,
        trained_before: Sequence[Trained],
        remarks: list[str],
        *,
        exact: bool,
    ) -> list[View | None]:
        start = await self._realtime.version()
        served_before, version = await self._serve(subject, keys, remarks)
        await self._follower.wait_until(version)
        trained_now = await self._train(subject, keys, remarks)
        served_after, _ = await self._serve(subject, keys, remarks)
        at_rest = await self._realtime.version() == start

        def view(earlier: Trained, trained: Trained, served: Served, after: Served) -> View | None:
            for each in (served, after):
                if alike(trained.rows, each.rows, exact=exact):
                    return View(trained, each)
            serving_steady = alike(served.rows, after.rows, exact=exact)
            if not serving_steady and not at_rest:
                return None
            return View(
                trained, served, steady=serving_steady and alike(earlier.rows, trained.rows, exact=exact)
            )

        return list(map(view, trained_before, trained_now, served_before, served_after))

    async def _serve(
        self, subject: Subject, keys: pa.Table, remarks: list[str]
    ) -> tuple[list[Served], Version]:
        """The served answer of each key, and the lowest data version among them."""
        tuples = [tuple(row.values()) for row in keys.to_pylist()]
        versions: list[Version] = []

        async def ask(part: Sequence[tuple[object, ...]]) -> list[Served]:
            asked = Keys(subject.index_key, tuple(part))
            answer = await self._realtime.query(subject.query_id, subject.form, asked, AnswerFormat.ARROW)
            versions.append(answer.info.data_version)
            rows = [pa.Table.from_batches([each]) for each in served_batches(answer, subject.form.schema)]
            if subject.etl is None:
                return [Served(each, each) for each in rows]
            try:
                features = await self._etls.serve(subject.etl, answer, AnswerFormat.ARROW)
            except FeatureStoreError as error:
                if len(rows) > 1 or not of_the_etl(error):
                    raise
                return [Served(rows[0], error)]
            remarks.extend(library_remarks(features.info))
            batches = served_batches(features, subject.etl.contract)
            tables = [pa.Table.from_batches([each]) for each in batches]
            return [Served(*each) for each in zip(rows, tables, strict=True)]

        served: list[Served] = []
        for at in range(0, len(tuples), _KEYS_PER_CALL):
            part = tuples[at : at + _KEYS_PER_CALL]
            served += await in_halves(part, ask, lambda error: Served(error, error))
        lowest = min(versions, key=lambda version: version.sequence, default=None)
        return served, lowest or await self._realtime.version()

    async def _train(self, subject: Subject, keys: pa.Table, remarks: list[str]) -> list[Trained]:
        """What training shows for each key, filtered in Arrow: neither side's SQL filters here."""
        etl = subject.etl
        if etl is None:
            return [Trained(each, each) for each in await self._rows(subject, keys)]
        if etl.script.declared.granularity == "key":  # training runs it so too
            inputs = await self._rows(subject, keys)
        elif all(_has_column(etl.contract, keys.schema.field(name)) for name in subject.index_key):
            code, script = await self._etls.code(etl, pin=False)
            everything = await whole_table(self._warehouse, subject.form, self._max_etl_input_bytes)
            inputs = await asyncio.to_thread(rows_of_keys, everything, keys)
            try:
                trained = await self._etls.train(code, script, everything, etl.contract, pin=False)
            except FeatureStoreError as error:
                if not of_the_etl(error):
                    raise
                remarks.append(
                    f"the ETL failed over all training rows ({error}): it was run on each key's rows alone"
                )
            else:
                features = await asyncio.to_thread(rows_of_keys, trained.table, keys)
                return [Trained(*each, whole=True) for each in zip(inputs, features, strict=True)]
        else:
            remarks.append(
                f"the ETL's result lacks the index key ({', '.join(subject.index_key)}): training is the ETL "
                "on each key's training rows, so that a dependence on other keys' rows can't be seen"
            )
            inputs = await self._rows(subject, keys)
        return [Trained(*each) for each in zip(inputs, await self._alone(etl, inputs), strict=True)]

    async def _alone(self, etl: EtlRun, inputs: Sequence[pa.Table]) -> list[Side]:
        async def run(part: Sequence[pa.Table]) -> list[Side]:
            return list(await self._etls.tables(etl, part))

        found: list[Side] = []
        for at in range(0, len(inputs), _KEYS_PER_CALL):
            found += await in_halves(inputs[at : at + _KEYS_PER_CALL], run, lambda error: error)
        return found

    async def _rows(self, subject: Subject, keys: pa.Table) -> list[pa.Table]:
        collected = KeyRows(keys, subject.form.schema)
        rows = await QueryRows.open(self._warehouse, subject.form)
        await rows.drain(collected.add)
        return await asyncio.to_thread(collected.tables)


def library_remarks(info: AnswerInfo) -> list[str]:
    """What a report says of an ETL that is not served with the libraries that it was saved with."""
    others = ", ".join(map(str, info.library_differences))
    return [f"the ETL is served with other libraries than it was saved with: {others}"] if others else []


def _has_column(contract: pa.Schema, wanted: pa.Field) -> bool:
    return wanted.name in contract.names and contract.field(wanted.name).type == wanted.type
