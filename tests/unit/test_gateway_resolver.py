"""How ids and names become definitions, and what is served on while the catalogue is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded, InvalidArgument, NotFound, Unavailable
from featurestore.model.names import Kind
from featurestore.model.query import Query
from gateway import resolver as resolving
from gateway.known import KnownDefinitions
from gateway.resolver import Resolver
from services.catalog.catalog import CatalogService
from tests.support.catalog_drafts import etl_draft, query_draft
from tests.support.catalogs import opened_catalog

NO_QUERY = "qry_" + "a" * 26


class Catalogue:
    """A real catalogue that can be switched off, and that counts what it is asked."""

    def __init__(self, real: CatalogService) -> None:
        self.real = real
        self.down = False
        self.hangs = False
        self.asked: list[str] = []

    def __getattr__(self, method):
        async def call(*arguments):
            self.asked.append(method)
            if self.hangs:
                await asyncio.sleep(deadline.remaining_or(60))
                raise DeadlineExceeded("DEADLINE", "nobody answers")
            if self.down:
                raise Unavailable("CATALOG_UNAVAILABLE", "nobody is there")
            return await getattr(self.real, method)(*arguments)

        return call


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncIterator[Catalogue]:
    async with opened_catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}") as real:
        yield Catalogue(real)


@pytest.fixture
def gateway(catalogue: Catalogue, tmp_path: Path):
    """A gateway's resolver on the one folder; opened again, it is the gateway after a restart."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Resolver]:
        async with KnownDefinitions(tmp_path / "gateway" / "known.sqlite") as known:
            yield Resolver(catalogue, known)

    return opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """The resolver's clock: moves when the test says so."""

    class Clock:
        now = 1_000.0

        def monotonic(self) -> float:
            return self.now

    found = Clock()
    monkeypatch.setattr(resolving, "time", found)
    return found


async def saved(catalogue: Catalogue, sql: str = "SELECT 1 AS a", name: str = "demo") -> Query:
    return await catalogue.real.save_query(query_draft(sql, name=name))


async def test_an_id_is_asked_for_once_and_then_known_for_ever(catalogue, gateway, clock):
    query = await saved(catalogue)
    async with gateway() as resolver:
        assert await resolver.query(query.query_id) == query
        clock.now += 10_000
        assert await resolver.query(query.query_id) == query
    assert catalogue.asked == ["get_query"]


async def test_a_name_is_at_most_a_second_old(catalogue, gateway, clock):
    one = await saved(catalogue)
    async with gateway() as resolver:
        assert (await resolver.query("demo")).query_id == one.query_id
        two = await saved(catalogue, "SELECT 2 AS a")
        clock.now += 0.9
        assert (await resolver.query("demo")).query_id == one.query_id
        clock.now += 0.2
        assert (await resolver.query("demo")).query_id == two.query_id
        assert (await resolver.query("demo@1")).query_id == one.query_id


async def test_a_name_that_was_just_saved_here_is_seen_at_once(catalogue, gateway, clock):  # noqa: ARG001 # stands still
    await saved(catalogue)
    async with gateway() as resolver:
        await resolver.query("demo")
        two = await resolver.keep_query(await saved(catalogue, "SELECT 2 AS a"))
        assert await resolver.query("demo") == two


async def test_a_name_that_nobody_knows_is_asked_for_again(catalogue, gateway):
    async with gateway() as resolver:
        with pytest.raises(NotFound) as refused:
            await resolver.query("demo")
        assert refused.value.reason == "UNKNOWN_QUERY"
        query = await saved(catalogue)
        assert (await resolver.query("demo")).query_id == query.query_id


async def test_what_was_resolved_is_served_on_while_the_catalogue_is_down(catalogue, gateway, clock):
    query = await saved(catalogue)
    etl = await catalogue.real.save_etl(etl_draft(query.query_id, name="features"))
    async with gateway() as resolver:
        before = await resolver.pair("demo", "features")
        catalogue.down = True
        clock.now += 60
        assert await resolver.pair("demo", "features") == before
        assert await resolver.pair(query.query_id, etl.etl_id) == before
        assert (await resolver.fresh_query("demo")).query_id == query.query_id
        assert (await resolver.fresh_etl("features")).etl_id == etl.etl_id


async def test_so_it_is_after_a_restart_names_included(catalogue, gateway):
    query = await saved(catalogue)
    etl = await catalogue.real.save_etl(etl_draft(query.query_id, name="features"))
    async with gateway() as resolver:
        before = await resolver.pair("demo", "features")
    catalogue.down = True
    async with gateway() as restarted:
        assert await restarted.pair("demo", "features") == before
        assert await restarted.query("demo@1") == before[0]
        assert await restarted.etl(etl.etl_id) == before[1]


