"""The processes that read git, as the service sees them: asked, waited for, ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from featurestore.etl import control
from services.extraction import git_process
from services.extraction.git_settings import GitSettings

_COMMAND = (sys.executable, "-P", "-s", "-m", "services.extraction.git_process")

_REPLY_BYTES = 64 * 2**20
_PIECE = 2**18


class FetchDied(Exception):
    """The process ended without an answer."""


class GitProcesses:
    """Starts a process per question; what it forks them from is started with the first."""

    def __init__(self, settings: GitSettings, folder: Path | None = None) -> None:
        """Nothing is started yet.

        Args:
            folder: for what is being fetched, and for nothing else; None for a temporary one.
        """
        self._settings = settings
        self._parent = folder
        self._places = asyncio.Semaphore(settings.processes)
        self._starting = asyncio.Lock()
        self._program: asyncio.subprocess.Process | None = None
        self._channel: socket.socket | None = None
        self._folder = ""
        self._numbers = itertools.count()
        self.closed = False

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """A process's answer; cancelling ends the process, and all that it started.

        Raises:
            FetchDied: there is none.
        """
        async with self._places:
            channel = await self._started()
            number = next(self._numbers) % 2**32
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            try:
                with theirs:
                    self._tell(channel, git_process.FORK, number, [theirs.fileno()])
                try:
                    return await _conversation(ours, request)
                finally:
                    with contextlib.suppress(FetchDied):  # then they have all been ended
                        self._tell(channel, git_process.END, number, [])
            finally:
                ours.close()

    async def close(self) -> None:
        """End all of them, and wait for that; whoever waits for an answer gets `FetchDied`."""
        self.closed = True
        async with self._starting:
            if self._channel is not None:
                self._channel.close()
                self._channel = None
            await self._ended()

    async def _started(self) -> socket.socket:
        async with self._starting:
            if self.closed:
                raise FetchDied
            if self._channel is not None:
                if _open(self._channel):
                    return self._channel
                self._channel.close()
                await self._ended()
            self._folder = await asyncio.to_thread(_new_folder, self._parent)
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    self._program = await asyncio.create_subprocess_exec(
                        *_COMMAND,
                        self._settings.as_json(),
                        self._folder,
                        stdin=theirs.fileno(),
                        stdout=asyncio.subprocess.DEVNULL,
                        env=dict(self._settings.environment),
                        cwd="/",
                        start_new_session=True,
                    )
            except BaseException:
                ours.close()
                raise
            ours.setblocking(False)
            self._channel = ours
            return ours

    async def _ended(self) -> None:
        """Wait for the program, whose connection is closed, and clear away what it may have left."""
        if self._program is not None:
            await self._program.wait()
        if self._folder:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _tell(self, channel: socket.socket, what: bytes, number: int, descriptors: list[int]) -> None:
        """A few bytes, for which there is room unless the program hangs."""
        try:
            socket.send_fds(channel, [git_process.MESSAGE.pack(what, number)], descriptors)
        except OSError as error:
            raise FetchDied from error


def _new_folder(parent: Path | None) -> str:
    if parent is not None:
        parent = parent.absolute()  # the program works elsewhere
        shutil.rmtree(parent, ignore_errors=True)  # what a service left that was killed
        parent.mkdir(parents=True)
    return tempfile.mkdtemp(prefix="featurestore-git-", dir=parent)


def _open(channel: socket.socket) -> bool:
    """Whether the other end, which never says anything, is still there."""
    try:
        return bool(channel.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


async def _conversation(wire: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    reply = bytearray()
    try:
        await loop.sock_sendall(wire, json.dumps(request).encode())
        wire.shutdown(socket.SHUT_WR)
        while piece := await loop.sock_recv(wire, _PIECE):
            reply += piece
            if len(reply) > _REPLY_BYTES:
                raise FetchDied("its answer is too long")
        return control.decode_object(bytes(reply))
    except (OSError, control.BadMessage) as error:
        raise FetchDied from error
