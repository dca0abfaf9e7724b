"""Which queries are kept warm, because somebody asked or because their misses cost too much; and keeping them so.

Behind each write the answers that it spoiled are computed again, in batches, by the reader behind the pool. Nothing here is
needed for an answer to be right: what is not kept is computed when it is asked for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from featurestore.engine.key_values import ConvertedKeys, check_key_columns, convert_keys
from featurestore.model import deadline
from featurestore.model.errors import FailedPrecondition, FeatureStoreError, InvalidArgument
from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys
from featurestore.model.warming import CacheReport, CacheUse, KeptUp, Warmed
from services.realtime.cache import AnswerCache
from services.realtime.cache_use import PlanUse, uses
from services.realtime.costs import WINDOW_SECONDS, Costs, Subject
from services.realtime.kept import Name
from services.realtime.plans import Prepared, check_cacheable
from services.realtime.readers import Readers
from services.realtime.serving import Serving
from services.realtime.warming import Key, Warmer

_logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0
"""So often it is looked whose misses cost a lot, and whether plans were made anew."""
_SETTLE_SECONDS: Final = 0.005
"""Writes that come so soon after each other are worked off together."""
_KEYS_SECONDS: Final = 10.0
"""What finding all keys of a query may take that nobody asked to be warmed."""
_COOL_DOWN_SECONDS: Final = 300.0
"""A query that was warmed by itself in vain is not warmed by itself again for so long."""


@dataclass(slots=True)
class _KeptUp:
    """A query that is kept warm.

    Attributes:
        numbers: of the plans whose answers are followed: the one that serves the query now, behind the one before it.
        waiting: answers to compute again, by format and key.
        computed: how many were, since `looked_at`; hits of the cache up to then are in `hits`.
    """

    subject: Subject
    why: KeptUp
    numbers: tuple[int, ...] = ()
    waiting: dict[tuple[AnswerFormat, Key], None] = field(default_factory=dict)
    computed: int = 0
    hits: int = 0
    looked_at: float = field(default_factory=time.monotonic)

    @property
    def number(self) -> int | None:
        """Of the plan that serves the query now; None until one does."""
        return self.numbers[-1] if self.numbers else None


class Keeper:
    """Owns the task that keeps queries warm, from `start` to `close`. On the event loop."""

    def __init__(
        self,
        serving: Serving,
        cache: AnswerCache,
        readers: Readers,
        costs: Costs,
        *,
        share: float,
        window: float = WINDOW_SECONDS,
    ) -> None:
        """Keep nothing yet.

        Args:
            share: of the readers' time, 0 to 1: a query whose misses take more is warmed by itself; 0 for none.
            window: seconds; the one of `costs`.
        """
        self._serving = serving
        self._cache = cache
        self._readers = readers
        self._warmer = Warmer(serving, cache, readers)
        self._costs = costs
        self._share = share
        self._window = window
        self._kept: dict[tuple[str, tuple[str, ...]], _KeptUp] = {}
        self._not_by_itself: dict[tuple[str, tuple[str, ...]], float] = {}
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to work."""
        if self._cache.enabled:
            self._own(self._run())

    async def close(self) -> None:
        """Stop at once; what was not computed again is computed when it is asked for."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # each has logged what went wrong in it

    def wake(self) -> None:
        """Something was written."""
        if self._kept:
            self._woken.set()

    async def warm(
        self,
        query_id: str,
        form: QueryForm,
        index_key: tuple[str, ...],
        keys: Keys | None,
        *,
        keep: bool | None,
        answer_format: AnswerFormat,
    ) -> Warmed:
        """See `peers.Realtime`."""
        if keys is not None:
            asked = convert_keys(form, keys)
            columns = asked.columns
        else:
            columns = check_key_columns(form, index_key)
        subject = Subject(query_id, form, tuple(column.name for column in columns))
        prepared = await self._readers.run(
            lambda cursor: self._serving.prepared(cursor, query_id, form, subject.index_key)
        )
        check_cacheable(prepared)
        if not self._cache.enabled:
            raise FailedPrecondition(
                "NOT_CACHEABLE",
                "the query can't be warmed: realtime keeps no answers, its cache_bytes is 0",
                because="cache_bytes is 0",
            )
        if keep:
            await self._keep(subject, KeptUp.ASKED, prepared)
        elif keep is False:
            await self._let_go(subject, until=float("inf"))
            if keys is None:
                return Warmed()
        beyond = 0
        if keys is None:
            asked, beyond = await self._warmer.keys(subject)
        done, overtaken = await self._warmer.warm(subject, asked, answer_format)
        self._again(subject, answer_format, overtaken)
        return replace(done, no_room=done.no_room + beyond)

    async def use(self, query_id: str, form: QueryForm, index_key: tuple[str, ...]) -> CacheUse | None:
        """How the answers of a query fare; None if they are never kept."""
        names = tuple(column.name for column in check_key_columns(form, index_key))
        prepared = self._serving.known(query_id, form, names)
        if not self._cache.enabled or prepared is None or not prepared.cacheable:
            return None
        found = await asyncio.to_thread(uses, self._cache, {prepared.number})
        return self._shown(query_id, names, prepared.number, found)

    async def report(self) -> CacheReport:
        """The cache at a glance."""
        kept = list(self._kept.values())
        numbers = {each.number for each in kept if each.number is not None}
        found = await asyncio.to_thread(uses, self._cache, numbers)
        status = self._cache.status()
        return CacheReport(
            status.hits,
            status.misses,
            status.invalidated,
            status.entries,
            status.size,
            self._cache.limit,
            tuple(self._shown(*each.subject.name, each.number, found) for each in kept),
        )

    def _shown(
        self, query_id: str, index_key: tuple[str, ...], number: int | None, found: dict[object, PlanUse]
    ) -> CacheUse:
        kept = self._kept.get((query_id, index_key))
        hits, misses = self._cache.asked(number)
        use = found.get(number, PlanUse())
        return CacheUse(
            query_id,
            index_key,
            KeptUp.NOT if kept is None else kept.why,
            hits,
            misses,
            use.entries,
            use.size,
            use.oldest_seconds,
        )

    async def _keep(self, subject: Subject, why: KeptUp, prepared: Prepared) -> None:
        kept = self._kept.get(subject.name)
        if kept is None:
            kept = self._kept[subject.name] = _KeptUp(subject, why)
        if why is KeptUp.ASKED:
            kept.why = why
            self._not_by_itself.pop(subject.name, None)
        await self._follow(kept, prepared.number)

    async def _follow(self, kept: _KeptUp, number: int) -> None:
        """Follow the answers of the plan that serves the query now."""
        if number == kept.number and self._cache.has_spoiled(number) is not None:
            return
        # The one before is followed on: a change of definitions may spoil its answers just now.
        others = [each for each in kept.numbers if each != number]
        kept.numbers = (*others[-1:], number)
        await asyncio.to_thread(self._cache.follow, number)
        if self._kept.get(kept.subject.name) is not kept:  # let go meanwhile
            await asyncio.to_thread(self._cache.unfollow, number)
        for old in others[:-1]:
            _wait(kept, await asyncio.to_thread(self._cache.unfollow, old))

    async def _let_go(self, subject: Subject, until: float) -> None:
        """Keep it up no longer, and don't begin by itself before then (by the monotonic clock)."""
        self._not_by_itself[subject.name] = until
        kept = self._kept.pop(subject.name, None)
        for number in () if kept is None else kept.numbers:
            await asyncio.to_thread(self._cache.unfollow, number)

    def _again(self, subject: Subject, answer_format: AnswerFormat, keys: Iterable[Key]) -> None:
        """Answers that were overtaken are nowhere, so no write will spoil them: they are told here."""
        kept = self._kept.get(subject.name)
        if kept is not None:
            kept.waiting.update(((answer_format, key), None) for key in keys)
            if kept.waiting:
                self._woken.set()

    def _own(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        looked = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                pass  # nothing was written; plans and costs are looked at all the same
            else:
                await asyncio.sleep(_SETTLE_SECONDS)
            self._woken.clear()
            try:
                for kept in list(self._kept.values()):
                    await self._keep_up(kept)
                if self._share and time.monotonic() - looked >= _LOOK_SECONDS:
                    looked = time.monotonic()
                    await self._look()
            except Exception:
                _logger.exception("keeping queries warm met an error of ours")
                await asyncio.sleep(_LOOK_SECONDS)

    async def _keep_up(self, kept: _KeptUp) -> None:
        subject = kept.subject
        try:
            prepared = self._serving.known(subject.query_id, subject.form, subject.index_key)
            if prepared is None:
                prepared = await self._warmer.prepared(subject)
            await self._follow(kept, prepared.number)
            for number in kept.numbers:
                if self._cache.has_spoiled(number):
                    _wait(kept, await asyncio.to_thread(self._cache.take_spoiled, number))
            # If they can't be computed now, they are when they are asked for.
            waiting, kept.waiting = kept.waiting, {}
            columns = prepared.columns
            for answer_format in AnswerFormat:
                keys = tuple(key for other, key in waiting if other is answer_format)
                if not keys:
                    continue
                done, overtaken = await self._warmer.warm(
                    subject, ConvertedKeys(columns, keys), answer_format, refused=_Refused(subject.query_id)
                )
                kept.computed += done.computed
                self._again(subject, answer_format, overtaken)
            now = self._serving.known(subject.query_id, subject.form, subject.index_key)
            if now is None or now.number not in kept.numbers:
                self._woken.set()  # planned anew meanwhile: those answers are to be followed
        except FeatureStoreError as refusal:
            # Such as a table that is dropped and may come back: those who ask are told the same.
            _logger.info("query %s can't be kept warm now: %s", subject.query_id, refusal)

    async def _look(self) -> None:
        """Begin with queries whose misses cost a lot, and let go of those that were begun in vain."""
        now = time.monotonic()
        for kept in list(self._kept.values()):
            if kept.why is not KeptUp.BY_ITSELF or now - kept.looked_at < self._window:
                continue
            hits, _ = self._cache.asked(kept.number)
            if hits - kept.hits < kept.computed:
                _logger.info(
                    "query %s is kept warm no longer: it took more than it gave", kept.subject.query_id
                )
                await self._let_go(kept.subject, now + _COOL_DOWN_SECONDS)
            kept.hits, kept.computed, kept.looked_at = hits, 0, now
        for subject in self._costs.above(self._share):
            if subject.name not in self._kept and self._not_by_itself.get(subject.name, 0.0) <= now:
                self._not_by_itself[subject.name] = now + _COOL_DOWN_SECONDS  # whatever becomes of it
                self._own(self._warm_by_itself(subject))

    async def _warm_by_itself(self, subject: Subject) -> None:
        try:
            prepared = await self._warmer.prepared(subject)
            if not prepared.cacheable:
                return
            _logger.info("query %s is warmed by itself: its misses cost a lot", subject.query_id)
            await self._keep(subject, KeptUp.BY_ITSELF, prepared)
            found = await asyncio.to_thread(uses, self._cache, {prepared.number})
            use = found.get(prepared.number, PlanUse())
            if not use.entries:
                return
            room = max(0, self._cache.limit - self._cache.status().size)
            most = use.entries + room * use.entries // use.size
            with deadline.within(_KEYS_SECONDS):
                keys, beyond = await self._warmer.keys(subject)
            if beyond or len(keys.tuples) > most:
                return  # not all fit: those that are asked for come by themselves, and are kept up
            _, overtaken = await self._warmer.warm(
                subject, keys, use.usual_format, refused=_Refused(subject.query_id)
            )
            self._again(subject, use.usual_format, overtaken)
        except FeatureStoreError as refusal:
            _logger.info("query %s could not be warmed by itself: %s", subject.query_id, refusal)
        except Exception:
            _logger.exception("warming a query by itself met an error of ours")


class _Refused:
    """Tells of the first key that a query fails for; others may fail for the same reason."""

    def __init__(self, query_id: str) -> None:
        self._query_id = query_id
        self._told = False

    def __call__(self, refusal: InvalidArgument) -> None:
        if not self._told:
            _logger.info("for some keys query %s can't be kept warm: %s", self._query_id, refusal)
            self._told = True


def _wait(kept: _KeptUp, names: Iterable[Name]) -> None:
    for _, answer_format, key in names:
        if isinstance(answer_format, AnswerFormat) and isinstance(key, tuple):
            kept.waiting[answer_format, key] = None
