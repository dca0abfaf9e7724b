"""Answers computed before anybody asks: in batches of one statement, by the reader behind the pool."""

from __future__ import annotations

import functools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

import duckdb
import pyarrow as pa

from featurestore.engine.key_values import ConvertedKeys, check_key_columns, converted_to
from featurestore.model.errors import InvalidArgument, ResourceExhausted
from featurestore.model.query import Column
from featurestore.model.serving import AnswerFormat, Keys, KeyValue
from featurestore.model.warming import Warmed
from services.realtime.cache import AnswerCache
from services.realtime.costs import Subject
from services.realtime.kept import ENTRY_BYTES, Fate
from services.realtime.plans import Prepared
from services.realtime.readers import Readers
from services.realtime.serving import Serving, TooMuchAtOnceError

_logger = logging.getLogger(__name__)

_FIRST_BATCH: Final = 16
_MOST_IN_BATCH: Final = 256
_BATCH_SECONDS: Final = 0.03
"""A batch is made as large as takes about so long: what may have to wait for the machine waits no longer."""
_MOST_AT_ONCE: Final = 1_000
"""Keys that are taken over from the engine before others get their turn; fewer than may be asked for in one call."""

Key = tuple[KeyValue, ...]


class Warmer:
    """Computes answers and has them kept, as long as there is room that no other answer holds."""

    def __init__(self, serving: Serving, cache: AnswerCache, readers: Readers) -> None:
        """Compute with these."""
        self._serving = serving
        self._cache = cache
        self._readers = readers

    async def keys(self, subject: Subject) -> tuple[ConvertedKeys, int]:
        """The distinct keys without nulls that the query shows now, but no more than the whole cache has room for.

        Returns:
            These, and how many more there are.

        Raises:
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
            ResourceExhausted: `ANSWER_TOO_LARGE`: the keys alone have 64 MiB or more; `QUERY_MEMORY`.
            DeadlineExceeded: `DEADLINE`.
        """
        columns = check_key_columns(subject.form, subject.index_key)
        most = self._cache.limit // ENTRY_BYTES

        def find(cursor: duckdb.DuckDBPyConnection) -> tuple[ConvertedKeys, int]:
            shown, total = self._serving.all_keys(cursor, subject.form, subject.index_key, most)
            return as_keys(columns, shown), total - shown.num_rows

        return await self._readers.run_behind(find)

    async def prepared(self, subject: Subject) -> Prepared:
        """How the query is served now, found behind the pool.

        Raises:
            FailedPrecondition: `QUERY_SCHEMA_CHANGED`.
            DeadlineExceeded: `DEADLINE`.
        """
        return await self._readers.run_behind(functools.partial(self._serving.prepared_for, subject=subject))

    async def warm(
        self,
        subject: Subject,
        keys: ConvertedKeys,
        answer_format: AnswerFormat,
        *,
        refused: Callable[[InvalidArgument], None] | None = None,
    ) -> tuple[Warmed, list[Key]]:
        """Have the answers for these keys kept, each of them once, until one finds no room.

        Args:
            refused: told of each key that the query fails for; by default that ends it.

        Returns:
            What was done, and the keys that were overtaken.

        Raises:
            FailedPrecondition: `NOT_CACHEABLE`, `QUERY_SCHEMA_CHANGED`.
            InvalidArgument: `SQL_VALUE`, `KEY_VALUE`.
            ResourceExhausted: `QUERY_MEMORY`.
            DeadlineExceeded: `DEADLINE`; what was kept until then stays.
        """
        waiting = deque(dict.fromkeys(keys.tuples))
        size = _FIRST_BATCH
        counts: Counter[Fate | None] = Counter()
        overtaken: list[Key] = []
        while waiting and not counts[Fate.NO_ROOM]:
            some = [waiting.popleft() for _ in range(min(size, len(waiting)))]
            began = time.monotonic()
            try:
                fates = await self._batch(subject, ConvertedKeys(keys.columns, tuple(some)), answer_format)
            except (TooMuchAtOnceError, ResourceExhausted, InvalidArgument) as error:
                invalid = isinstance(error, InvalidArgument)
                if invalid and refused is None:
                    raise
                if len(some) > 1:
                    size = len(some) // 2
                    waiting.extendleft(reversed(some))
                elif isinstance(error, InvalidArgument) and refused is not None:
                    refused(error)
                elif isinstance(error, ResourceExhausted) and error.reason == "QUERY_MEMORY":
                    raise
                else:
                    counts[Fate.TOO_LARGE] += 1
                continue
            took = time.monotonic() - began
            counts.update(fates.values())
            overtaken += [key for key, fate in fates.items() if fate is Fate.OVERTAKEN]
            if took < _BATCH_SECONDS / 2:
                size = min(2 * size, _MOST_IN_BATCH)
            elif took > 2 * _BATCH_SECONDS:
                size = max(1, size // 2)
            await self._readers.give_way(took)
        left = await self._left(subject, ConvertedKeys(keys.columns, tuple(waiting)), answer_format)
        computed = sum(count for fate, count in counts.items() if fate is not None)
        return (
            Warmed(
                computed=computed,
                kept=counts[Fate.KEPT],
                already_there=counts[None] + len(waiting) - left,
                no_room=counts[Fate.NO_ROOM] + counts[Fate.TOO_LARGE] + left,
                overtaken=counts[Fate.OVERTAKEN],
            ),
            overtaken,
        )

    async def _batch(
        self, subject: Subject, keys: ConvertedKeys, answer_format: AnswerFormat
    ) -> dict[Key, Fate | None]:
        return await self._readers.run_behind(
            functools.partial(self._serving.compute, subject=subject, keys=keys, answer_format=answer_format)
        )

    async def _left(self, subject: Subject, keys: ConvertedKeys, answer_format: AnswerFormat) -> int:
        """Of keys that were not come to, those whose answers are not kept."""
        if not keys.tuples:
            return 0

        def count(cursor: duckdb.DuckDBPyConnection) -> int:
            number = self._serving.prepared_for(cursor, subject).number
            return len(self._cache.missing([(number, answer_format, each) for each in keys.tuples]))

        return await self._readers.run_behind(count)


def as_keys(columns: tuple[Column, ...], shown: pa.Table) -> ConvertedKeys:
    """Keys that a query shows, as they are when somebody asks for them; those that nobody can ask for are left out."""
    found: list[Key] = []
    for batch in shown.to_batches(max_chunksize=_MOST_AT_ONCE):
        tuples = tuple(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        found += _converted(columns, tuples)
        time.sleep(0)  # whoever waits for the interpreter goes first
    return ConvertedKeys(columns, tuple(found))


def _converted(columns: tuple[Column, ...], tuples: Sequence[Key]) -> tuple[Key, ...]:
    names = tuple(column.name for column in columns)
    try:
        return converted_to(columns, Keys(names, tuple(tuples))).tuples if tuples else ()
    except InvalidArgument as refusal:
        if len(tuples) == 1:
            _logger.debug("a key that is shown can't be asked for: %s", refusal)
            return ()
        half = len(tuples) // 2
        return _converted(columns, tuples[:half]) + _converted(columns, tuples[half:])
