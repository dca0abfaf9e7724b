"""Open a local store: attach to its server, or start it. One child process per folder runs all four services."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from types import TracebackType
from typing import Self

import grpc

from featurestore.api.gateway.v1.gateway_pb2 import AttachRequest, AttachResponse
from featurestore.api.gateway.v1.gateway_pb2_grpc import FeatureStoreServiceStub
from featurestore.host.folder import StoreFolder
from featurestore.model.errors import FailedPrecondition, Unavailable
from featurestore.rpc.channels import open_sync_channel
from featurestore.rpc.errors import from_rpc_error
from featurestore.version import __version__

START_SECONDS = 60.0
"""How long a server may take to start, the replay of its log included, before the client gives up waiting."""

ATTACH_SECONDS = 10.0
"""How long a server may take to answer a client that attaches; one that takes longer is taken for gone."""

_POLL_SECONDS = 0.02
_LOG_TAIL = 2_000


class Lease:
    """A client's hold on a local server: while it is open, the server stays. Its end, kill -9 included, is seen."""

    def __init__(self, folder: StoreFolder, start_seconds: float = START_SECONDS) -> None:
        """Attach to the folder's server; start one if there is none.

        Raises:
            FailedPrecondition: `VERSION_MISMATCH`, `STORE_FORMAT`, `NOT_A_STORE`, `LOCAL_START`: the server did not
                start; the end of its log is in the message.
            Unavailable: `LOCAL_START_SLOW`.
        """
        self._channel: grpc.Channel | None = None
        self.target = f"unix:{folder.socket}"
        folder.make()
        if self._attach():
            return
        with folder.starting():
            self._start(folder, time.monotonic() + start_seconds)

    def close(self) -> None:
        """Let the server go."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attach(self) -> bool:
        """Attach if a server answers that is not closing."""
        channel = open_sync_channel(self.target)
        try:
            held = FeatureStoreServiceStub(channel).Attach(AttachRequest(package_version=__version__))
            if not _answered(held):
                channel.close()
                return False
        except grpc.RpcError as error:
            channel.close()
            refusal = from_rpc_error(error, self.target)
            if isinstance(refusal, Unavailable):
                return False
            raise refusal from None
        self._channel, self._held = channel, held  # a stream that nobody refers to is cancelled
        return True

    def _start(self, folder: StoreFolder, until: float) -> None:
        child: subprocess.Popen[bytes] | None = None
        log_before = folder.log.stat().st_size if folder.log.exists() else 0
        while not self._attach():
            if time.monotonic() > until:
                raise Unavailable(
                    "LOCAL_START_SLOW",
                    f"the server of {folder.path} does not answer yet: look into {folder.log}, or try again",
                    path=folder.path,
                )
            if child is not None and child.poll() is not None:
                tail = folder.log.read_text(errors="replace")[log_before:][-_LOG_TAIL:].strip()
                raise FailedPrecondition(
                    "LOCAL_START",
                    f"the server of {folder.path} did not start (exit code {child.returncode}): {tail}",
                    path=folder.path,
                )
            if child is None:
                with folder.served() as free:
                    pass
                if free:  # else a server is starting or closing: it will answer, or give its lock back
                    child = _spawn(folder)
            time.sleep(_POLL_SECONDS)
        if child is not None:  # it outlives us, or we it: then somebody must collect its exit code
            threading.Thread(target=child.wait, name="featurestore-local-server", daemon=True).start()


def _answered(held: Iterator[AttachResponse]) -> bool:
    """Wait for the first message of the lease.

    The call itself has no end, so its wait is bounded here: a server that is killed while it accepts a connection
    can leave gRPC waiting for ever, which would keep every client of the folder from starting another.

    Raises:
        grpc.RpcError: the server refused, or nobody serves.
    """
    answers: queue.SimpleQueue[grpc.RpcError | None] = queue.SimpleQueue()

    def wait() -> None:
        try:
            next(held)
        except grpc.RpcError as error:
            answers.put(error)
        else:
            answers.put(None)

    threading.Thread(target=wait, name="featurestore-local-attach", daemon=True).start()
    try:
        refused = answers.get(timeout=ATTACH_SECONDS)
    except queue.Empty:
        return False
    if refused is not None:
        raise refused
    return True


def refuse_bare_client() -> None:
    """Say what is missing where only the bare client is installed.

    Raises:
        ImportError: naming the extra.
    """
    missing = [
        name for name in ("duckdb", "dulwich", "pydantic_settings", "uvloop") if find_spec(name) is None
    ]
    if missing:
        raise ImportError(f"a local store needs {', '.join(missing)}: pip install 'featurestore[local]'")


def _spawn(folder: StoreFolder) -> subprocess.Popen[bytes]:
    """Start the server in a session of its own, with no descriptor of ours and its output in server.log."""
    environment = {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}
    }
    with folder.log.open("ab") as log:
        folder.log.chmod(0o600)
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", "featurestore.host.local_server", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
            close_fds=True,
        )
