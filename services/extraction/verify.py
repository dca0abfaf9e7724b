"""Verify: does a key's served answer hold the rows that training shows for it? Asked and compared, key by key."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import pyarrow as pa

from featurestore.engine import compare
from featurestore.engine.key_values import check_key_columns
from featurestore.model.errors import FeatureStoreError, InvalidArgument
from featurestore.model.peers import Realtime
from featurestore.model.query import Column, QueryForm
from featurestore.model.serving import AnswerFormat, AnswerInfo, Difference, EtlRun, Keys, VerifyReport
from featurestore.model.table import Version
from services.extraction.etl_runs import EtlRuns, served_batches
from services.extraction.follower import Follower
from services.extraction.training import QueryRows, whole_table
from services.extraction.verify_keys import KeyRows, KeySample, distinct, made_up, rows_of_keys
from services.extraction.warehouse import Warehouse

MAX_SAMPLE = 10_000
_DIFFERENCES = 100
_KEYS_PER_CALL = 100
_EXTRA_SHARE = 10  # one key from realtime, and one that nobody has, for so many from training

In = TypeVar("In")
Side: TypeAlias = pa.Table | FeatureStoreError
"""What one side has for a key: its rows, or why it could give none."""


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
    def columns(self) -> list[Column]:
        """The index key's columns."""
        return [column for name in self.index_key for column in self.form.columns if column.name == name]


@dataclass(frozen=True, slots=True)
class _Round:
    """Both sides of some keys, training read at a version at least that of the served answers."""

    served: list[Side]
    trained: list[Side]
    version: Version


