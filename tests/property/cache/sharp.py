"""The cache with pauses at the moments that matter, and the same with one of its steps left out."""

import itertools
import random
import threading
import time

import pyarrow as pa

from services.realtime import cache, touches
from services.realtime.cache import AnswerCache


class _Giving:
    """A lock after which the writer lets others go first."""

    def __init__(self):
        self._lock = threading.Lock()

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()
        if threading.current_thread().name == "realtime-writer":
            time.sleep(0.0002)


class SharpCache(AnswerCache):
    """As good as the real one, but slow where something may come in between."""

    def __init__(self, limit):
        super().__init__(limit)
        self._lock = _Giving()
        self._draw = random.Random(3)

    @property
    def watched(self):
        """At times as if some columns had not been watched yet."""
        if self._draw.random() < 0.5:
            return self._watched
        return {
            table: frozenset(column for column in columns if self._draw.random() < 0.5)
            for table, columns in self._watched.items()
        }

    def put(self, *answer, **how):
        time.sleep(self._draw.choice([0, 0, 0.001, 0.004]))
        return super().put(*answer, **how)

    def begin_write(self, touched):
        super().begin_write(touched)
        time.sleep(self._draw.choice([0, 0.001]))

    def end_write(self):
        time.sleep(self._draw.choice([0, 0.001]))
        super().end_write()

    def _spoil_places(self, places, touched):
        super()._spoil_places(places, touched)
        time.sleep(self._draw.choice([0, 0.002]))


class DropsLate(SharpCache):
    """Acknowledges a millisecond before it drops."""

    def end_write(self):
        with self._lock:
            touched, self._pending = self._pending, None
            self._now = next(self._sequence)
            if self._running:
                self._remember(touched)
        threading.Timer(0.001, self._drop_spoiled, [touched]).start()

    def _drop_spoiled(self, touched):
        with self._lock:
            self._raise_epochs(touched)
        for places in self._written(touched):
            self._spoil_places(places, touched)


class RaisesNoSequence(SharpCache):
    def __init__(self, limit):
        super().__init__(limit)
        self._sequence = itertools.repeat(0)


class BlocksNothing(SharpCache):
    def _spoiled(self, token, depends):
        pending, self._pending = self._pending, None
        try:
            return super()._spoiled(token, depends)
        finally:
            self._pending = pending


class DropsNothing(SharpCache):
    def _spoil_places(self, *_):
        pass


class ForgetsWrites(SharpCache):
    def _spoiled(self, _token, depends):
        return self._pending is not None and self._pending.spoils(depends)


class RaisesNoEpoch(SharpCache):
    def _raise_epochs(self, touched):
        pass


class KeepsWhatWasWatchedLate(SharpCache):
    def _spoiled_values(self, holders, written):
        return super()._spoiled_values(holders, written or set())


def takes_in_what_was_watched_late(monkeypatch):
    whole = touches.Touched.spoils

    def spoils(self, answer):
        looked_at = frozenset(
            (tuple(place for place in places if place[1] in self.tables.get(place[0], ())), value)
            for places, value in answer.touches
        )
        return whole(self, touches.Dependence(looked_at, answer.whole))

    monkeypatch.setattr(touches.Touched, "spoils", spoils)


def looks_at_nothing_before(monkeypatch):
    monkeypatch.setattr(touches, "_before", lambda *_: pa.table({}))


def sharpened(monkeypatch, kind=SharpCache):
    """Let services that are opened from now on keep their answers in such a cache."""
    monkeypatch.setattr(cache, "_PIECE", 1)
    monkeypatch.setattr("services.realtime.realtime.AnswerCache", kind)
