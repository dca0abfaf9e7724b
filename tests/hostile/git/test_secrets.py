"""Private repositories: a token or key opens them, goes to its own host over TLS alone, and is told to nobody."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import os
import shlex
import sys
from dataclasses import asdict, replace

import pytest

from featurestore.host.settings import git_environment
from featurestore.model.errors import FailedPrecondition, FeatureStoreError
from services.extraction.git_address import parse
from services.extraction.git_fetch import GitSources
from tests.hostile.git.conftest import SETTINGS, address_of, etl
from tests.support.git_repos import git_app, http_server

TOKEN = "s3cret-t0ken"
BASIC = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()


def private(app, *, echo=False):
    """The application for those with the token; to others it may repeat what they sent."""

    def guarded(environ, start_response):
        said = environ.get("HTTP_AUTHORIZATION", "")
        if said == BASIC:
            return app(environ, start_response)
        if echo and said:
            start_response("200 OK", [("Content-Type", "application/x-git-upload-pack-advertisement")])
            text = f"ERR you said {said}, that is {base64.b64decode(said[6:]).decode()}\n"
            return [b"001e# service=git-upload-pack\n0000", f"{len(text) + 4:04x}{text}".encode()]
        start_response("401 Unauthorized", [("WWW-Authenticate", "Basic")])
        return [b""]

    return guarded


@pytest.fixture
def locked(repo):
    """A private repository over TLS."""
    repo.commit({"etl.py": etl(1, "import helpers\n"), "helpers.py": ""})
    with http_server(private(git_app(etl=repo)), tls=True) as server:
        yield server


@pytest.fixture
def put(store):
    """Put a file among the secrets, for this test."""
    written = []

    def put(name, content, mode=0o400):
        file = store.secrets / name
        file.write_text(content)
        file.chmod(mode)
        written.append(file)
        return file

    yield put
    for file in written:
        file.unlink(missing_ok=True)


def token_name(server):
    return f"127.0.0.1_{server.url.rpartition(':')[2]}.token"


async def test_a_private_repository_is_missing_without_a_token_and_the_setting_is_named(store, locked):
    refused = await store.refused(address_of(locked))
    assert (refused.reason, refused.details["what"]) == ("ETL_SOURCE", "repository")
    assert "git_secrets" in refused.message


async def test_a_private_repository_is_missing_with_a_wrong_token(store, locked, put):
    put(token_name(locked), "wrong")
    refused = await store.refused(address_of(locked))
    assert (refused.reason, refused.details["what"]) == ("ETL_SOURCE", "repository")


@pytest.mark.parametrize("content", [TOKEN, f"{TOKEN}\n", f"x-access-token:{TOKEN}\n"])
async def test_a_private_repository_is_read_with_its_token(store, locked, put, content):
    put(token_name(locked), content)
    run = await store.save(address_of(locked))
    assert await store.served(run) == 1
    assert set(locked.authorizations) == {BASIC}


async def test_a_token_that_is_changed_counts_from_the_next_fetch_on(store, locked, put):
    file = put(token_name(locked), "old", 0o600)
    assert (await store.refused(address_of(locked))).reason == "ETL_SOURCE"
    file.write_text(TOKEN)
    assert await store.served(await store.save(address_of(locked))) == 1


async def test_a_token_is_not_sent_without_tls(store, repo, put):
    repo.commit({"etl.py": etl(1)})
    with http_server(private(git_app(etl=repo))) as server:
        put(token_name(server), TOKEN)
        put("127.0.0.1.token", TOKEN)
        assert (await store.refused(address_of(server))).reason == "ETL_SOURCE"
        assert set(server.authorizations) == {""}


async def test_a_token_is_not_sent_to_another_port_of_its_host_even_when_redirected_there(
    store, locked, repo, put
):
    with http_server(private(git_app(etl=repo)), tls=True) as other:

        def app(_, start_response):
            where = f"{other.url}/team/etl.git/info/refs?service=git-upload-pack"
            start_response("302 Found", [("Location", where)])
            return [b""]

        with http_server(app, tls=True) as redirecting:
            put(token_name(redirecting), TOKEN)
            assert (await store.refused(address_of(redirecting))).reason == "ETL_SOURCE"
        assert redirecting.authorizations == [BASIC]
        assert set(other.authorizations) == {""}
    assert locked.requests == []


async def test_a_token_appears_in_no_error_log_provenance_or_catalogue_entry(
    store, repo, put, caplog, locked
):
    caplog.set_level(logging.DEBUG)
    put(token_name(locked), TOKEN)
    run = await store.save(address_of(locked))
    told = json.dumps([asdict(run.script), repr(run)], default=str)
    with http_server(private(git_app(etl=repo), echo=True), tls=True) as echoing:
        put(token_name(echoing), f"ada:{TOKEN}")
        refused = await store.refused(address_of(echoing))
    assert "you said Basic ***, that is ada:***" in refused.message
    told += f"{refused} {refused.details} {caplog.text}"
    spelled = base64.b64encode(f"ada:{TOKEN}".encode()).decode()
    assert not [secret for secret in (TOKEN, BASIC[6:], spelled) if secret in told]


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o777])
async def test_a_secret_that_others_may_read_or_change_is_not_used_and_says_what_to_do(
    store, locked, put, mode
):
    put(token_name(locked), TOKEN, mode)
    refused = await store.refused(address_of(locked))
    assert (refused.reason, refused.details["secret"]) == ("GIT_SECRET", token_name(locked))
    assert f"has mode {mode:04o}: `chmod 0400` it" in refused.message
    assert os.fspath(store.secrets) not in refused.message
    assert locked.requests == []


@pytest.mark.parametrize("content", ["", "\n", "a b", f"{TOKEN}\nsecond", "é", "x" * 9000])
async def test_a_token_file_without_one_token_is_refused(store, locked, put, content):
    put(token_name(locked), content)
    refused = await store.refused(address_of(locked))
    assert (refused.reason, locked.requests) == ("GIT_SECRET", [])
    assert "holds no token on one line" in refused.message


async def test_ssh_gets_the_key_of_its_host_and_the_address_that_was_judged(tmp_path):
    secrets = tmp_path / "my secrets"
    secrets.mkdir()
    (secrets / "localhost.key").write_text("a key")
    (secrets / "localhost.key").chmod(0o400)
    (secrets / "known_hosts").write_text("")
    told = tmp_path / "told"
    ssh = tmp_path / "ssh.py"
    ssh.write_text(f"import json, sys\njson.dump(sys.argv[1:], open({os.fspath(told)!r}, 'w'))\n")
    settings = replace(
        SETTINGS,
        schemes=frozenset({"ssh"}),
        secrets=os.fspath(secrets),
        ssh_command=shlex.join([sys.executable, os.fspath(ssh)]),
    )
    sources = GitSources(settings)
    with pytest.raises(FeatureStoreError):
        await sources.fetch(parse("git+ssh://git@localhost:2222/r.git@main#etl.py"))
    given = json.loads(told.read_text())
    assert given[given.index("-i") + 1] == os.fspath(secrets / "localhost.key")
    options = [value for name, value in itertools.pairwise(given) if name == "-o"]
    assert {"IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "HostName=127.0.0.1"} <= set(options)
    assert f'UserKnownHostsFile="{secrets / "known_hosts"}"' in options
    assert "HostKeyAlias=[localhost]:2222" in options
    assert given[-2:] == ["git@localhost", "git-upload-pack '/r.git'"]

    (secrets / "localhost.key").chmod(0o644)
    told.unlink()
    with pytest.raises(FailedPrecondition) as refused:
        await sources.fetch(parse("git+ssh://git@localhost/r.git@main#etl.py"))
    assert (refused.value.reason, told.exists()) == ("GIT_SECRET", False)
    await sources.close()


async def test_the_environment_of_a_fetch_holds_none_of_our_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATURESTORE__CATALOG__STORE_URL", f"mongodb://ada:{TOKEN}@host/db")
    passed_on = frozenset(git_environment().items())
    told, ssh = tmp_path / "told", tmp_path / "ssh.py"
    ssh.write_text(f"import os\nopen({os.fspath(told)!r}, 'w').write(repr(os.environ))\n")
    command = shlex.join([sys.executable, os.fspath(ssh)])
    sources = GitSources(
        replace(SETTINGS, schemes=frozenset({"ssh"}), ssh_command=command, environment=passed_on)
    )
    with pytest.raises(FeatureStoreError):
        await sources.fetch(parse("git+ssh://git@localhost/r.git@main#etl.py"))
    environment = await asyncio.to_thread(told.read_text)
    assert "PATH" in environment
    assert "FEATURESTORE" not in environment
    await sources.close()
