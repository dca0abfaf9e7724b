"""Processes that a test starts, and that end with it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

BIN = Path(sys.executable).parent
"""Where `python` and the `featurestore` command of this environment are."""

START_SECONDS = 60.0
STOP_SECONDS = 40.0
_POLL_SECONDS = 0.05
_BELOW_EPHEMERAL = (20_000, 32_000)


class Process:
    """One command with its output in a file; can be ended and started again with the same settings.

    Attributes:
        log: standard output and error of all its starts.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Nothing is started yet.

        Args:
            command: found in this Python's own bin folder first.
            environment: all `FEATURESTORE...` variables that it gets; of others it gets ours.
        """
        self.command = list(command)
        self.log = log
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FEATURESTORE", "PYTHONPATH"))}
        path = os.pathsep.join((str(BIN), os.environ.get("PATH", os.defpath)))
        self._environment = {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; does not wait for anything."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self.log.parent,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        """Of the running process."""
        return self._started.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float = START_SECONDS) -> int:
        """Its exit code, once it has ended by itself."""
        try:
            return self._started.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} has not ended after {seconds:g} s:\n{self.log_tail()}") from None

    def terminate(self) -> None:
        """SIGTERM; does not wait."""
        self._started.terminate()

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, then its exit code; negative for a signal, which means that it did not drain."""
        self.terminate()
        return self.wait(seconds)

    def kill(self) -> None:
        """SIGKILL to this process alone, as `kill -9` does."""
        self._started.kill()
        self._started.wait()

    def close(self) -> None:
        """End it and whatever it started, gently if it lets us."""
        if self._process is None:
            return
        try:
            if self.running:
                self.stop()
        finally:
            with contextlib.suppress(ProcessLookupError):  # nothing is left of it
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def log_tail(self, characters: int = 4_000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-characters:]

    def serves(self, target: str) -> bool:
        """Whether the standard health service on `target` says SERVING.

        Raises:
            AssertionError: it has ended, with the end of its log.
        """
        if not self.running:
            raise AssertionError(
                f"{self} ended with exit code {self._started.returncode}:\n{self.log_tail()}"
            )
        return is_serving(target)

    def wait_until_serving(self, target: str, seconds: float = START_SECONDS) -> None:
        """Wait until it serves.

        Raises:
            AssertionError: it ended, or did not get there in time; with the end of its log.
        """
        ends = time.monotonic() + seconds
        while not self.serves(target):
            if time.monotonic() > ends:
                raise AssertionError(
                    f"{self} does not serve on {target} after {seconds:g} s:\n{self.log_tail()}"
                )
            time.sleep(_POLL_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"`{' '.join(self.command)}`"

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self} was not started"
        return self._process


def is_serving(target: str, service: str = "", seconds: float = 1.0) -> bool:
    """What the standard health service says now; False when nobody answers."""
    # A pool of its own: else a channel to a target that refused before waits out the old one's backoff.
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=seconds
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, from below the range that outgoing connections take theirs from."""
    draw = random.SystemRandom()  # two test runs side by side draw different ones
    while True:
        port = draw.randrange(*_BELOW_EPHEMERAL)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
