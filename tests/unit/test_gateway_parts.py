"""Small parts of the gateway and the host: pages, leases, limits, settings, the catalogue's password."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from featurestore.host import settings
from featurestore.model.errors import InvalidArgument, ResourceExhausted, Unavailable
from featurestore.model.table import TableRows
from gateway import limits
from gateway.lease import Leases
from gateway.paging import page_of
from services.catalog import app as catalog_app
from services.catalog.settings import CatalogSettings

NAMES = [f"table_{number:03d}" for number in range(250)]


def pages(size):
    token, found = "", []
    while True:
        page, token = page_of(NAMES, size, token, str)
        found.append(list(page))
        if not token:
            return found


@pytest.mark.parametrize(
    ("size", "lengths"), [(0, [100, 100, 50]), (249, [249, 1]), (250, [250]), (5_000, [250])]
)
def test_pages_hold_every_name_once_in_order(size, lengths):
    found = pages(size)
    assert [len(page) for page in found] == lengths
    assert [name for page in found for name in page] == NAMES


def test_a_name_that_came_or_went_between_two_pages_loses_no_other():
    first, token = page_of(NAMES, 100, "", str)
    changed = [name for name in NAMES if name != first[-1]] + ["table_999"]
    rest, _ = page_of(changed, 1_000, token, str)
    assert list(rest) == [*NAMES[100:], "table_999"]


@pytest.mark.parametrize(("size", "token"), [(-1, ""), (10, "no token"), (10, "%%%"), (10, "/w==")])
def test_a_page_that_can_t_be_is_refused(size, token):
    with pytest.raises(InvalidArgument) as refused:
        page_of(NAMES, size, token, str)
    assert refused.value.reason == "BAD_PAGE"


async def test_leases_end_some_time_after_the_last_and_none_is_granted_from_then_on():
    leases = Leases(0.1)
    ended = asyncio.create_task(leases.last_gone())
    async with leases.held():
        await asyncio.sleep(0.3)
        assert not ended.done()
        async with leases.held():
            pass
        assert not ended.done()
    await asyncio.wait_for(ended, 5)
    with pytest.raises(Unavailable) as refused:
        async with leases.held():
            pass
    assert refused.value.reason == "STORE_CLOSING"


async def test_closing_ends_leases_whatever_is_held():
    leases = Leases(600)
    async with leases.held():
        waiting = asyncio.create_task(leases.closing())
        leases.close()
        await asyncio.wait_for(waiting, 5)
        await asyncio.wait_for(leases.last_gone(), 5)


def test_a_publish_is_held_to_its_limits_before_anything_is_decoded():
    limits.check_publish_size([TableRows("a", bytes(limits.MAX_PUBLISH_BYTES))])
    with pytest.raises(ResourceExhausted) as large:
        limits.check_publish_size([TableRows("a", bytes(limits.MAX_PUBLISH_BYTES)), TableRows("b", b"x")])
    assert large.value.reason == "PUBLISH_TOO_LARGE"
    for tables in ([], [TableRows("a", b""), TableRows("A", b"")]):
        with pytest.raises(InvalidArgument) as refused:
            limits.check_publish_size(tables)
        assert refused.value.reason == "BAD_TABLE"
    for publish_id in ("", "x" * 129):
        with pytest.raises(InvalidArgument) as refused:
            limits.check_publish_id(publish_id)
        assert refused.value.reason == "PUBLISH_ID"


def test_settings_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("FEATURESTORE__REALTIME__READERS", "7")
    monkeypatch.setenv("FEATURESTORE__LISTEN", "localhost:0")
    monkeypatch.setenv("FEATURESTORE__GATEWAY__DEMO", "")  # empty is unset
    found = settings.read()
    assert (found.realtime.readers, found.listen, found.gateway.demo) == (7, "localhost:0", False)


@pytest.mark.parametrize(
    ("name", "value", "reason", "said"),
    [
        ("FEATURESTORE__REALTIME__READER", "7", "UNKNOWN_SETTING", "FEATURESTORE__REALTIME__READERS"),
        ("FEATURESTORE__LISEN", "x", "UNKNOWN_SETTING", "FEATURESTORE__LISTEN"),
        ("FEATURESTORE__REALTIME__READERS", "many", "BAD_SETTING", "FEATURESTORE__REALTIME__READERS"),
        ("FEATURESTORE__REALTIME__READERS", "0", "BAD_SETTING", "FEATURESTORE__REALTIME__READERS"),
    ],
)
def test_a_setting_that_is_unknown_or_wrong_is_named(monkeypatch, name, value, reason, said):
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidArgument, match=said) as refused:
        settings.read()
    assert refused.value.reason == reason


async def test_the_catalogue_s_password_comes_from_its_file(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("p@ss/word\n")
    given = CatalogSettings(store_url=SecretStr("mongodb://someone@host:1/db"), store_password_file=secret)
    assert catalog_app.store_url(given) == "mongodb://someone:p%40ss%2Fword@host:1/db"


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("mongodb://host/db", "password"),
        ("mongodb://a:b@host/db", "password"),
        ("mongodb://a@host/db", "not there"),
    ],
)
def test_a_password_file_that_can_t_be_used_is_refused_without_saying_a_secret(tmp_path, url, file):
    (tmp_path / "password").write_text("hidden")
    with pytest.raises(InvalidArgument) as refused:
        catalog_app.store_url(CatalogSettings(store_url=SecretStr(url), store_password_file=tmp_path / file))
    assert refused.value.reason == "BAD_SETTING"
    assert "hidden" not in str(refused.value)
