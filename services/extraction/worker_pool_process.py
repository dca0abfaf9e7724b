"""One plain ETL worker process, as the service sees it: started, asked, killed. Not sealed: for `SANDBOX=unsafe` only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from typing import Any

import pyarrow as pa

from featurestore.etl.wire import PREFIX, pack
from services.extraction.worker_environment import COMMAND, ENVIRONMENT
from services.extraction.worker_protocol import BadReply, WorkerDied

_log = logging.getLogger(__name__)

_HEADER_LIMIT = 4 * 2**20
_PIECE = 2**20
_TAIL_BYTES = 16 * 2**10


class WorkerProcess:
    """Implements `worker_protocol.Worker`."""

    def __init__(self, process: asyncio.subprocess.Process, wire: socket.socket, output: int) -> None:
        self._process = process
        self._wire = wire
        self._output: int | None = output
        self._tail = bytearray()
        self._loop = asyncio.get_running_loop()
        self.libraries: dict[str, str] = {}
        self.loaded = False
        self._loop.add_reader(output, self._read_output)

    @classmethod
    async def start(cls) -> WorkerProcess:
        """Start a process and wait until it is ready for a script.

        Raises:
            WorkerDied: it ended before that; the log says why.
            BadReply: something else answered.
        """
        ours, theirs = socket.socketpair()
        output, printed = os.pipe()
        ours.setblocking(False)
        os.set_blocking(output, False)
        try:
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                "featurestore.etl.worker",
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=printed,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            os.close(printed)
        worker = cls(process, ours, output)
        try:
            header, _ = await worker._receive(body_limit=0)
            worker.libraries = {str(name): str(version) for name, version in header["libraries"].items()}
        except BaseException as error:
            if isinstance(error, Exception):
                _log.exception("an ETL worker did not start; it printed: %s", worker.printed)
            worker.kill()
            await worker.wait()
            raise
        return worker

    @property
    def alive(self) -> bool:
        """See `Worker`."""
        return self._process.returncode is None

    async def ask(
        self, header: dict[str, Any], body: pa.Buffer, *, body_limit: int
    ) -> tuple[dict[str, Any], pa.Buffer]:
        """See `Worker`."""
        try:
            first = min(body.size, _PIECE)
            view = memoryview(body)
            await self._loop.sock_sendall(self._wire, pack(header, body.size) + view[:first])
            for at in range(first, body.size, _PIECE):
                await asyncio.sleep(0)  # a reader as fast as we are would keep the loop for itself
                await self._loop.sock_sendall(self._wire, view[at : at + _PIECE])
        except ConnectionError as error:
            raise WorkerDied from error
        return await self._receive(body_limit)

    def terminate(self) -> None:
        """See `Worker`; its whole process group ends."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """See `Worker`; its whole process group ends."""
        self.terminate()
        self._wire.close()
        if self._output is not None:
            self._read_output()
        if self._output is not None:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = None

    async def wait(self) -> int:
        """See `Worker`."""
        return await self._process.wait()

    @property
    def printed(self) -> str:
        """See `Worker`."""
        return self._tail.decode(errors="replace")

    async def _receive(self, body_limit: int) -> tuple[dict[str, Any], pa.Buffer]:
        try:
            start = await self._at_least(b"", PREFIX.size)
            header_bytes, body_bytes = PREFIX.unpack_from(start)
            if header_bytes > _HEADER_LIMIT or body_bytes > body_limit:
                raise BadReply(f"a message of {header_bytes} and {body_bytes} bytes is over the limit")
            ends = PREFIX.size + header_bytes
            start = await self._at_least(start, ends)
            body = pa.allocate_buffer(body_bytes)
            view = memoryview(body).cast("B")
            already = start[ends : ends + body_bytes]
            view[: len(already)] = already
            at = len(already)
            while at < body_bytes:
                count = await self._loop.sock_recv_into(self._wire, view[at : at + _PIECE])
                if not count:
                    raise WorkerDied
                at += count
                await asyncio.sleep(0)
        except ConnectionError as error:
            raise WorkerDied from error
        try:
            header = json.loads(start[PREFIX.size : ends])
        except ValueError as error:
            raise BadReply("the header is no JSON") from error
        if not isinstance(header, dict):
            raise BadReply("the header is no JSON object")
        return header, body

    async def _at_least(self, start: bytes, count: int) -> bytes:
        while len(start) < count:
            piece = await self._loop.sock_recv(self._wire, max(65536, count - len(start)))
            if not piece:
                raise WorkerDied
            start += piece
        return start

    def _read_output(self) -> None:
        if self._output is None:
            return
        try:
            piece = os.read(self._output, 65536)
        except BlockingIOError:
            return
        self._tail += piece
        del self._tail[:-_TAIL_BYTES]
        if not piece:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = None
