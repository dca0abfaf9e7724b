"""One running store per arrangement and session; tests keep apart by the names they use."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator

import pytest

from featurestore.client.sync import Store
from tests.conformance.world import World
from tests.support.stores import ARRANGEMENTS, Arrangement, chosen


@pytest.fixture(scope="session", params=chosen())
def arrangement(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Arrangement]:
    """A running store. pytest runs all tests of one arrangement before it starts the next."""
    with ARRANGEMENTS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(scope="session")
def store(arrangement: Arrangement) -> Store:
    """The blocking client of the running store."""
    return arrangement.client


@pytest.fixture(scope="session")
def target(arrangement: Arrangement) -> str:
    """The gateway's address, for stubs and for the async client."""
    return arrangement.target


@pytest.fixture(scope="session")
def world(arrangement: Arrangement, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Tables, saved queries and a repository in the running store, each made when it is first used."""
    return World(arrangement.client, arrangement.target, arrangement.name, tmp_path_factory.mktemp("world"))


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Names for tables, queries and ETLs that no other test uses: `fresh("users")` is the same name within a test."""
    test = re.sub(r"\W+", "_", request.node.originalname)[:30].rstrip("_")
    suffix = f"{test}_{uuid.uuid4().hex[:8]}"
    return lambda what: f"{what}_{suffix}"
