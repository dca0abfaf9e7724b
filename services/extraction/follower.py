"""Following realtime's log into the warehouse: again and again from the stored position, for ever."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Self

from featurestore.model import deadline
from featurestore.model.errors import FailedPrecondition, FeatureStoreError, Unavailable
from featurestore.model.peers import Realtime
from featurestore.model.table import Frame, Put, Remove, Version
from services.extraction.warehouse import Warehouse, other_log

log = logging.getLogger(__name__)

_PIECES_AHEAD = 4  # received while one group is written
_GROUP_BYTES = 32 * 2**20  # of rows in one transaction when the warehouse is behind
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 5.0
_LOOKS = 20  # at realtime's version, before its log counts as an older copy
_SMALL_BYTES = 2**20
_REST = 4.0
"""After a small group it rests so many times as long as it worked, ..."""
_LONGEST_REST_SECONDS = 0.25
"""... at most; what comes meanwhile is applied together. Nobody who waits for a version waits for that."""
_WAIT_SECONDS = 300.0  # for a version, when the caller set no deadline


class Follower:
    """Keeps the warehouse as near to realtime's log as it can; an async context manager.

    Pieces of the log that came while one was written are applied together. After a small one it rests for a moment,
    unless somebody waits, so that a transaction in the file serves many small publishes. Whatever
    goes wrong is logged, shown in `last_error` and tried again from the stored position, after longer and
    longer waits. A log that does not fit the warehouse is never followed: reads are refused until it does.
    """

    def __init__(self, realtime: Realtime, warehouse: Warehouse) -> None:
        self._realtime = realtime
        self._warehouse = warehouse
        self._moved = asyncio.Event()
        self._wanted = asyncio.Event()
        self._refusal: FailedPrecondition | None = None
        self.following = False
        self.last_error = ""

    async def __aenter__(self) -> Self:
        # An empty context: following must not inherit the deadline of whoever started it.
        self._task = asyncio.get_running_loop().create_task(
            self._follow_for_ever(), name="warehouse-follower", context=contextvars.Context()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        self.following = False

    async def wait_until(self, wanted: Version) -> Version:
        """Wait until the warehouse holds a version, and return what it holds then.

        Raises:
            Unavailable: `WAREHOUSE_BEHIND` shortly before the call's deadline, with both versions.
            FailedPrecondition: `OTHER_LOG`: the version is of another log.
        """
        seconds = deadline.remaining_or(_WAIT_SECONDS)
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds - deadline.margin(seconds)
        while True:
            if self._refusal is not None:
                raise copy.copy(self._refusal)  # raised many times: each with a traceback of its own
            held = self._warehouse.position or Version(wanted.log_id, 0)
            if held.log_id != wanted.log_id:
                raise other_log(held, wanted.log_id)
            if held.sequence >= wanted.sequence:
                return held
            self._wanted.set()
            try:
                async with asyncio.timeout_at(ends):
                    await self._moved.wait()
            except TimeoutError:
                raise self._behind(held, wanted) from None

    def _behind(self, held: Version, wanted: Version) -> Unavailable:
        why = f"; following it fails: {self.last_error}" if self.last_error else ""
        return Unavailable(
            "WAREHOUSE_BEHIND",
            f"the warehouse holds version {held.sequence}, version {wanted.sequence} is wanted: "
            f"try again, or allow more time{why}",
            log_id=wanted.log_id,
            warehouse_version=held.sequence,
            wanted_version=wanted.sequence,
        )

    async def _follow_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        wait = _FIRST_WAIT_SECONDS
        while True:
            began = loop.time()
            try:
                await self._follow(await self._checked_log())
            except FailedPrecondition as error:
                self._stopped(error, refusal=error)
            except FeatureStoreError as error:
                self._stopped(error)
            except Exception as error:  # noqa: BLE001 - logged with its traceback by `_stopped`
                self._stopped(error)
            if loop.time() - began > _LONGEST_WAIT_SECONDS:  # it went well for a while
                wait = _FIRST_WAIT_SECONDS
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    def _stopped(self, error: Exception, refusal: FailedPrecondition | None = None) -> None:
        ours = not isinstance(error, FeatureStoreError)
        why = f"{type(error).__name__}: {error}" if ours else str(error)
        if why != self.last_error:  # said once, not at every attempt
            level = logging.ERROR if refusal or ours else logging.WARNING
            log.log(level, "the warehouse does not follow the log: %s", why, exc_info=error if ours else None)
        self.following, self.last_error, self._refusal = False, why, refusal
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _checked_log(self) -> Version:
        """Reach realtime, see that its log is the warehouse's and not an older copy, and return where it ends."""
        held = self._warehouse.position
        version = await self._realtime.version()
        if held is None:
            return version
        for _ in range(_LOOKS):
            if held.log_id != version.log_id:
                raise other_log(held, version.log_id)
            if held.sequence <= version.sequence:
                return version
            # A follower may be shown a frame a moment before realtime's readers are.
            await asyncio.sleep(_FIRST_WAIT_SECONDS)
            version = await self._realtime.version()
        raise FailedPrecondition(
            "OTHER_LOG",
            f"the warehouse holds frame {held.sequence} of log {held.log_id}, realtime's copy of it ends at "
            f"{version.sequence}: bring back the newer log, or start with an empty warehouse folder",
            warehouse_sequence=held.sequence,
            realtime_sequence=version.sequence,
        )

    async def _follow(self, newest: Version) -> None:
        arrived: asyncio.Queue[Sequence[Frame] | Exception] = asyncio.Queue(_PIECES_AHEAD)
        receiving = asyncio.create_task(self._receive(newest.log_id, arrived))
        self.following, self._refusal = True, None
        held = self._warehouse.position
        if newest.sequence == (held.sequence if held else 0):
            self.last_error = ""  # else it stands until a frame could be applied: that may be what fails
        try:
            while True:
                group, size = await _next_group(arrived)
                began = time.monotonic()
                await self._warehouse.apply(newest.log_id, group)
                self.last_error = ""
                self._wake()
                if size < _SMALL_BYTES:
                    await self._rest(time.monotonic() - began)
        finally:
            receiving.cancel()
            await asyncio.wait({receiving})

    async def _rest(self, worked: float) -> None:
        self._wanted.clear()  # those who wait have just been woken, and say so again if it was not for them
        try:
            async with asyncio.timeout(min(_REST * worked, _LONGEST_REST_SECONDS)):
                await self._wanted.wait()
        except TimeoutError:
            return  # rested

    async def _receive(self, log_id: str, arrived: asyncio.Queue[Sequence[Frame] | Exception]) -> None:
        pieces = self._realtime.follow(self._warehouse.position)
        try:
            async for its_log_id, frames in pieces:
                if its_log_id != log_id:
                    raise other_log(self._warehouse.position or Version(log_id, 0), its_log_id)  # noqa: TRY301
                await arrived.put(frames)
            await arrived.put(
                Unavailable("REALTIME_ENDED", "realtime ended the log's stream; it is asked again")
            )
        except Exception as error:  # noqa: BLE001 - raised by `_next_group`, behind the frames before it
            await arrived.put(error)
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()


async def _next_group(arrived: asyncio.Queue[Sequence[Frame] | Exception]) -> tuple[Sequence[Frame], int]:
    """The next frames, together with those that came meanwhile, as far as one transaction should go; and their bytes.

    Raises:
        Exception: what ended the stream, once all frames before it are taken.
    """
    piece = await arrived.get()
    if isinstance(piece, Exception):
        raise piece
    group = list(piece)
    size = _size(piece)
    while size < _GROUP_BYTES and not arrived.empty():
        piece = arrived.get_nowait()
        if isinstance(piece, Exception):
            arrived.put_nowait(piece)  # it is the last there is, so its place is free still
            break
        group += piece
        size += _size(piece)
    return group, size


def _size(frames: Sequence[Frame]) -> int:
    tables = (
        operation.rows if isinstance(operation, Put) else operation.keys
        for frame in frames
        for operation in frame.operations
        if isinstance(operation, Put | Remove)
    )
    return sum(table.nbytes for table in tables)
