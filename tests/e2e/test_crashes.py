"""kill -9 at random moments: what was acknowledged is there, once, in realtime and in the warehouse."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial

import pytest

import featurestore
from featurestore.host.folder import StoreFolder
from tests.support import stores
from tests.support.crashing import (
    CALLERS,
    RECOVERY_SECONDS,
    Figures,
    Publisher,
    Saves,
    Tables,
    held_against,
    under_fire,
    until_answered,
)
from tests.support.figures import serving_process
from tests.support.processes import is_serving

KILLS = 8
ROUNDS = 3
"""Of the long form."""


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Four processes and a Mongo-protocol catalogue."""
    with stores.processes(tmp_path_factory.mktemp("crashes")) as running:
        yield running


@pytest.fixture
def seed(tell):
    """Another one at every run, unless `FEATURESTORE_TEST_SEED` repeats one."""
    chosen = int(os.environ.get("FEATURESTORE_TEST_SEED", random.SystemRandom().randrange(10**6)))
    tell(f"FEATURESTORE_TEST_SEED={chosen}")
    return chosen


def restart(four: stores.Arrangement, service: str) -> None:
    process = four.processes[service]
    process.kill()
    process.start()
    process.wait_until_serving(four.addresses[service])


def publish_under_fire(
    open_store: Callable[[], featurestore.Store],
    kill_and_restart: Callable[[], object],
    seed: int,
    kills: int,
    *,
    reopen: bool = False,
) -> Figures:
    """One round: publish, kill, and compare when all is back."""
    with open_store() as store:
        tables = Tables(store)
    publishers = [Publisher(number, tables, seed) for number in range(CALLERS)]
    callers = [partial(publisher.run, open_store, reopen=reopen) for publisher in publishers]

    def promises() -> int:
        return sum(attempt.acknowledged for publisher in publishers for attempt in publisher.attempts)

    under_fire(callers, kill_and_restart, promises, draw=random.Random(seed), kills=kills)
    with open_store() as store:
        figures = held_against(publishers, tables, tables.rows(store))
    figures.kills = kills
    assert figures.acknowledged > CALLERS
    return figures


def publish_at(four: stores.Arrangement, service: str, seed: int, kills: int) -> Figures:
    return publish_under_fire(
        lambda: featurestore.connect(four.target), partial(restart, four, service), seed, kills
    )


def save_under_fire(four: stores.Arrangement, seed: int, kills: int) -> str:
    """One round: save what others save at the same time, kill, and compare when all is back."""
    store = four.client
    table = Tables(store).accounts
    texts = (
        f"SELECT account, '{seed} {number}' AS text FROM feature_store.{table}"
        for number in itertools.count()
    )
    each = list(itertools.islice(texts, 10_000))
    began = time.monotonic()

    def now() -> str:
        return each[
            int((time.monotonic() - began) / 0.2)
        ]  # a text has 0.2 s, in which several callers save it

    savers = [Saves(number) for number in range(CALLERS)]
    under_fire(
        [partial(saver.run, store, now, seed) for saver in savers],
        partial(restart, four, "catalog"),
        lambda: sum(len(saver.promised) for saver in savers),
        draw=random.Random(seed),
        kills=kills,
    )
    listed = until_answered(store.list_queries)
    ids = [query.query_id for query in listed]
    assert len(set(ids)) == len(ids), "a query is there twice"
    mine = [query for query in listed if query.sql in each]
    id_of = {query.sql: query.query_id for query in mine}
    assert len(id_of) == len(mine), "one text is two queries"
    promised = [promise for saver in savers for promise in saver.promised]
    for sql, query_id, name in promised:
        assert id_of[sql] == query_id
        assert store.get_query(name).query_id == query_id
    given_up = set().union(*(saver.given_up for saver in savers)) - {sql for sql, _, _ in promised}
    assert set(id_of) <= {sql for sql, _, _ in promised} | given_up
    assert len(promised) > len(id_of), "no text was saved by two callers at once"
    return (
        f"{kills} kills; {len(promised)} acknowledged saves of {len({sql for sql, _, _ in promised})} texts, "
        f"{sum(saver.repeated for saver in savers)} of them repeated; {sum(saver.failures for saver in savers)} failed "
        f"calls; of {len(given_up)} given-up texts {len(given_up & set(id_of))} landed"
    )


def fire_at_local(folder, seed: int, kills: int) -> Figures:
    target = f"unix:{StoreFolder(folder).socket}"

    def kill_and_wait() -> None:
        os.kill(serving_process(StoreFolder(folder).socket), signal.SIGKILL)
        until = time.monotonic() + RECOVERY_SECONDS
        while not is_serving(target):  # started by one of the callers
            assert time.monotonic() < until, (folder / "server.log").read_text()[-2_000:]
            time.sleep(0.05)

    return publish_under_fire(lambda: featurestore.local(folder), kill_and_wait, seed, kills, reopen=True)


@pytest.mark.parametrize("service", ["realtime", "extraction"])
def test_what_was_acknowledged_survives_a_killed(four, service, seed, tell):
    tell(publish_at(four, service, seed, kills=1))


def test_acknowledged_saves_survive_a_killed_catalog_and_one_text_is_one_document(four, seed, tell):
    tell(save_under_fire(four, seed, kills=1))


def test_what_was_acknowledged_survives_a_killed_local_server(tmp_path, seed, tell):
    tell(fire_at_local(tmp_path / "store", seed, kills=1))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("service", ["realtime", "extraction"])
def test_what_was_acknowledged_survives_a_service_killed_again_and_again(four, service, number, seed, tell):
    tell(publish_at(four, service, seed + number, KILLS))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(ROUNDS))
def test_acknowledged_saves_survive_a_catalog_killed_again_and_again(four, number, seed, tell):
    tell(save_under_fire(four, seed + number, KILLS))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(ROUNDS))
def test_what_was_acknowledged_survives_a_local_server_killed_again_and_again(tmp_path, number, seed, tell):
    tell(fire_at_local(tmp_path / "store", seed + number, KILLS))
