"""Why an ETL's features differ between training and serving: it is run on a key's rows under other conditions.

Each condition changes one thing and leaves the rest: another run, another time, another order of the rows. A column that
changes with it depends on it. What depends on none of these and still differs is a matter of the other keys' rows: then
the ETL, run on the key's training rows alone, gives what is served.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.engine.compare import RELATIVE_TOLERANCE, Mismatch
from featurestore.model.errors import DeadlineExceeded, FeatureStoreError
from featurestore.model.query import OrderTerm
from featurestore.model.serving import EtlRun
from featurestore.model.verifying import Cause
from services.extraction.etl_runs import EtlRuns
from services.extraction.verify_sides import BROKEN, Side, alike, compare_sides, in_halves

_RUNS = 3  # on the same rows, in the same process, at the same time
_DAY = 86_400.0
_FAR = (
    400 * _DAY + 26_473.0
)  # another year, month, weekday, day and hour: a clock may be read for any of them
_MOST_BYTES = 64 * 2**20  # of rows that a script is run on in each condition
_LIMITS = frozenset({"ETL_TIMEOUT", "ETL_MEMORY", "ETL_OUTPUT", "ETL_CRASH"})
_CONDITIONS = (Cause.RANDOM, Cause.TIME_DEPENDENT, Cause.ORDER_DEPENDENT)

Changes = dict[Cause, dict[int, list[Mismatch]]]
"""What changed under each condition, by position of the suspect."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A key whose rows are the same on both sides.

    Attributes:
        rows: the query's, in training's order.
        served: what was made of them in serving.
        mismatches: of the features.
        whole: training ran over all keys' rows at once.
    """

    rows: pa.Table
    served: Side
    mismatches: Sequence[Mismatch]
    whole: bool


@dataclass(slots=True)
class _Shown:
    """What the runs showed.

    Attributes:
        alone: what the script made of a suspect's rows alone.
        changes: compared as training and serving were.
        clear: those that are no matter of the last bits.
    """

    alone: dict[int, Side] = field(default_factory=dict)
    changes: Changes = field(default_factory=lambda: {cause: {} for cause in _CONDITIONS})
    clear: Changes = field(default_factory=lambda: {cause: {} for cause in _CONDITIONS})

    def depends(self, cause: Cause, column: str) -> bool:
        """Whether a column depends on this: a script's columns do for all keys or for none."""
        columns = {each.column for changed in self.changes[cause].values() for each in changed}
        return column in columns or (bool(columns) and "" in {column, *columns})


class Causes:
    """Explains the differences of one ETL's features."""

    def __init__(self, etls: EtlRuns, run: EtlRun, order: Sequence[OrderTerm], *, exact: bool) -> None:
        """Explain for this ETL.

        Args:
            order: that the query promises its rows in.
            exact: as training and serving were compared.
        """
        self._etls = etls
        self._run = run
        self._order = [term.column for term in order]
        self._exact = exact

    async def explain(
        self, suspects: Sequence[Suspect], remarks: list[str]
    ) -> list[list[tuple[Mismatch, Cause]]]:
        """The differences of each suspect with their causes, and those that only another time or order would show."""
        shown = _Shown()
        try:
            await self._run_on(_affordable(suspects), shown)
        except DeadlineExceeded as error:
            if error.reason != "ETL_TIMEOUT":
                raise
            remarks.append(f"the causes of differences were not all looked for: {error}")
        explained = [self._explained(at, suspect, shown) for at, suspect in enumerate(suspects)]
        known = {each.column: cause for found in explained for each, cause in found if cause != Cause.UNKNOWN}
        return [
            [
                (
                    each,
                    known.get(each.column, cause)
                    if cause == Cause.UNKNOWN and at not in shown.alone
                    else cause,
                )
                for each, cause in found
            ]
            for at, found in enumerate(explained)
        ]

    def _explained(self, at: int, suspect: Suspect, shown: _Shown) -> list[tuple[Mismatch, Cause]]:
        if isinstance(suspect.served, FeatureStoreError):
            return [(each, _cause_of_failure(suspect, suspect.served)) for each in suspect.mismatches]
        not_served: set[str] = (
            set()
        )  # the columns that the script, run on the key's rows alone, gives otherwise
        if suspect.mismatches and at in shown.alone:
            against = compare_sides(shown.alone[at], suspect.served, exact=self._exact)
            not_served = {each.column for each in against.mismatches}

        def cause_of(column: str) -> Cause:
            for cause in (Cause.RANDOM, Cause.TIME_DEPENDENT):
                if shown.depends(cause, column):
                    return cause
            if suspect.whole and at in shown.alone and column not in not_served:
                return Cause.FRAME_DEPENDENT
            return Cause.ORDER_DEPENDENT if shown.depends(Cause.ORDER_DEPENDENT, column) else Cause.UNKNOWN

        found = [(each, cause_of(each.column)) for each in suspect.mismatches]
        columns = {each.column for each in suspect.mismatches}
        for cause in _CONDITIONS:
            hidden = [
                each
                for each in shown.clear[cause].get(at, ())
                if each.column not in columns and (each.column or not columns)
            ]
            # What is random changes in every run, whatever else was changed.
            found += [
                (each, Cause.RANDOM if shown.depends(Cause.RANDOM, each.column) else cause) for each in hidden
            ]
            columns |= {each.column for each in hidden}
        return found

    async def _run_on(self, rows: dict[int, pa.Table], shown: _Shown) -> None:
        now = time.time()
        inputs = list(rows.values())
        runs = await self._results(inputs * _RUNS, now)
        alone = runs[: len(inputs)]
        shown.alone = dict(zip(rows, alone, strict=True))
        for number in range(1, _RUNS):
            again = runs[number * len(inputs) : (number + 1) * len(inputs)]
            self._note(shown, Cause.RANDOM, again)
        for other in (now + _FAR, _when_new(inputs, now)):
            self._note(shown, Cause.TIME_DEPENDENT, await self._results(inputs, other))
        for rearranged in (_backwards, _shuffled):
            moved = [each.take(rearranged(_ties(each, self._order))) for each in inputs]
            self._note(shown, Cause.ORDER_DEPENDENT, await self._results(moved, now))

    def _note(self, shown: _Shown, cause: Cause, other: list[Side]) -> None:
        for (at, before), after in zip(shown.alone.items(), other, strict=True):
            if alike(before, after, exact=self._exact):
                continue
            shown.changes[cause].setdefault(at, compare_sides(before, after, exact=self._exact).mismatches)
            clear = compare_sides(*_without_noise(before, after)).mismatches
            if clear:
                shown.clear[cause].setdefault(at, clear)

    async def _results(self, inputs: Sequence[pa.Table], clock: float) -> list[Side]:
        async def run(part: Sequence[pa.Table]) -> list[Side]:
            return list(await self._etls.tables(self._run, part, clock=clock))

        return await in_halves(inputs, run, lambda error: error, final="ETL_TIMEOUT")