class Verifier:
    """Compares training with serving through the paths that callers use."""

    def __init__(
        self,
        realtime: Realtime,
        follower: Follower,
        warehouse: Warehouse,
        etls: EtlRuns,
        *,
        max_etl_input_bytes: int,
        seed: int | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            seed: of the sample; None for another sample each time.
        """
        self._realtime = realtime
        self._follower = follower
        self._warehouse = warehouse
        self._etls = etls
        self._max_etl_input_bytes = max_etl_input_bytes
        self._seed = seed

    async def verify(self, subject: Subject, sample: int) -> VerifyReport:
        """See `peers.Extraction.verify`."""
        check(subject, sample)
        began = await self._follower.wait_until(await self._realtime.version())
        keys = await self._choose(subject, sample)
        if not keys.num_rows:
            why = "training and realtime show no row with an index key: there is nothing to compare"
            return VerifyReport(0, 0, 0, (), began, (why,))
        remarks: list[str] = []
        first = await self._round(subject, keys, remarks)
        doubtful = [at for at in range(keys.num_rows) if _differ(first.trained[at], first.served[at])]
        skipped = 0
        found: list[Difference] = []
        different = 0
        if doubtful:
            again = keys.take(pa.array(doubtful))
            trained_before = [first.trained[at] for at in doubtful]
            for key, verdict in zip(
                _printed(again), await self._look_again(subject, again, trained_before, remarks), strict=True
            ):
                if verdict is None:
                    skipped += 1
                elif verdict:
                    different += 1
                    found += [
                        Difference(key, each.column, each.trained, each.served, cause)
                        for each, cause in verdict
                    ]
        checked = keys.num_rows - skipped
        return VerifyReport(
            checked=checked,
            agreed=checked - different,
            skipped=skipped,
            differences=tuple(found[:_DIFFERENCES]),
            version=first.version,
            remarks=tuple(dict.fromkeys(remarks)),
        )

    async def _choose(self, subject: Subject, sample: int) -> pa.Table:
        """Keys from training, from realtime, and some that nobody has; none at all when there is no data."""
        seed = self._seed if self._seed is not None else random.SystemRandom().getrandbits(32)
        chosen = KeySample(subject.columns, sample, seed)
        rows = await QueryRows.open(self._warehouse, subject.form)
        await rows.drain(chosen.add)
        trained = chosen.keys()
        extra = max(1, sample // _EXTRA_SHARE)
        hot = await self._realtime.sample_keys(subject.form, subject.index_key, sample + extra)
        hot = hot.select(list(subject.index_key)).cast(trained.schema)
        known = distinct(pa.concat_tables([trained, hot])).slice(0, trained.num_rows + extra)
        if not known.num_rows:
            return known
        return distinct(pa.concat_tables([known, made_up(subject.columns, extra, seed)]))

    async def _round(self, subject: Subject, keys: pa.Table, remarks: list[str]) -> _Round:
        served, version = await self._serve(subject, keys, remarks)
        await self._follower.wait_until(version)
        return _Round(served, await self._train(subject, keys, remarks), version)

    async def _look_again(
        self, subject: Subject, keys: pa.Table, trained_before: Sequence[Side], remarks: list[str]
    ) -> list[list[tuple[compare.Mismatch, str]] | None]:
        """A second look at keys that differed, for they may have been written between the two reads.

        Serves before and after reading training.

        Returns:
            Per key None when it was written again meanwhile, else what differs and the cause; [] if nothing does.
        """
        start = await self._realtime.version()
        second = await self._round(subject, keys, remarks)
        served_after, _ = await self._serve(subject, keys, remarks)
        at_rest = await self._realtime.version() == start
        verdicts: list[list[tuple[compare.Mismatch, str]] | None] = []
        for before, trained, served, after in zip(
            trained_before, second.trained, second.served, served_after, strict=True
        ):
            if not _differ(trained, served) or not _differ(trained, after):
                verdicts.append([])
                continue
            serving_steady = _alike(served, after)
            if not serving_steady and not at_rest:
                verdicts.append(None)
                continue
            steady = serving_steady and _alike(before, trained)
            verdicts.append(
                [(each, cause if steady else "UNKNOWN") for each, cause in _explained(trained, served)]
            )
        return verdicts

    async def _serve(
        self, subject: Subject, keys: pa.Table, remarks: list[str]
    ) -> tuple[list[Side], Version]:
        """The served answer of each key, and the lowest data version among them."""
        tuples = [tuple(row.values()) for row in keys.to_pylist()]
        versions: list[Version] = []

        async def ask(part: Sequence[tuple[object, ...]]) -> list[pa.Table]:
            asked = Keys(subject.index_key, tuple(part))
            answer = await self._realtime.query(subject.query_id, subject.form, asked, AnswerFormat.ARROW)
            schema = subject.form.schema
            if subject.etl is not None:
                answer = await self._etls.serve(subject.etl, answer, AnswerFormat.ARROW)
                schema = subject.etl.contract
            remarks.extend(library_remarks(answer.info))
            versions.append(answer.info.data_version)
            return [pa.Table.from_batches([batch]) for batch in served_batches(answer, schema)]

        served: list[Side] = []
        for at in range(0, len(tuples), _KEYS_PER_CALL):
            served += await _in_halves(tuples[at : at + _KEYS_PER_CALL], ask)
        lowest = min(versions, key=lambda version: version.sequence, default=None)
        return served, lowest or await self._realtime.version()

    async def _train(self, subject: Subject, keys: pa.Table, remarks: list[str]) -> list[Side]:
        """What training shows for each key, filtered in Arrow: neither side's SQL filters here."""
        etl = subject.etl
        if etl is None:
            return list(await self._rows(subject, keys))
        if all(_has_column(etl.contract, keys.schema.field(name)) for name in subject.index_key):
            code, script = await self._etls.code(etl, pin=False)
            rows = await whole_table(self._warehouse, subject.form, self._max_etl_input_bytes)
            try:
                trained = await self._etls.train(code, script, rows, etl.contract, pin=False)
            except FeatureStoreError as error:
                if not _of_the_etl(error):
                    raise
                remarks.append(
                    f"the ETL failed over all training rows ({error}): it was run on each key's rows alone"
                )
            else:
                return list(await asyncio.to_thread(rows_of_keys, trained.table, keys))
        else:
            remarks.append(
                f"the ETL's result lacks the index key ({', '.join(subject.index_key)}): training is the ETL "
                "on each key's training rows"
            )
        inputs = await self._rows(subject, keys)
        found: list[Side] = []
        for at in range(0, len(inputs), _KEYS_PER_CALL):
            part = inputs[at : at + _KEYS_PER_CALL]
            found += await _in_halves(part, lambda tables: self._etls.tables(etl, tables))
        return found

    async def _rows(self, subject: Subject, keys: pa.Table) -> list[pa.Table]:
        collected = KeyRows(keys, subject.form.schema)
        rows = await QueryRows.open(self._warehouse, subject.form)
        await rows.drain(collected.add)
        return await asyncio.to_thread(collected.tables)


def check(subject: Subject, sample: int) -> None:
    """Refuse what can't be verified.

    Raises:
        InvalidArgument: `BAD_SAMPLE`, `UNKNOWN_KEY_COLUMN`, `KEY_COLUMN_TWICE`, `KEY_TYPE`.
    """
    if not 1 <= sample <= MAX_SAMPLE:
        raise InvalidArgument(
            "BAD_SAMPLE", f"sample is {sample}: give 1 to {MAX_SAMPLE} keys", field="sample", sample=sample
        )
    check_key_columns(subject.form, subject.index_key)


async def _in_halves(
    items: Sequence[In], work: Callable[[Sequence[In]], Awaitable[list[pa.Table]]]
) -> list[Side]:
    """Work on all items at once, or, where that can't be, on halves: an item that fails alone has failed."""
    try:
        return list(await work(items))
    except FeatureStoreError as error:
        if not _of_the_etl(error) and error.reason != "ANSWER_TOO_LARGE":
            raise
        if len(items) == 1:
            return [error]
    half = len(items) // 2
    return [*await _in_halves(items[:half], work), *await _in_halves(items[half:], work)]


def library_remarks(info: AnswerInfo) -> list[str]:
    """What a report says of an ETL that is not served with the libraries that it was saved with."""
    others = ", ".join(map(str, info.library_differences))
    return [f"the ETL is served with other libraries than it was saved with: {others}"] if others else []


def _of_the_etl(error: FeatureStoreError) -> bool:
    """Whether the script or its result is at fault, and not something between us and it."""
    return error.reason == "CONTRACT_BROKEN" or (
        error.reason.startswith("ETL_") and error.reason not in {"ETL_BUSY", "ETL_SOURCE", "ETL_UNSEALED"}
    )


def _has_column(contract: pa.Schema, wanted: pa.Field) -> bool:
    return wanted.name in contract.names and contract.field(wanted.name).type == wanted.type


def _differ(trained: Side, served: Side) -> bool:
    return bool(_explained(trained, served))


def _alike(earlier: Side, later: Side) -> bool:
    """Whether one side shows the same at two times: the same rows, or the same failure."""
    if isinstance(earlier, FeatureStoreError) and isinstance(later, FeatureStoreError):
        return earlier.reason == later.reason
    return not _differ(earlier, later)


def _explained(trained: Side, served: Side) -> list[tuple[compare.Mismatch, str]]:
    """What differs, each with its cause."""
    if isinstance(trained, FeatureStoreError) or isinstance(served, FeatureStoreError):
        mismatch = compare.Mismatch("", _outcome(trained), _outcome(served))
        errors = [side.reason for side in (trained, served) if isinstance(side, FeatureStoreError)]
        return [(mismatch, "CONTRACT" if "CONTRACT_BROKEN" in errors else "UNKNOWN")]
    if trained.schema != served.schema:
        return [
            (compare.Mismatch(name, _type(trained, name), _type(served, name)), "CONTRACT")
            for name in dict.fromkeys([*trained.column_names, *served.column_names])
            if _type(trained, name) != _type(served, name)
        ] or [(compare.Mismatch("", str(trained.column_names), str(served.column_names)), "CONTRACT")]
    return [(mismatch, "DATA_DIFFERS") for mismatch in compare.differences(trained, served)]


def _outcome(side: Side) -> str:
    return str(side) if isinstance(side, FeatureStoreError) else f"{side.num_rows} rows"


def _type(table: pa.Table, name: str) -> str:
    return str(table.schema.field(name).type) if name in table.column_names else ""


def _printed(keys: pa.Table) -> list[str]:
    """The keys as people write them: one value, or all of a composite key."""
    rows = [list(map(str, row.values())) for row in keys.to_pylist()]
    return [row[0] if len(row) == 1 else f"({', '.join(row)})" for row in rows]
