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
        self._awaited: asyncio.Future[bytes] | None = None
        self._broken: WorkerDied | BadReply | None = None
        self._loop.add_reader(handle, self._note_the_end)
        self._loop.add_reader(wire, self._arrive)
        self.libraries = libraries
        self.loaded = False

    @property
    def alive(self) -> bool:
        """See `Worker`; one that broke its connection is as good as gone."""
        return not self._gone.done() and self._broken is None

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
        packet = await self._packet(self._expect())
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
            awaited = self._expect()
            try:
                control.send(
                    self._wire, {"header": len(padded), "body": body.size}, (request, reply)
                )  # one small packet at a time: there is always room
            except ConnectionError as error:
                self._awaited = None
                raise WorkerDied from error
            finally:
                os.close(request)
            return _taken(await self._packet(awaited), reply, body_limit)
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
        if self._wire.fileno() >= 0:
            self._loop.remove_reader(self._wire)
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
            self._arrive()  # the end of its wire, if that was not seen before its own

    def _expect(self) -> asyncio.Future[bytes]:
        """Whatever comes from now on is an answer."""
        if self._broken is not None:
            raise self._broken
        self._awaited = self._loop.create_future()
        return self._awaited

    async def _packet(self, awaited: asyncio.Future[bytes]) -> bytes:
        try:
            return await awaited
        finally:
            self._awaited = None

    def _arrive(self) -> None:
        """Take the next packet. Descriptors that come along are refused, and so is what nobody asked for."""
        if self._wire.fileno() < 0 or self._broken is not None:
            return
        try:
            packet = self._wire.recv(control.MESSAGE_BYTES + 1)
        except BlockingIOError:
            return
        except ConnectionError:
            packet = b""
        awaited = self._awaited if self._awaited is not None and not self._awaited.done() else None
        if packet and awaited is not None:
            awaited.set_result(packet)
            return
        self._broken = BadReply("it speaks when it was not asked") if packet else WorkerDied()
        self._loop.remove_reader(self._wire)
        if awaited is not None:
            awaited.set_exception(self._broken)


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
