"""As much of `peers.Realtime` as following a log takes, over a list of frames, to be broken on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pyarrow as pa

from featurestore.model.errors import FailedPrecondition, Unavailable
from featurestore.model.table import Define, Frame, Operation, Put, Remove, TableDefinition, Version


class FakeLog:
    """A log whose frames come one by one, as single pieces or `piece` together."""

    def __init__(self, log_id: str = "log_a", piece: int = 1) -> None:
        self.log_id = log_id
        self.frames: list[Frame] = []
        self.away = False
        self.held_back = False  # followers are shown nothing new
        self.followed: list[Version | None] = []
        self._piece = piece
        self._grown = asyncio.Event()

    def add(self, *operations: Operation) -> Version:
        sequence = len(self.frames) + 1
        self.frames.append(Frame(sequence, f"publish-{sequence}", operations))
        self.wake()
        return Version(self.log_id, sequence)

    def wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def version(self) -> Version:
        self._reach()
        return Version(self.log_id, len(self.frames))

    async def follow(self, after: Version | None) -> AsyncIterator[tuple[str, Sequence[Frame]]]:
        self._reach()
        self.followed.append(after)
        if after is not None and after.log_id != self.log_id:
            raise FailedPrecondition("OTHER_LOG", f"{after.log_id} is not this log, {self.log_id}")
        at = after.sequence if after is not None else 0
        while True:
            grown = self._grown
            while at < len(self.frames) and not self.held_back:
                piece = self.frames[at : at + self._piece]
                yield self.log_id, piece
                at += len(piece)
                self._reach()
            await grown.wait()
            self._reach()

    def _reach(self) -> None:
        if self.away:
            raise Unavailable("PEER_UNREACHABLE", "realtime is away, on purpose")


USERS = TableDefinition(
    "users", pa.schema([pa.field("user_id", pa.int64(), nullable=False), ("name", pa.string())]), ("user_id",)
)
EVENTS = TableDefinition("events", pa.schema([("user_id", pa.int64()), ("amount", pa.float64())]))


def define(table: TableDefinition) -> Define:
    return Define(table)


def users(*rows: tuple[int, str | None]) -> Put:
    ids, names = zip(*rows, strict=True)
    return Put(
        "users", pa.table([pa.array(ids, pa.int64()), pa.array(names, pa.string())], schema=USERS.schema)
    )


def no_users(*ids: int) -> Remove:
    return Remove(
        "users", pa.table([pa.array(ids, pa.int64())], schema=pa.schema([USERS.schema.field("user_id")]))
    )


def events(*rows: tuple[int, float | None]) -> Put:
    ids, amounts = zip(*rows, strict=True)
    return Put(
        "events", pa.table([pa.array(ids, pa.int64()), pa.array(amounts, pa.float64())], schema=EVENTS.schema)
    )
