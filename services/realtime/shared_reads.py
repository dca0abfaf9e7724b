"""Calls that ask the same query at the same time share a statement, once so many run that another would gain nothing.

The engine plans each statement anew, which for one key takes longer than to run it: thirty keys in one statement take little
longer than one. A call that finds no statement of its query under way never waits for others; one that has to wait is
answered by a statement that begins after it came, so it sees all that was acknowledged before.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import time
from dataclasses import dataclass, field
from typing import Final

import duckdb

from featurestore.engine.key_values import ConvertedKeys, converted_to
from featurestore.model import deadline
from featurestore.model.errors import FeatureStoreError
from featurestore.model.query import QueryForm
from featurestore.model.serving import Answer, AnswerFormat, Keys
from services.realtime.readers import Readers, in_time
from services.realtime.serving import Serving, checked

_MOST_KEYS: Final = 64
"""Of a statement that calls share; a call for more than a quarter of them shares none."""
_LONGEST_SECONDS: Final = 0.25
"""A shared statement that takes longer, or half of what one of its calls has, is given up: each call is then answered by
itself, so that none waits long for another's key."""
_LONGEST_WAIT_SECONDS: Final = 0.05
"""No call waits longer for the statements that it found under way, which may be those of a key with many rows."""
_LOOK_EVERY_SECONDS: Final = 0.05


@dataclass(slots=True)
class _Call:
    """One that waits; its result is None if it shall be answered by itself.

    Attributes:
        half_over_at: when half of its time is over, by the monotonic clock.
    """

    keys: ConvertedKeys
    half_over_at: float
    result: asyncio.Future[Answer | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


@dataclass(slots=True)
class _Line:
    """Calls for one plan in one format.

    Attributes:
        overdue: starts those who wait when nothing else did.
    """

    query_id: str
    form: QueryForm
    answer_format: AnswerFormat
    running: int = 0
    waiting: list[_Call] = field(default_factory=list)
    overdue: asyncio.TimerHandle | None = None


class SharedReads:
    """Answers calls by the readers. On the event loop."""

    def __init__(self, readers: Readers, serving: Serving, at_once: int = 0) -> None:
        """Answer from a store.

        Args:
            at_once: statements of a plan that run at once before calls share one; 0: one for two processors, as the
                event loop and the engine have work as well, but no more than there are readers.
        """
        self._readers = readers
        self._serving = serving
        self._at_once = at_once or max(1, min(readers.count, (os.cpu_count() or 1) // 2))
        self._lines: dict[tuple[int, AnswerFormat], _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, query_id: str, form: QueryForm, keys: Keys, answer_format: AnswerFormat) -> Answer:
        """See `peers.Realtime.query`.

        Raises:
            See `Serving.answer`.
            DeadlineExceeded: `DEADLINE`.
        """
        prepared = self._serving.known(query_id, form, keys.columns)
        # With chains each answer would be said to depend on the values of all that share the statement.
        if prepared is None or prepared.plan.chains or len(keys.tuples) > _MOST_KEYS // 4:
            return await self._readers.run(
                lambda cursor: self._serving.answer(cursor, query_id, form, keys, answer_format)
            )
        asked = checked(converted_to(prepared.columns, keys))

        async def by_itself() -> Answer:
            [answer] = await self._readers.run(
                lambda cursor: self._serving.answer_each(cursor, query_id, form, [asked], answer_format)
            )
            return answer

        name = prepared.number, answer_format
        line = self._lines.setdefault(name, _Line(query_id, form, answer_format))
        if line.running < self._at_once:
            line.running += 1
            try:
                return await by_itself()
            finally:
                self._ended(name, line)
        half = deadline.remaining_or(math.inf) / 2
        call = _Call(asked, time.monotonic() + half)
        if not line.waiting:
            loop = asyncio.get_running_loop()
            line.overdue = loop.call_later(_LONGEST_WAIT_SECONDS, self._start, name, line)
        line.waiting.append(call)
        answer = await in_time(call.result)
        return await by_itself() if answer is None else answer

    def _ended(self, name: tuple[int, AnswerFormat], line: _Line) -> None:
        """A statement has ended: those who wait have the next one, if any do."""
        line.running -= 1
        if line.waiting:
            self._start(name, line)
        if not line.running:
            del self._lines[name]

    def _start(self, name: tuple[int, AnswerFormat], line: _Line) -> None:
        """Have those who wait answered now."""
        if line.overdue is not None:
            line.overdue.cancel()
        while calls := _taken(line):
            line.running += 1
            # What the call that has ended carries along, such as its deadline, is not theirs.
            task = asyncio.get_running_loop().create_task(
                self._answer_each(name, line, calls), context=contextvars.Context()
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer_each(self, name: tuple[int, AnswerFormat], line: _Line, calls: list[_Call]) -> None:
        statement = _Statement(self._serving, line, calls)
        reading = asyncio.ensure_future(self._readers.run(statement.run))
        answers: list[Answer] | list[None] = [None] * len(calls)
        try:
            while not (await asyncio.wait({reading}, timeout=_LOOK_EVERY_SECONDS))[0]:
                if statement.takes_too_long():
                    reading.cancel()
            if not reading.cancelled():
                answers = reading.result()
        except FeatureStoreError:
            pass  # one of them is at fault: by itself each is told its own verdict
        finally:
            # Also when we are cancelled, or made a mistake, which each call will then meet by itself.
            reading.cancel()
            self._ended(name, line)
            for call, answer in zip(calls, answers, strict=True):
                if not call.result.done():
                    call.result.set_result(answer)


class _Statement:
    """One that calls share. Its run is in a reader's thread."""

    def __init__(self, serving: Serving, line: _Line, calls: list[_Call]) -> None:
        self._serving = serving
        self._line = line
        self._keys = [call.keys for call in calls]
        self._patience = min(call.half_over_at for call in calls)
        self._began = math.inf

    def run(self, cursor: duckdb.DuckDBPyConnection) -> list[Answer]:
        self._began = time.monotonic()
        line = self._line
        return self._serving.answer_each(cursor, line.query_id, line.form, self._keys, line.answer_format)

    def takes_too_long(self) -> bool:
        """Whether it runs, and may keep some call from being answered by itself in time. While it waits it does not."""
        now = time.monotonic()
        return now > self._began and now > min(self._began + _LONGEST_SECONDS, self._patience)


def _taken(line: _Line) -> list[_Call]:
    """Those who go next, first come first; those who don't wait any more are left out."""
    taken: list[_Call] = []
    room = _MOST_KEYS
    while line.waiting and room >= len(line.waiting[0].keys.tuples):
        call = line.waiting.pop(0)
        if not call.result.done():
            taken.append(call)
            room -= len(call.keys.tuples)
    return taken
