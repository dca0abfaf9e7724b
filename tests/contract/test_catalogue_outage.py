"""What a gateway serves while its catalogue is down, itself restarted meanwhile: four processes, a real Mongo protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import pytest

from featurestore.client.sync import Store
from featurestore.model.errors import Unavailable
from tests.conformance.world import World
from tests.support.processes import Process
from tests.support.stores import processes

T = TypeVar("T")
RECONNECT_SECONDS = 30.0
NO_QUERY = "qry_" + "a" * 26


@dataclass(frozen=True)
class Known:
    """A store whose gateway has resolved a query and an ETL of it, each by its name."""

    store: Store
    target: str
    gateway: Process
    catalog: Process
    world: World
    query: str
    etl: str

    def rows(self, query: str) -> list[int]:
        """The orders that are served for user 1."""
        live = self.store.query_realtime(query, index_key="user_id", index_value=1)
        return sorted(row["order_id"] for row in live.to_pylist())

    def features(self, query: str | None, etl: str) -> list[float]:
        """The features that are served for user 1."""
        live = self.store.extract_realtime(query, etl, index_key="user_id", index_value=1)
        return sorted(row["twice"] for row in live.to_pylist())

    def serves_on(self) -> None:
        """By id and by name, for a query and for an ETL.

        Raises:
            AssertionError: it does not.
        """
        assert self.rows("demo") == self.rows("demo@1") == self.rows(self.query) == [1, 2]
        assert self.features("demo", "features") == self.features(None, self.etl) == [3.0, 5.0]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    folder = tmp_path_factory.mktemp("outage")
    with processes(folder) as running:
        world = World(running.client, running.target, "processes", folder)
        query = world.store.query_train(world.sql, save=True, name="demo", index_key="user_id").query_id
        etl = world.store.extract_train(query, world.script("good.py"), save=True, name="features").etl_id
        found = Known(
            world.store,
            running.target,
            running.processes["gateway"],
            running.processes["catalog"],
            world,
            query,
            etl,
        )
        found.serves_on()
        yield found


def test_all_that_was_resolved_is_served_on_also_by_a_gateway_that_was_restarted(known: Known) -> None:
    known.catalog.kill()
    try:
        known.serves_on()
        assert known.store.get_query("demo").query_id == known.query

        known.gateway.kill()
        known.gateway.start()
        known.gateway.wait_until_serving(known.target)

        known.serves_on()
        assert known.store.get_etl("features").etl_id == known.etl
        for ask in (lambda: known.rows(NO_QUERY), lambda: known.rows("other"), known.store.list_queries):
            with pytest.raises(Unavailable):
                ask()
        assert any("catalog" in problem for problem in known.store.status().problems)
        known.store.publish(known.world.orders, [{"order_id": 9, "user_id": 1, "amount": 4.0}])
        assert known.rows("demo") == [1, 2, 9]  # old definitions, new rows
        known.store.delete(known.world.orders, [9])
    finally:
        known.catalog.start()


def test_saves_go_on_when_the_catalogue_is_back(known: Known) -> None:
    known.catalog.wait_until_serving(_address_of(known.catalog))
    sql = f"SELECT user_id FROM feature_store.{known.world.orders}"
    saved = _soon(lambda: known.store.query_train(sql, save=True, name="demo"))
    assert known.store.get_query("demo@2").query_id == saved.query_id
    assert known.store.status().problems == ()
    assert known.store.get_query("demo@1").query_id == known.query


def _soon(call: Callable[[], T]) -> T:
    """The call's answer, once the gateway has connected again: it waits a little between its attempts."""
    ends = time.monotonic() + RECONNECT_SECONDS
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)


def _address_of(process: Process) -> str:
    return process._environment["FEATURESTORE__LISTEN"]
