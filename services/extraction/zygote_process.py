"""The zygote, as the service sees it: started, asked for workers, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from typing import Any

from featurestore.etl import control
from featurestore.etl.control import Caps
from services.extraction.sealed_process import SealedWorker
from services.extraction.worker_environment import COMMAND, ENVIRONMENT
from services.extraction.worker_protocol import WorkerDied

_log = logging.getLogger(__name__)

_TAIL_BYTES = 16 * 2**10


class CannotSealHere(Exception):
    """The zygote says that this kernel or machine can't seal, and why."""


class Zygote:
    """A running zygote process; made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, channel: socket.socket, caps: Caps) -> None:
        self._process = process
        self._channel = channel
        self._caps = caps
        self._loop = asyncio.get_running_loop()
        self._first: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._forks: asyncio.Queue[asyncio.Future[tuple[int, int]]] = asyncio.Queue()
        self._ended: dict[int, asyncio.Future[int | None]] = {}
        self._errors = asyncio.create_task(self._log_errors())
        self.libraries: dict[str, str] = {}
        self.dead = asyncio.Event()
        self._loop.add_reader(channel, self._receive)

    @classmethod
    async def start(cls, caps: Caps) -> Zygote:
        """Start a process and wait until it can fork.

        Raises:
            CannotSealHere: it never will.
            WorkerDied: it ended; the log says why.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                "featurestore.etl.zygote",
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        zygote = cls(process, ours, caps)
        try:
            zygote.libraries = _libraries(await zygote._first)
        except BaseException:
            await zygote.close()
            raise
        return zygote

    async def fork(self) -> SealedWorker:
        """A worker that is sealed and waits for a script.

        Raises:
            WorkerDied: it, or the zygote, ended.
            BadReply: it could not be sealed.
        """
        if self.dead.is_set():
            raise WorkerDied
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        forked: asyncio.Future[tuple[int, int]] = self._loop.create_future()
        try:
            control.send(
                self._channel,
                {
                    "memory_bytes": self._caps.memory_bytes,
                    "file_bytes": self._caps.file_bytes,
                    "cpu_seconds": self._caps.cpu_seconds,
                },
                [theirs.fileno()],
            )
        except OSError as error:
            ours.close()
            raise WorkerDied from error
        finally:
            theirs.close()
        self._forks.put_nowait(forked)
        try:
            pid, handle = await asyncio.shield(forked)
        except BaseException:
            ours.close()  # which ends the worker
            forked.add_done_callback(_close_the_handle)
            raise
        worker = SealedWorker(ours, handle, self._ended[pid], self.libraries)
        try:
            await worker.ready()
        except BaseException:
            worker.kill()
            raise
        return worker

    async def close(self) -> None:
        """End it, and with it what it forked."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._die()
        await self._errors

    def _receive(self) -> None:
        while True:
            try:
                packet, descriptors, _, _ = socket.recv_fds(self._channel, control.MESSAGE_BYTES + 1, 1)
            except BlockingIOError:
                return
            except ConnectionError:
                packet, descriptors = b"", []
            if not packet:
                self._die()
                return
            self._take(json.loads(packet), descriptors)

    def _take(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """The zygote runs no script, so its messages are as trusted as we are."""
        if not self._first.done():
            self._first.set_result(message)
        elif "pid" in message:
            self._ended[message["pid"]] = self._loop.create_future()
            self._forks.get_nowait().set_result((message["pid"], descriptors[0]))
        elif (ended := self._ended.pop(message["ended"], None)) is not None and not ended.done():
            ended.set_result(message["status"])

    def _die(self) -> None:
        if self.dead.is_set():
            return
        self.dead.set()
        self._loop.remove_reader(self._channel)
        self._channel.close()
        if not self._first.done():
            self._first.set_exception(WorkerDied())
        while not self._forks.empty():
            self._forks.get_nowait().set_exception(WorkerDied())
        for ended in self._ended.values():
            if not ended.done():
                ended.set_result(None)
        self._ended.clear()

    async def _log_errors(self) -> None:
        tail = b""
        while self._process.stderr is not None and (piece := await self._process.stderr.read(65536)):
            tail = (tail + piece)[-_TAIL_BYTES:]
        if tail:
            _log.warning("the ETL zygote ended; it printed: %s", tail.decode(errors="replace"))


def _libraries(first: dict[str, Any]) -> dict[str, str]:
    if "cannot_seal" in first:
        raise CannotSealHere(str(first["cannot_seal"]))
    return {str(name): str(version) for name, version in first["libraries"].items()}


def _close_the_handle(forked: asyncio.Future[tuple[int, int]]) -> None:
    """Of a fork that nobody waits for any more."""
    if not forked.cancelled() and forked.exception() is None:
        os.close(forked.result()[1])
