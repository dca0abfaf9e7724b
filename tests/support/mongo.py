"""A real MongoDB server as a child process: `mongod` where there is one, else secantusd over the same wire."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pymongo
from pymongo.errors import PyMongoError

from tests.support.processes import BIN, Process, free_port

_START_SECONDS = 30.0
_POLL_SECONDS = 0.05


class MongoServer:
    """One standalone server on loopback; its data outlives `kill`, as on a machine whose process died."""

    def __init__(self, folder: Path) -> None:
        """Nothing is started yet.

        Args:
            folder: gets the data and the log.
        """
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        self._process = Process(_command(data, self._port), {}, folder / "mongo.log")

    def start(self) -> None:
        """Start it, or start it again after `kill`; returns when it answers.

        Raises:
            AssertionError: it ended or did not answer in time; with the end of its log.
        """
        self._process.start()
        ends = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.running, f"{self._process} ended:\n{self._process.log_tail()}"
            assert time.monotonic() < ends, f"{self._process} does not answer:\n{self._process.log_tail()}"
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """SIGKILL: connections break, acknowledged writes stay. `start` brings it back on the same port."""
        self._process.kill()

    def close(self) -> None:
        """End it for good."""
        if self._process.running:
            self._process.kill()  # nobody needs this data any more, so nothing is drained
        self._process.close()

    def url(self, database: str = "") -> str:
        """A URL with a database in it; without a name, a new and empty one at each call."""
        return f"mongodb://127.0.0.1:{self._port}/{database or f'test_{uuid4().hex[:16]}'}"

    def fail_next(self, command: str, *, times: int = 1, **failure: object) -> None:
        """Let the next commands of this name fail, whoever sends them, through `failCommand`.

        Args:
            command: as on the wire, such as `insert` or `find`.
            times: how many of them.
            failure: what happens, such as `closeConnection=True` or `errorCode=14031`.
        """
        with self.client() as client:
            client.admin.command(
                {
                    "configureFailPoint": "failCommand",
                    "mode": {"times": times},
                    "data": {"failCommands": [command], **failure},
                }
            )

    def client(self) -> pymongo.MongoClient[dict[str, object]]:
        """A blocking client of the test's own; close it, or enter it."""
        return pymongo.MongoClient(
            "127.0.0.1", self._port, serverSelectionTimeoutMS=1000, connectTimeoutMS=1000
        )

    def _answers(self) -> bool:
        try:
            with pymongo.timeout(1), self.client() as client:
                client.admin.command("ping")
        except PyMongoError:
            return False
        return True


@contextmanager
def running_mongo(folder: Path) -> Iterator[MongoServer]:
    """A server that answers now and ends with the block; about 1.5 s to start.

    Args:
        folder: an empty one, such as pytest's `tmp_path`.
    """
    server = MongoServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.close()


def _command(data: Path, port: int) -> list[str]:
    mongod = shutil.which("mongod")
    if mongod:
        options = ["--dbpath", str(data), "--bind_ip", "127.0.0.1", "--nounixsocket"]
        return [mongod, *options, "--port", str(port), "--setParameter", "enableTestCommands=1"]
    # Synced commits, so that an acknowledged write survives the kill as it does in a real one with `j: true`.
    options = ["--storage-path", str(data), "--host", "127.0.0.1", "--sync-on-commit", "--cache-size", "64M"]
    return [
        str(BIN / "secantusd-py"),
        *options,
        "--port",
        str(port),
        "--standalone",
        "--enable-test-commands",
    ]
