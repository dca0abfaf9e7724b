"""docker-compose.yml as real processes on this machine: the same commands and environments, without containers.

What a container gives is put in the place of: names of other containers become loopback and a free port, paths on
volumes become folders, `mongo` is the Mongo-protocol server of the tests with the user that its image would make.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

from tests.support.mongo import MongoServer
from tests.support.processes import BIN, START_SECONDS, Process, free_port

COMPOSE_FILE = Path(__file__).parents[2] / "docker-compose.yml"
MONGO, SECRETS = "mongo", "secrets"
_ANY_HOST = ("0.0.0.0", "localhost")  # noqa: S104 - read in the file, never bound
_ADDRESS = re.compile(r"([A-Za-z0-9_.-]+):(\d+)")


@dataclass(frozen=True, slots=True)
class Mount:
    """A named volume in a container."""

    volume: str
    target: str
    read_only: bool


class ComposeFile:
    """What docker-compose.yml says."""

    def __init__(self, path: Path = COMPOSE_FILE) -> None:
        """Read it."""
        self.text = path.read_text()
        parsed: dict[str, Any] = yaml.safe_load(self.text)
        self.services: dict[str, dict[str, Any]] = parsed["services"]
        self.volumes: dict[str, Any] = parsed["volumes"]
        self.networks: dict[str, Any] = parsed["networks"]

    @property
    def ours(self) -> list[str]:
        """The services that run for good from our own image."""
        return [name for name, service in self.services.items() if service.get("command", [""])[0] == "serve"]

    def environment(self, name: str) -> dict[str, str]:
        """A service's environment variables."""
        return dict(self.services[name].get("environment", {}))

    def mounts(self, name: str) -> list[Mount]:
        """A service's volumes, in either of the file's two forms."""
        found = []
        for given in self.services[name].get("volumes", []):
            if isinstance(given, str):
                volume, target, *mode = given.split(":")
                found.append(Mount(volume, target, mode == ["ro"]))
            else:
                assert given["type"] == "volume", given
                found.append(Mount(given["source"], given["target"], given.get("read_only", False)))
        return found

    def after(self, name: str) -> dict[str, str]:
        """The services that a service waits for, and the condition of each."""
        waits: dict[str, dict[str, str]] = self.services[name].get("depends_on", {})
        return {other: wait["condition"] for other, wait in waits.items()}

    def port(self, name: str) -> int:
        """The port that one of our services listens on, in its container."""
        return int(self.environment(name)["FEATURESTORE__LISTEN"].rpartition(":")[2])


class ComposeUp:
    """`docker compose up`, as processes; a context manager.

    Attributes:
        processes: our services by name, each of which can be stopped and started by itself.
        target: the gateway's published port.
    """

    def __init__(self, folder: Path, overrides: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Nothing is started yet.

        Args:
            folder: logs and volumes go here.
            overrides: more environment variables by service, as a docker-compose.override.yml would add them.
        """
        self.file = ComposeFile()
        self._folder = folder
        self._overrides = overrides or {}
        self._mongo = MongoServer(self.volume(MONGO))
        self._ports = {self.file.port(name): free_port() for name in self.file.ours}
        self._ports[27017] = urlsplit(self._mongo.url()).port or 0
        self.processes = {name: self.process(name) for name in self.file.ours}
        self.target = self.address("gateway")

    def address(self, name: str) -> str:
        """Where one of our services answers on this machine."""
        return f"127.0.0.1:{self._ports[self.file.port(name)]}"

    def volume(self, name: str) -> Path:
        """The folder that stands for a named volume."""
        return self._folder / "volumes" / name

    def process(self, name: str, more: Mapping[str, str] | None = None, log: str = "") -> Process:
        """A process of one of our services, not started; another one of the same when asked again.

        Args:
            more: further environment variables, in place of the file's where they meet.
            log: another name for its log file.
        """
        given = {**self.file.environment(name), **self._overrides.get(name, {}), **(more or {})}
        environment = {key: self.here(name, value) for key, value in given.items()}
        command = ["featurestore", *self.file.services[name]["command"]]
        return Process(command, environment, self._folder / f"{log or name}.log")

    def health_command(self, name: str) -> list[str]:
        """The command that a container's health check runs, for this machine."""
        how, *command = self.file.services[name]["healthcheck"]["test"]
        assert how == "CMD", how
        return [self.here(name, word) for word in command]

    def here(self, name: str, text: str) -> str:
        """A text of a service's definition with this machine's addresses and folders in it."""

        def loopback(match: re.Match[str]) -> str:
            host, port = match[1], int(match[2])
            known = host in _ANY_HOST or host in self.file.services
            return f"127.0.0.1:{self._ports[port]}" if known and port in self._ports else match[0]

        text = _ADDRESS.sub(loopback, text)
        for mount in self.file.mounts(name):
            text = text.replace(mount.target, str(self.volume(mount.volume)))
        return text

    def up(self) -> None:
        """Start everything, each as soon as what it depends on is there."""
        for volume in self.file.volumes:
            self.volume(volume).mkdir(parents=True, exist_ok=True)
        there: list[str] = []
        starting: list[str] = []
        waiting = sorted(self.file.services, key=lambda name: name not in self.processes)  # ours take longest
        ends = time.monotonic() + START_SECONDS
        while waiting or starting:
            for name in [name for name in waiting if self.file.after(name).keys() <= {*there}]:
                waiting.remove(name)
                self._start(name)
                (starting if name in self.processes else there).append(name)
            for name in [name for name in starting if self.processes[name].serves(self.address(name))]:
                starting.remove(name)
                there.append(name)
            assert time.monotonic() < ends, f"{starting} do not serve, {waiting} wait for them"
            time.sleep(0.05)

    def down(self) -> None:
        """End everything, callers before the called."""
        for name in reversed(self.file.ours):
            self.processes[name].close()
        self._mongo.close()

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _start(self, name: str) -> None:
        if name in self.processes:
            self.processes[name].start()
        elif name == SECRETS:
            self.run_secrets()
        else:
            assert name == MONGO, f"no stand-in for {name}"
            self._mongo.start()
            self._make_mongo_user()

    def run_secrets(self) -> None:
        """What the one-shot service does; again, if called again."""
        service = self.file.services[SECRETS]
        command = [self.here(SECRETS, word) for word in (*service["entrypoint"], *service["command"])]
        subprocess.run(command, check=True, env={"PATH": f"{BIN}:/usr/bin:/bin"}, timeout=30)

    def _make_mongo_user(self) -> None:
        """What the image's entry point does with its two variables."""
        given = self.file.environment(MONGO)
        password = Path(self.here(MONGO, given["MONGO_INITDB_ROOT_PASSWORD_FILE"])).read_text().strip()
        with self._mongo.client() as client:
            client.admin.command(
                "createUser", given["MONGO_INITDB_ROOT_USERNAME"], pwd=password, roles=["root"]
            )
