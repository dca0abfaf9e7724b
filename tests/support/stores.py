"""The store in each of the arrangements that the conformance suite must pass unchanged on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import featurestore
from featurestore.client.sync import Store
from featurestore.host.folder import StoreFolder
from tests.support.compose import ComposeUp
from tests.support.mongo import running_mongo
from tests.support.processes import Process, free_port

FILE_REPOSITORIES = {
    "FEATURESTORE__EXTRACTION__GIT_SCHEMES": "https,ssh,file",
    "FEATURESTORE__EXTRACTION__GIT_NETWORKS": "127.0.0.0/8,::1/128",
}
"""On in local mode; elsewhere the tests, whose repositories are folders, have to switch it on."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """A running store.

    Attributes:
        name: one of `ARRANGEMENTS`.
        client: connected, blocking.
        target: the gateway, for stubs and other clients.
        processes: the services by name; none in local mode.
        addresses: where each of them listens.
    """

    name: str
    client: Store
    target: str
    processes: Mapping[str, Process] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def local(folder: Path) -> Iterator[Arrangement]:
    """Local mode: one child process with everything in a folder."""
    with featurestore.local(folder / "store") as client:
        yield Arrangement("local", client, f"unix:{StoreFolder(folder / 'store').socket}")


@contextmanager
def processes(folder: Path) -> Iterator[Arrangement]:
    """Four processes on loopback, started all at once, with a catalogue that speaks MongoDB's protocol."""
    address = {name: f"localhost:{free_port()}" for name in ("catalog", "realtime", "extraction", "gateway")}
    with ExitStack() as stack:
        mongo = stack.enter_context(running_mongo(folder / "mongo"))
        peers = {
            f"FEATURESTORE__PEERS__{name.upper()}": address[name] for name in address if name != "gateway"
        }
        own = {
            "catalog": {"FEATURESTORE__CATALOG__STORE_URL": mongo.url("featurestore")},
            "realtime": {"FEATURESTORE__REALTIME__FOLDER": str(folder / "realtime")},
            "extraction": {
                "FEATURESTORE__EXTRACTION__FOLDER": str(folder / "extraction"),
                **FILE_REPOSITORIES,
            },
            "gateway": {"FEATURESTORE__GATEWAY__FOLDER": str(folder / "gateway")},
        }
        started = {
            name: stack.enter_context(
                Process(
                    ["featurestore", "serve", name],
                    {"FEATURESTORE__LISTEN": address[name], **peers, **own[name]},
                    folder / f"{name}.log",
                )
            )
            for name in address
        }
        for name, process in started.items():
            process.wait_until_serving(address[name])
        client = stack.enter_context(featurestore.connect(address["gateway"]))
        yield Arrangement("processes", client, address["gateway"], started, address)


@contextmanager
def compose(folder: Path) -> Iterator[Arrangement]:
    """The commands and environments of docker-compose.yml, in its order."""
    with (
        ComposeUp(folder, overrides={"extraction": FILE_REPOSITORIES}) as up,
        featurestore.connect(up.target) as client,
    ):
        yield Arrangement("compose", client, up.target, up.processes)


ARRANGEMENTS: Mapping[str, Callable[[Path], AbstractContextManager[Arrangement]]] = {
    "local": local,
    "processes": processes,
    "compose": compose,
}


def chosen() -> list[str]:
    """The arrangements to run: all, or those in `FEATURESTORE_TEST_ARRANGEMENTS`, such as `local,compose`."""
    wanted = os.environ.get("FEATURESTORE_TEST_ARRANGEMENTS", ",".join(ARRANGEMENTS)).split(",")
    unknown = set(wanted) - set(ARRANGEMENTS)
    assert not unknown, f"no such arrangement: {unknown}; there are {list(ARRANGEMENTS)}"
    return wanted
