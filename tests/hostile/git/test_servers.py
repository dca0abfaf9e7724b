"""Servers that are hostile, broken, slow, or where nobody should be asked."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest

from featurestore.model import deadline
from featurestore.model.errors import (
    FeatureStoreError,
    Internal,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from services.extraction import git_reading
from services.extraction.git_address import parse
from services.extraction.git_fetch import GitSources
from tests.hostile.git.conftest import SETTINGS, address_of, command_of, etl
from tests.support.descendants import children, descendants, gone, resident_bytes
from tests.support.git_packs import BLOB, OFS_DELTA, delta, entry, pack, tampering
from tests.support.git_repos import git_app, git_server, http_server

_NOISE = random.Random(1).randbytes(400_000)
_MIB = 2**20


@pytest.fixture
def sends(repo):
    """A server that sends what is made of an honest pack, in pieces."""
    repo.commit({"etl.py": etl(1)})

    def serving(change):
        return http_server(tampering(git_app(etl=repo), change))

    return serving


def twisted(honest):
    """Its last byte, of the checksum, is another."""
    yield honest[:-1] + bytes([honest[-1] ^ 1])


@pytest.mark.parametrize(
    "address",
    [
        "git+ext::sh -c 'touch /tmp/owned'#etl.py",
        "git+fd::3#etl.py",
        "git+git://127.0.0.1/r.git@main#etl.py",
        "git+ftp://127.0.0.1/r.git@main#etl.py",
        "git+ssh://-oProxyCommand=touch%20owned/r.git@main#etl.py",
        "git+/srv/repo@main#etl.py",
        "git@127.0.0.1:r.git@main#etl.py",
        "git+https://user:token@127.0.0.1/r.git@main#etl.py",
        "git+file:///etc@main#passwd",
        "git+ssh://git@127.0.0.1/r.git@main#etl.py",
    ],
)
async def test_a_scheme_that_is_hostile_or_not_allowed_is_refused(store, address):
    assert (await store.refused(address)).reason in {"ETL_ADDRESS", "GIT_SCHEME"}


async def test_a_connection_without_tls_is_refused_unless_it_is_allowed(repo, server):
    repo.commit({"etl.py": etl(1)})
    sources = GitSources(replace(SETTINGS, schemes=frozenset({"https", "ssh"})))
    with pytest.raises(PermissionDenied) as refused:
        await sources.fetch(parse(address_of(server)))
    assert (refused.value.reason, server.requests) == ("GIT_SCHEME", [])
    await sources.close()


async def test_a_certificate_that_nobody_vouches_for_is_refused(repo):
    repo.commit({"etl.py": etl(1)})
    sources = GitSources(replace(SETTINGS, ca_file=""))
    with (
        http_server(git_app(etl=repo), tls=True) as server,
        pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        await sources.fetch(parse(address_of(server)))
    await sources.close()


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "0.0.0.0",  # noqa: S104 - an address like others
        "2130706434",
        "0x0a000001",
    ],
)
async def test_an_address_in_a_network_that_is_not_listed_is_refused(store, host):
    for scheme in ("http", "https"):
        assert (await store.refused(f"git+{scheme}://{host}:9/r.git@main#etl.py")).reason in {
            "GIT_NETWORK",
            "GIT_UNREACHABLE" if host == "2130706434" else "GIT_NETWORK",  # 127.0.0.2, which is listed
        }


async def test_a_name_that_leads_elsewhere_once_it_was_judged_is_not_followed_there(
    repo, server, monkeypatch, tmp_path
):
    repo.commit({"etl.py": etl(1)})
    real, answers = socket.getaddrinfo, ["127.0.0.1", "127.0.0.1", "10.0.0.1"]

    def rebinding(host, port, *rest, **how):
        if host == "git.example":
            host = answers.pop(0)
        return real(host, port, *rest, **how)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    address = parse(address_of(server).replace("127.0.0.1", "git.example"))
    # In this process, where names can be made to lie. A fetch makes two connections, and each looks its name up once.
    found = git_reading.fetch(address, SETTINGS, _made(tmp_path / "made"), None)
    assert (found.source, answers) == (etl(1), ["10.0.0.1"])
    with pytest.raises(PermissionDenied) as refused:
        git_reading.fetch(address, SETTINGS, _made(tmp_path / "again"), None)
    assert refused.value.reason == "GIT_NETWORK"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://localhost:{port}/team/etl.git/info/refs?service=git-upload-pack", "GIT_UNREACHABLE"),
        ("http://10.0.0.1/team/etl.git/info/refs?service=git-upload-pack", "GIT_UNREACHABLE"),
        ("file:///etc/passwd", "GIT_SCHEME"),
        ("ftp://127.0.0.1/x", "GIT_SCHEME"),
    ],
)
async def test_a_redirect_to_another_host_or_scheme_is_not_followed(store, good, target, reason):
    asked = len(good.requests)
    target = target.format(port=good.url.rpartition(":")[2])

    def app(_, start_response):
        start_response("302 Found", [("Location", target)])
        return [b""]

    with http_server(app) as server:
        assert (await store.refused(address_of(server))).reason == reason
    assert len(good.requests) == asked


async def test_a_redirect_away_from_tls_is_not_followed(store, good):
    asked = len(good.requests)

    def app(_, start_response):
        where = f"{good.url}/team/etl.git/info/refs?service=git-upload-pack"
        start_response("302 Found", [("Location", where)])
        return [b""]

    with http_server(app, tls=True) as server:
        refused = await store.refused(address_of(server))
    assert (refused.reason, len(good.requests)) == ("GIT_UNREACHABLE", asked)
    assert "without TLS" in refused.message


async def test_a_pack_over_the_size_limit_is_broken_off(store, repo, server):
    repo.commit({"etl.py": etl(1), "data.bin": _NOISE})
    refused = await store.refused(address_of(server))
    assert refused.reason == "GIT_TOO_LARGE"
    assert "more than the 300000 bytes" in refused.message


async def test_a_pack_of_too_many_objects_is_refused(store, repo, server):
    repo.commit({"etl.py": etl(1), **{f"f{n}": f"{n}" for n in range(100)}})
    refused = await store.refused(address_of(server))
    assert refused.reason == "GIT_TOO_LARGE"
    assert "and 100 are allowed" in refused.message


@pytest.mark.parametrize(
    "bomb",
    [
        pack(entry(BLOB, bytes(50_000_000))),
        pack(entry(BLOB, b"x"), entry(OFS_DELTA, delta(10**12), base=b"\x0a")),
        pack(*(entry(BLOB, bytes(1_000_000)) for _ in range(9))),
    ],
    ids=["one large object", "a delta", "many together"],
)
async def test_a_small_pack_that_would_grow_large_is_refused_and_costs_nothing_here(store, sends, bomb):
    before = resident_bytes()
    with sends(lambda _: [bomb]) as server:
        refused = await store.refused(address_of(server))
    assert refused.reason == "GIT_TOO_LARGE"
    assert "5000000 bytes" in refused.message
    assert resident_bytes() - before < 20 * _MIB


async def test_objects_that_do_not_fit_into_memory_end_their_fetch_alone(sends):
    settings = replace(SETTINGS, max_inflated_bytes=2**40, memory_bytes=150 * _MIB, fetch_timeout_seconds=60)
    sources = GitSources(settings)
    large = pack(entry(BLOB, bytes(250 * _MIB)))
    with sends(lambda _: [large]) as server, pytest.raises(ResourceExhausted, match="more memory") as refused:
        await sources.fetch(parse(address_of(server)))
    assert refused.value.reason == "GIT_TOO_LARGE"
    await sources.close()


@pytest.mark.parametrize(
    "change",
    [
        twisted,
        lambda honest: [honest[: len(honest) // 2]],
        lambda honest: [honest[:-20]],
        lambda honest: [honest[:15] + bytes(20) + honest[35:]],
        lambda _: [b"PACK" + bytes(8)],
        lambda _: [pack(entry(BLOB, b"something else"))],
        lambda _: [pack(entry(BLOB, b"x", announced=5))],
        lambda _: [pack(entry(7, delta(4), base=bytes(20)))],
        lambda _: [b"no pack at all"],
        lambda _: [],
    ],
    ids=[
        "wrong checksum", "half of it", "no checksum", "damaged", "no trailer", "other objects", "lying size",
        "delta on nothing", "garbage", "nothing",
    ],
)  # fmt: skip
async def test_a_damaged_truncated_or_false_pack_is_refused(store, sends, change):
    with sends(change) as server:
        assert (await store.refused(address_of(server))).reason in {"GIT_UNREACHABLE", "ETL_SOURCE"}


async def test_a_slow_server_is_left_when_the_time_is_over_however_regularly_it_sends(sends):
    over = threading.Event()

    def dripping(honest):
        for at in range(len(honest)):
            if over.wait(0.2):
                return
            yield honest[at : at + 1]

    sources = GitSources(SETTINGS)
    started = time.monotonic()
    with sends(dripping) as server:
        with deadline.within(3), pytest.raises(Unavailable, match="no answer within"):
            await sources.fetch(parse(address_of(server)))
        assert time.monotonic() - started < 6
        over.set()
    await sources.close()


async def test_a_server_that_never_answers_holds_up_nobody_else(store, good):
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"git+http://127.0.0.1:{silent.getsockname()[1]}/r.git@main#etl.py"
        waiting = [asyncio.create_task(_save(store, url, seconds=4)) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert await store.served(await store.save(address_of(good))) == 7
        for refused in await asyncio.gather(*waiting):
            assert refused.reason == "GIT_UNREACHABLE"


async def test_a_fetching_process_that_is_killed_is_told_as_ours_and_the_program_goes_on(silent_fetch):
    _, fetching, program = silent_fetch
    (process,) = children(program)
    os.kill(process, signal.SIGKILL)
    with pytest.raises(Internal) as refused:
        await fetching
    assert refused.value.reason == "GIT_CRASH"
    assert program in descendants()


async def test_the_program_that_is_killed_is_started_again(silent_fetch, good):
    sources, fetching, program = silent_fetch
    (process,) = children(program)
    os.kill(program, signal.SIGKILL)
    os.kill(process, signal.SIGKILL)  # which would otherwise go on until its own alarm
    with pytest.raises(Internal):
        await fetching
    await gone(program)
    assert (await sources.fetch(parse(address_of(good)))).source == etl(7)


@pytest.fixture
async def silent_fetch():
    """A fetch that waits for its server, and the program that forked it."""
    before = descendants()
    sources = GitSources(replace(SETTINGS, fetch_timeout_seconds=60))
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"git+http://127.0.0.1:{silent.getsockname()[1]}/r.git@main#etl.py"
        fetching = asyncio.create_task(sources.fetch(parse(url)))
        async with asyncio.timeout(30):
            while not (asked := _fetching(before)):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.02)
        yield sources, fetching, asked[0]
    await sources.close()


def _fetching(before):
    new = descendants() - before
    return [pid for pid in new if b"git_process" in command_of(pid) and len(children(pid)) == 1]


def _made(folder):
    folder.mkdir()
    return os.fspath(folder)


async def _save(store, address, *, seconds):
    with deadline.within(seconds), pytest.raises(FeatureStoreError) as refused:
        await store.save(address)
    return refused.value


async def test_what_the_server_is_called_when_it_is_gone_is_its_host(store, repo):
    with git_server(etl=repo) as server:
        address = address_of(server)
    refused = await store.refused(address)
    assert (refused.reason, refused.details["host"]) == ("GIT_UNREACHABLE", "127.0.0.1")
