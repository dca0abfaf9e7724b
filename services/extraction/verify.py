"""Verify: does a key's served answer hold the rows that training shows for it, and if not, why? Compared key by key."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pyarrow as pa

from featurestore.engine.compare import Floats, Mismatch
from featurestore.engine.key_values import check_key_columns
from featurestore.engine.sql_check import parse
from featurestore.model.errors import FeatureStoreError, InvalidArgument
from featurestore.model.peers import Realtime
from featurestore.model.query import QueryForm
from featurestore.model.verifying import Cause, Difference, VerifyReport
from services.extraction.etl_runs import EtlRuns
from services.extraction.follower import Follower
from services.extraction.training import QueryRows
from services.extraction.verify_causes import Causes, Suspect
from services.extraction.verify_choice import KeyChoice
from services.extraction.verify_keys import distinct, made_up
from services.extraction.verify_reading import Reading, Subject
from services.extraction.verify_sides import View, compare_sides
from services.extraction.warehouse import Warehouse

MAX_SAMPLE = 10_000
_DIFFERENCES = 100
_PROBED = 10  # keys that agree and whose ETL is run under other conditions all the same
_EXTRA_SHARE = 10  # one key from realtime, and one that nobody has, for so many from training

_Explained = Sequence[tuple[Mismatch, Cause]]


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
        self._reading = Reading(realtime, follower, warehouse, etls, max_etl_input_bytes)
        self._seed = seed

    async def verify(self, subject: Subject, sample: int, *, exact: bool) -> VerifyReport:
        """See `peers.Extraction.verify`."""
        check(subject, sample)
        began = await self._follower.wait_until(await self._realtime.version())
        keys = await self._choose(subject, sample)
        if not keys.num_rows:
            why = "training and realtime show no row with an index key: there is nothing to compare"
            return VerifyReport(0, 0, 0, (), began, (why,), exact)
        remarks: list[str] = []
        views, version = await self._reading.views(subject, keys, remarks, exact=exact)
        floats = Floats()
        mismatches: dict[int, list[Mismatch]] = {}  # of the features of keys whose rows agree
        found: dict[int, _Explained] = {}
        for at, view in enumerate(views):
            if view is None:
                continue
            rows = compare_sides(view.trained.rows, view.served.rows, exact=exact)
            if rows.mismatches:
                cause = await _cause_in_data(subject.form, view)
                found[at] = [(each, cause) for each in rows.mismatches]
                floats.add(rows.floats)
            elif subject.etl is None:
                floats.add(rows.floats)
            else:
                features = compare_sides(view.trained.features, view.served.features, exact=exact)
                mismatches[at] = features.mismatches
                floats.add(features.floats)
        if subject.etl is not None:
            causes = Causes(self._etls, subject.etl, subject.form.order, exact=exact)
            found |= await _explained(causes, views, mismatches, remarks)
        checked = sum(view is not None for view in views)
        printed = _printed(keys)
        differences = [
            Difference(printed[at], each.column, each.trained, each.served, cause)
            for at in sorted(found)
            for each, cause in found[at]
        ]
        return VerifyReport(
            checked=checked,
            agreed=checked - len(found),
            skipped=keys.num_rows - checked,
            differences=tuple(differences[:_DIFFERENCES]),
            version=version,
            remarks=tuple(dict.fromkeys(remarks)),
            exact=exact,
            float_values=floats.values,
            float_values_bitwise_equal=floats.bitwise,
            largest_error=floats.largest_error,
        )

    async def _choose(self, subject: Subject, sample: int) -> pa.Table:
        """Keys from training, from realtime, and some that nobody has; none at all when there is no data."""
        head = await QueryRows.open(self._warehouse, subject.form, head_only=True)  # it is as it was saved
        await head.close()
        seed = self._seed if self._seed is not None else random.SystemRandom().getrandbits(32)
        chosen = KeyChoice(subject.form, subject.index_key, sample, seed)
        rows = await QueryRows.open(self._warehouse, chosen.form)
        await rows.drain(chosen.add)
        trained = chosen.keys()
        extra = max(1, sample // _EXTRA_SHARE)
        hot = await self._realtime.sample_keys(subject.form, subject.index_key, trained.num_rows + extra)
        hot = hot.select(list(subject.index_key)).cast(trained.schema)
        known = distinct(pa.concat_tables([trained, hot])).slice(0, trained.num_rows + extra)
        if not known.num_rows:
            return known
        return distinct(pa.concat_tables([known, made_up(subject.columns, extra, seed)]))


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


async def _explained(
    causes: Causes, views: Sequence[View | None], mismatches: dict[int, list[Mismatch]], remarks: list[str]
) -> dict[int, _Explained]:
    """What differs in the ETL's features, with its cause, by position of the key.

    Looked at are those that the report has room for, and some that agree: what a script makes of the clock or of an order
    that nobody promises may show at another time only. Of the others it is known that they differ.
    """
    told = 0
    suspects: dict[int, Suspect] = {}
    agreeing = 0
    for at, each in mismatches.items():
        view = views[at]
        if view is None:
            continue
        if each and told < _DIFFERENCES:
            told += len(each)
        elif not each and view.trained.rows.num_rows and agreeing < _PROBED:
            agreeing += 1
        else:
            continue
        suspects[at] = Suspect(view.trained.rows, view.served.features, each, view.trained.whole)
    explained = await causes.explain(list(suspects.values()), remarks)
    found: dict[int, _Explained] = {at: () for at, each in mismatches.items() if each}
    return found | {at: each for at, each in zip(suspects, explained, strict=True) if each}


async def _cause_in_data(form: QueryForm, view: View) -> Cause:
    """Why the query's rows differ."""
    if isinstance(view.served.rows, FeatureStoreError):
        return Cause.UNKNOWN
    found = await asyncio.to_thread(parse, form.sql)
    if any(each.reason == "UNDETERMINED" for each in found.warnings):
        return Cause.ORDER_DEPENDENT
    if found.uses_clock:
        return Cause.TIME_DEPENDENT
    return Cause.DATA_DIFFERS if view.steady else Cause.UNKNOWN


def _printed(keys: pa.Table) -> list[str]:
    """The keys as people write them: one value, or all of a composite key."""
    rows = [list(map(str, row.values())) for row in keys.to_pylist()]
    return [row[0] if len(row) == 1 else f"({', '.join(row)})" for row in rows]
