"""One sealed ETL worker, as the service sees it: asked through memfds, killed through its pidfd."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Awaitable
from typing import Any

import pyarrow as pa

from featurestore.etl import control
from services.extraction import memfds
from services.extraction.worker_protocol import BadReply, WorkerDied

_INLINE_BYTES = 2**20  # more is copied into a memfd in a thread


class SealedWorker:
    """Implements `worker_protocol.Worker`; started by a `Zygote`."""

    def __init__(
        self, wire: socket.socket, handle: int, ended: Awaitable[int | None], libraries: dict[str, str]
    ) -> None:
        """Take over a fork.

        Args:
            wire: our end of its connection, ours to close.
            handle: its pidfd, ours to close.
            ended: its exit code, from the zygote, which collects it.
        """
        self._wire = wire
        self._handle: int | None = handle
        self._ended = ended
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(handle, self._note_the_end)
        self.libraries = libraries
        self.loaded = False

    @property
    def alive(self) -> bool:
        """See `Worker`."""
        return not self._gone.done()

    @property
    def printed(self) -> str:
        """See `Worker`: a sealed worker's standard files lead nowhere."""
        return ""

    async def ready(self) -> None:
        """Wait until it is sealed.

        Raises:
            WorkerDied: it ended before that.
            BadReply: it could not be sealed, or is out of its mind.
        """
        packet = await self._packet()
        try:
            control.decode(packet, control.ANSWER)
        except control.BadMessage as error:  # nothing hostile runs in it yet: what it says may be shown
            raise BadReply(packet[:500].decode(errors="replace")) from error

    async def ask(
        self, header: dict[str, Any], body: pa.Buffer, *, body_limit: int
    ) -> tuple[dict[str, Any], pa.Buffer]:
        """See `Worker`."""
        text = json.dumps(header).encode()
        padded = text + b" " * (-len(text) % control.ALIGNMENT)
        request = await _sealed((padded, memoryview(body)))
        try:
            reply = memfds.empty("etl-reply")
        except BaseException:
            os.close(request)
            raise
        try:
            try:
                control.send(
                    self._wire, {"header": len(padded), "body": body.size}, (request, reply)
                )  # one small packet at a time: there is always room
            except ConnectionError as error:
                raise WorkerDied from error
            finally:
                os.close(request)
            return _taken(await self._packet(), reply, body_limit)
        finally:
            os.close(reply)

    def terminate(self) -> None:
        """See `Worker`."""
        if self._handle is not None:
            try:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            except ProcessLookupError:
                return  # it is gone and collected

    def kill(self) -> None:
        """See `Worker`."""
        self.terminate()
        self._wire.close()

    async def wait(self) -> int | None:
        """See `Worker`."""
        await asyncio.shield(self._gone)
        return await self._ended

    def _note_the_end(self) -> None:
        if self._handle is not None:
            self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._handle = None
            self._gone.set_result(None)

    async def _packet(self) -> bytes:
        """The next packet, or WorkerDied: its wire or its life ended. Descriptors that come along are refused."""
        arrived = self._loop.create_future()

        def wake() -> None:
            if not arrived.done():
                arrived.set_result(None)

        self._loop.add_reader(self._wire, wake)
        try:
            await asyncio.wait({arrived, self._gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._loop.remove_reader(self._wire)
        try:
            packet = self._wire.recv(control.MESSAGE_BYTES + 1)
        except (BlockingIOError, ConnectionError) as error:
            raise WorkerDied from error
        if not packet:
            raise WorkerDied
        return packet


def _taken(packet: bytes, reply: int, body_limit: int) -> tuple[dict[str, Any], pa.Buffer]:
    """A reply, out of the worker's reach from the first look at it."""
    try:
        sizes = control.decode(packet, control.ANSWER)
        header_bytes, body_bytes = sizes["header"], sizes["body"]
        if not (0 < header_bytes <= control.HEADER_BYTES and 0 <= body_bytes <= body_limit):
            raise BadReply("it announces a size over the limit")
        if memfds.seal(reply) != header_bytes + body_bytes:
            raise BadReply("it has another size than it announces")
        header = control.decode_object(os.pread(reply, header_bytes, body_bytes))
        return header, memfds.contents(reply, body_bytes)
    except control.BadMessage as error:
        raise BadReply(str(error)) from error
    except memfds.NotSealable as error:
        raise BadReply("its memory can't be sealed: the script holds on to it") from error


async def _sealed(parts: tuple[bytes, memoryview]) -> int:
    """A sealed file of a request, without holding the loop up while much is copied."""
    if len(parts[1]) <= _INLINE_BYTES:
        return memfds.sealed("etl-request", parts)
    making = asyncio.ensure_future(asyncio.to_thread(memfds.sealed, "etl-request", parts))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(_close_what_was_made)
        raise


def _close_what_was_made(making: asyncio.Future[int]) -> None:
    if not making.cancelled() and making.exception() is None:
        os.close(making.result())