def _affordable(suspects: Sequence[Suspect]) -> dict[int, pa.Table]:
    """The rows of those that the script can be run on again, the first ones if all are too many."""
    chosen: dict[int, pa.Table] = {}
    size = 0
    for at, suspect in enumerate(suspects):
        size += suspect.rows.nbytes
        if suspect.rows.num_rows and isinstance(suspect.served, pa.Table) and size <= _MOST_BYTES:
            chosen[at] = suspect.rows
    return chosen


def _when_new(inputs: Sequence[pa.Table], now: float) -> float:
    """An hour after the newest moment or day in the rows, for what holds of new rows only; else long ago."""
    newest: list[int] = []
    for rows in inputs:
        for column in rows.columns:
            if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
                seconds = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
                seconds = seconds.filter(pc.less(seconds, int(now)))
                if len(seconds):
                    newest.append(pc.max(seconds).as_py())
    return max(newest) + 3600.0 if newest else now - _FAR


def _cause_of_failure(suspect: Suspect, error: FeatureStoreError) -> Cause:
    if error.reason == BROKEN:
        return Cause.CONTRACT
    # Serving is a run on the key's rows alone; that it was not done in time says nothing of the script.
    return Cause.FRAME_DEPENDENT if suspect.whole and error.reason not in _LIMITS else Cause.UNKNOWN


def _ties(rows: pa.Table, order: list[str]) -> list[int]:
    """For each row the number of its group: rows of one group may come in any order, for all that the query promises."""
    if not order:
        return [0] * rows.num_rows
    ordered = rows.select(order)
    groups: list[int] = []
    for at in range(rows.num_rows):
        tied = at > 0 and ordered.slice(at, 1).equals(ordered.slice(at - 1, 1))
        groups.append(groups[-1] + (not tied) if groups else 0)
    return groups


def _backwards(groups: list[int]) -> pa.Array:
    return pa.array(sorted(range(len(groups)), key=lambda at: (groups[at], -at)), pa.int64())


def _shuffled(groups: list[int]) -> pa.Array:
    chance = random.Random(len(groups))  # noqa: S311 - any order will do
    drawn = [chance.random() for _ in groups]
    return pa.array(sorted(range(len(groups)), key=lambda at: (groups[at], drawn[at])), pa.int64())


def _without_noise(before: Side, after: Side) -> tuple[Side, Side]:
    """Floats that are nothing beside the largest of their column as zeros: what is left when sums cancel each other."""
    if isinstance(before, FeatureStoreError) or isinstance(after, FeatureStoreError):
        return before, after
    for at, column in enumerate(before.schema):
        if not pa.types.is_floating(column.type):
            continue
        magnitudes = pc.abs(pa.chunked_array([*before[at].chunks, *after[at].chunks], column.type))
        largest = pc.max(magnitudes.filter(pc.is_finite(magnitudes))).as_py()
        if largest:
            least = largest * RELATIVE_TOLERANCE
            before = before.set_column(at, column, _flushed(before[at], least))
            after = after.set_column(at, column, _flushed(after[at], least))
    return before, after


def _flushed(values: pa.ChunkedArray, least: float) -> pa.ChunkedArray:
    return pc.if_else(pc.less(pc.abs(values), least), pa.scalar(0.0, values.type), values)
