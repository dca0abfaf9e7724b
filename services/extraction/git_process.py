"""The program that reads git: `python -P -s -m services.extraction.git_process SETTINGS FOLDER`, started by extraction.

It loads dulwich once and forks a process per fetch, so that nothing of one fetch, neither its secret nor what a hostile
server did to it, is there in the next. The fetching process is killed with all that it started when it has answered, or
when nobody waits for it any more; its memory is limited, and its folder goes with it. Nothing that it says is a pickle.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import struct
import sys
import tempfile
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from featurestore.model.errors import FeatureStoreError
from services.extraction.git_address import GitAddress
from services.extraction.git_objects import FetchedScript
from services.extraction.git_reading import fetch, head_of_path
from services.extraction.git_secrets import spellings_of
from services.extraction.git_settings import GitSettings

MESSAGE = struct.Struct("=cI")
"""To the program: what to do, and the number of the fetch."""

FORK, END = b"F", b"E"
"""Fork a process for the connection that comes along; end it, whatever it does."""

_GRACE_SECONDS = 10
_PIECE = 2**16


def main(settings: GitSettings, folder: str) -> None:
    """Do what is asked until the service's end of the connection is closed.

    Args:
        folder: where each fetch has one of its own for what it fetches.
    """
    channel = socket.socket(fileno=os.dup(0))
    forked: dict[int, tuple[int, str]] = {}
    try:
        while (message := _receive(channel)) is not None:
            (what, number), descriptors = message
            if what == FORK:
                with socket.socket(fileno=descriptors[0]) as wire:
                    forked[number] = _fork(wire, channel, settings, folder)
            elif number in forked:
                _end(*forked.pop(number))
    finally:
        for each in forked.values():
            _end(*each)


def _receive(channel: socket.socket) -> tuple[tuple[bytes, int], list[int]] | None:
    packet, descriptors, _, _ = socket.recv_fds(channel, MESSAGE.size, 1)
    while packet and len(packet) < MESSAGE.size:
        more = channel.recv(MESSAGE.size - len(packet))
        packet = packet + more if more else b""
    return (MESSAGE.unpack(packet), descriptors) if packet else None


def _fork(wire: socket.socket, channel: socket.socket, settings: GitSettings, parent: str) -> tuple[int, str]:
    folder = tempfile.mkdtemp(dir=parent)
    pid = os.fork()
    if pid == 0:
        try:
            channel.close()
            os.setpgid(0, 0)
            _confine(settings)
            _answer(wire, settings, folder)
        finally:
            os._exit(0)
    os.setpgid(pid, pid)  # here too: whoever is first, it has its group before it may have to be killed
    return pid, folder


def _end(pid: int, folder: str) -> None:
    os.killpg(pid, signal.SIGKILL)  # it was not collected yet, so the number is still its own
    os.waitpid(pid, 0)
    shutil.rmtree(folder, ignore_errors=True)


def _confine(settings: GitSettings) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    if sys.platform == "linux":  # elsewhere no limit on data holds
        resource.setrlimit(resource.RLIMIT_DATA, (settings.memory_bytes, settings.memory_bytes))
        Path("/proc/self/oom_score_adj").write_text("1000")  # should memory run out, this is the one to go
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(int(settings.fetch_timeout_seconds) + _GRACE_SECONDS)  # if nobody is there to end it


def _answer(wire: socket.socket, settings: GitSettings, folder: str) -> None:
    request = json.loads(_all_of(wire))
    try:
        reply: dict[str, Any] = {"script": asdict(_asked(request, settings, folder))}
    except FeatureStoreError as error:
        reply = {
            "refused": {
                "code": error.code,
                "reason": error.reason,
                "message": error.message,
                "details": error.details,
            }
        }
    except BaseException:  # noqa: BLE001 - the service logs it, and answers that it is our fault
        reply = {"bug": traceback.format_exc()}
    text = json.dumps(reply)
    if "address" in request:
        for secret in spellings_of(request["address"]["url"], settings):
            text = text.replace(json.dumps(secret)[1:-1], "***")
    wire.sendall(text.encode())


def _asked(request: dict[str, Any], settings: GitSettings, folder: str) -> FetchedScript:
    if "address" in request:
        return fetch(GitAddress(**request["address"]), settings, folder, request["neighbours"])
    return head_of_path(request["path"], request["text"], request["neighbours"], settings)


def _all_of(wire: socket.socket) -> bytes:
    pieces = []
    while piece := wire.recv(_PIECE):
        pieces.append(piece)
    return b"".join(pieces)


if __name__ == "__main__":
    main(GitSettings.from_json(sys.argv[1]), sys.argv[2])