async def test_what_was_never_resolved_is_unavailable_while_the_catalogue_is_down(catalogue, gateway):
    await saved(catalogue)
    catalogue.down = True
    async with gateway() as resolver:
        for ask in (
            lambda: resolver.query(NO_QUERY),
            lambda: resolver.query("demo"),
            lambda: resolver.etl("features"),
            lambda: resolver.pair("demo", "features"),
        ):
            with pytest.raises(Unavailable) as refused:
                await ask()
            assert refused.value.reason == "CATALOG_UNAVAILABLE"


async def test_a_catalogue_that_is_down_is_not_asked_at_every_call(catalogue, gateway, clock):
    await saved(catalogue)
    async with gateway() as resolver:
        await resolver.query("demo")
        catalogue.down = True
        clock.now += 2
        asked = len(catalogue.asked)
        for _ in range(5):
            await resolver.query("demo")
        assert len(catalogue.asked) == asked + 1
        catalogue.down = False
        two = await saved(catalogue, "SELECT 2 AS a")
        clock.now += 2
        assert (await resolver.query("demo")).query_id == two.query_id


async def test_a_catalogue_that_hangs_leaves_time_to_serve_what_is_known(catalogue, gateway, clock):
    query = await saved(catalogue)
    async with gateway() as resolver:
        await resolver.query("demo")
        catalogue.hangs = True
        clock.now += 2
        with deadline.within(0.4):
            assert (await resolver.query("demo")).query_id == query.query_id
            assert deadline.remaining_or(0) > 0


async def test_a_swapped_pair_is_told_as_such(catalogue, gateway):
    query = await saved(catalogue)
    etl = await catalogue.real.save_etl(etl_draft(query.query_id))
    async with gateway() as resolver:
        with pytest.raises(InvalidArgument) as refused:
            await resolver.pair(etl.etl_id, query.query_id)
    assert refused.value.reason == "ID_OF_OTHER_KIND"
    assert catalogue.asked == []


async def test_beside_an_etl_a_name_means_whichever_of_its_versions_is_the_etl_s_query(catalogue, gateway):
    one = await saved(catalogue)
    etl = await catalogue.real.save_etl(etl_draft(one.query_id))
    two = await saved(catalogue, "SELECT 2 AS a")
    stranger = await saved(catalogue, "SELECT 3 AS a", "stranger")
    async with gateway() as resolver:
        for accepted in ("", "demo", "demo@1", one.query_id):
            query, found = await resolver.pair(accepted, etl.etl_id)
            assert (query.query_id, found.etl_id) == (one.query_id, etl.etl_id)
        for refused in ("demo@2", two.query_id, "stranger", stranger.query_id):
            with pytest.raises(InvalidArgument) as raised:
                await resolver.pair(refused, etl.etl_id)
            assert raised.value.reason == "ETL_OF_OTHER_QUERY"
            assert one.query_id in raised.value.message
        with pytest.raises(NotFound):
            await resolver.pair("demo@3", etl.etl_id)


async def test_fresh_reads_show_names_that_were_given_elsewhere(catalogue, gateway):
    query = await saved(catalogue)
    async with gateway() as resolver:
        assert (await resolver.query(query.query_id)).names == query.names
        await catalogue.real.save_query(query_draft("SELECT 1 AS a", name="other"))
        fresh = await resolver.fresh_query(query.query_id)
        assert {name.partition("@")[0] for name in fresh.names} == {"demo", "other"}
        assert replace(fresh, names=query.names) == query


async def test_the_copy_on_disk_keeps_the_last_of_what_was_put(tmp_path):
    path = tmp_path / "new folder" / "known.sqlite"
    async with KnownDefinitions(path) as known:
        assert await known.get("query", "a") is None
        await known.put("query", "a", b"1")
        await known.put("query", "a", b"2")
        await known.put("etl", "a", b"3")
    async with KnownDefinitions(path) as known:
        assert (await known.get("query", "a"), await known.get("etl", "a")) == (b"2", b"3")


async def test_versions_of_a_name_are_the_catalogue_s_oldest_first(catalogue, gateway):
    ids = [(await saved(catalogue, f"SELECT {number} AS a")).query_id for number in range(3)]
    assert await catalogue.real.name_versions(Kind.QUERY, "demo") == tuple(ids)
    async with gateway() as resolver:
        found = [(await resolver.query(f"demo@{version}")).query_id for version in (1, 2, 3)]
        assert found == ids
        with pytest.raises(NotFound, match="3 versions"):
            await resolver.query("demo@4")
