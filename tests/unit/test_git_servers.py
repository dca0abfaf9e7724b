"""Git servers that are slow, broken, hostile, or none; over HTTP, and over ssh by a stand-in for its command."""

import asyncio
import random
import shlex
import socket
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest

from featurestore.model import deadline
from featurestore.model.errors import NotFound, PermissionDenied, ResourceExhausted, Unavailable
from services.extraction.git_address import parse
from services.extraction.git_fetch import GitSettings, GitSources
from services.extraction.git_settings import EVERY_NETWORK
from tests.support.git_repos import GitRepo, git_server, http_server

SETTINGS = GitSettings(schemes=frozenset({"http", "ssh"}), networks=EVERY_NETWORK)
TEXT = "# an ETL\n"
_SLACK_SECONDS = 5.0
"""How much later than its time a fetch may end on a busy machine; it would hang for longer."""
_HANGS_SECONDS = 30.0
_NOISE = random.Random(1).randbytes(250_000)
_ADVERTISEMENT = {"Content-Type": "application/x-git-upload-pack-advertisement"}


@pytest.fixture
def repo(tmp_path):
    with GitRepo(tmp_path / "repo") as made:
        made.commit({"etl.py": TEXT})
        yield made


@pytest.fixture(scope="module")
async def fetch():
    """Fetch an address; sources with the same limits are made once."""
    made = {}

    async def fetch(address, **limits):
        settings = replace(SETTINGS, **limits)
        sources = made.setdefault(settings, GitSources(settings))
        return await sources.fetch(parse(address))

    yield fetch
    for sources in made.values():
        await sources.close()


@pytest.fixture
def silent_server():
    """A port where connections are accepted by the system and nobody ever answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"git+http://127.0.0.1:{server.getsockname()[1]}/r.git@main#etl.py"


@pytest.fixture
def stuck_server():
    """A server that begins to answer and never goes on, and the event that it was asked."""
    asked, over = threading.Event(), threading.Event()

    def app(_, start_response):
        start_response("200 OK", list(_ADVERTISEMENT.items()))
        yield b"001e# service=git-upload-pack\n"
        asked.set()
        over.wait(_HANGS_SECONDS)

    with http_server(app) as server:
        yield server, asked
        over.set()


class TestAnswers:
    @pytest.mark.parametrize(("status", "said"), [("404 Not Found", ""), ("410 Gone", ""), ("401 No", "git_secrets"), ("403 No", "git_secrets")])  # fmt: skip
    async def test_a_repository_that_the_server_does_not_show_is_missing(self, fetch, status, said):
        with http_server(_answer(status)) as server, pytest.raises(NotFound) as refused:
            await fetch(f"git+{server.url}/r.git@main#etl.py")
        assert (refused.value.reason, refused.value.details["what"]) == ("ETL_SOURCE", "repository")
        assert said in refused.value.message

    @pytest.mark.parametrize(
        ("status", "headers", "body", "said"),
        [
            ("500 Oh", {}, b"", "HTTP status 500"),
            ("503 Busy", {}, b"", "HTTP status 503"),
            ("200 OK", {"Content-Type": "text/html"}, b"<html>Sign in</html>", "not as a git server"),
            ("200 OK", _ADVERTISEMENT, b"garbage", ""),
            ("200 OK", _ADVERTISEMENT, b"", ""),
            ("200 OK", _ADVERTISEMENT, b"ffff", ""),
        ],
    )
    async def test_an_answer_that_is_no_git_servers_is_unreachable(self, fetch, status, headers, body, said):
        with http_server(_answer(status, headers, body)) as server, pytest.raises(Unavailable) as refused:
            await fetch(f"git+{server.url}/r.git@main#etl.py")
        assert (refused.value.reason, refused.value.details["host"]) == ("GIT_UNREACHABLE", "127.0.0.1")
        assert said in refused.value.message

    async def test_nobody_listening_is_unreachable(self, fetch):
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            port = server.getsockname()[1]
        with pytest.raises(Unavailable) as refused:
            await fetch(f"git+http://127.0.0.1:{port}/r.git@main#etl.py")
        assert refused.value.reason == "GIT_UNREACHABLE"

    @pytest.mark.parametrize(
        ("target", "error"),
        [
            ("http://localhost:1/r.git/info/refs?service=git-upload-pack", Unavailable),
            ("https://127.0.0.1:1/r.git/info/refs?service=git-upload-pack", PermissionDenied),
            ("file:///etc/passwd", PermissionDenied),
        ],
    )
    async def test_a_redirect_leads_to_no_other_host_or_scheme(self, fetch, target, error):
        with http_server(_answer("302 Found", {"Location": target})) as server, pytest.raises(error):
            await fetch(f"git+{server.url}/r.git@main#etl.py")

    async def test_a_redirect_within_the_host_is_followed(self, fetch, repo):
        with git_server(etl=repo) as there:
            target = f"{there.url}/team/etl.git/info/refs?service=git-upload-pack"
            with http_server(_answer("302 Found", {"Location": target})) as here:
                script = await fetch(f"git+{here.url}/old.git@main#etl.py")
        assert script.source == TEXT


class TestLimits:
    async def test_a_server_that_never_answers_is_left_after_the_timeout_and_the_loop_is_free(
        self, fetch, silent_server
    ):
        ticks = []
        ticking = asyncio.create_task(_tick(ticks))
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer within 1\.5 s"):
            await fetch(silent_server, fetch_timeout_seconds=1.5)
        ticking.cancel()
        assert time.monotonic() - started < 1.5 + _SLACK_SECONDS
        assert len(ticks) > 5  # a blocked loop gives two, a free one about thirty

    async def test_the_calls_deadline_counts_when_it_is_nearer(self, fetch, silent_server):
        started = time.monotonic()
        with deadline.within(1.5), pytest.raises(Unavailable):
            await fetch(silent_server)
        assert time.monotonic() - started < 1.5 + _SLACK_SECONDS

    async def test_a_fetch_that_hangs_gives_its_place_to_the_next(self, stuck_server, repo):
        stuck, _ = stuck_server
        sources = GitSources(replace(SETTINGS, processes=1))
        with deadline.within(2), pytest.raises(Unavailable):
            await sources.fetch(_of(stuck))
        with git_server(etl=repo) as server:
            assert (await asyncio.wait_for(sources.fetch(_of(server)), _HANGS_SECONDS / 2)).source == TEXT
        await sources.close()

    async def test_closing_breaks_off_an_answer_that_never_ends(self, stuck_server):
        stuck, asked = stuck_server
        sources = GitSources(SETTINGS)
        fetching = asyncio.create_task(sources.fetch(_of(stuck)))
        assert await asyncio.to_thread(asked.wait, _HANGS_SECONDS)
        await asyncio.sleep(0.2)  # until the client reads on
        await asyncio.wait_for(sources.close(), _HANGS_SECONDS / 2)
        with pytest.raises(Unavailable):
            await fetching

    async def test_closing_breaks_off_a_server_that_never_begins_to_answer(self, silent_server):
        sources = GitSources(replace(SETTINGS, fetch_timeout_seconds=3))
        fetching = asyncio.create_task(sources.fetch(parse(silent_server)))
        await asyncio.sleep(0.2)
        try:
            await asyncio.wait_for(sources.close(), 2)
        finally:
            with pytest.raises(Unavailable):
                await fetching

    async def test_a_repository_that_sends_too_much_is_broken_off(self, fetch, repo):
        repo.commit({"data.bin": _NOISE[:200_000]})
        with git_server(etl=repo) as server:
            with pytest.raises(ResourceExhausted) as refused:
                await fetch(f"git+{server.url}/team/etl.git#etl.py", max_pack_bytes=100_000)
            assert refused.value.reason == "GIT_TOO_LARGE"
            assert "more than the 100000 bytes" in refused.value.message

    async def test_the_history_is_not_fetched(self, fetch, repo):
        for n in range(5):
            repo.commit({"data.bin": _NOISE[n * 50_000 : (n + 1) * 50_000]})
        with git_server(etl=repo) as server:
            script = await fetch(f"git+{server.url}/team/etl.git@main#etl.py", max_pack_bytes=100_000)
        assert script.source == TEXT


class TestSsh:
    async def test_a_repository_is_fetched_through_the_ssh_command(self, fetch, repo, tmp_path):
        ssh = _ssh(
            tmp_path,
            "import os, shlex\n"
            "_, path = shlex.split(sys.argv[-1])\n"
            "os.execv(sys.executable, [sys.executable, '-m', 'dulwich', 'upload-pack', path])\n",
        )
        script = await fetch(f"git+ssh://git@host{repo.folder}@main#etl.py", ssh_command=ssh)
        assert (script.source, script.repository) == (TEXT, f"git+ssh://git@host{repo.folder}")

    async def test_the_host_and_the_port_are_handed_over_as_they_are(self, fetch, tmp_path):
        ssh = _ssh(tmp_path, "open(sys.argv[0] + '.args', 'w').write('\\n'.join(sys.argv[1:]))\n")
        with pytest.raises(Unavailable):
            await fetch("git+ssh://git@host:2222/a%20b/r.git@main#etl.py", ssh_command=ssh)
        given = (tmp_path / "ssh.py.args").read_text().split("\n")
        assert given[given.index("-p") + 1] == "2222"
        assert given[-2:] == ["git@host", "git-upload-pack '/a b/r.git'"]

    @pytest.mark.parametrize(
        "said",
        ["ERROR: Repository not found.", "fatal: '/r.git' does not appear to be a git repository"],
    )
    async def test_a_server_that_knows_no_such_repository_is_understood(self, fetch, tmp_path, said):
        ssh = _ssh(tmp_path, f"sys.exit({said!r})\n")
        with pytest.raises(NotFound) as refused:
            await fetch("git+ssh://git@host/r.git@main#etl.py", ssh_command=ssh)
        assert refused.value.details["what"] == "repository"

    async def test_what_ssh_says_is_passed_on_when_the_host_is_not_there(self, fetch, tmp_path):
        ssh = _ssh(tmp_path, "sys.exit('ssh: connect to host host port 22: Connection refused')\n")
        with pytest.raises(Unavailable, match="Connection refused") as refused:
            await fetch("git+ssh://git@host/r.git@main#etl.py", ssh_command=ssh)
        assert (refused.value.reason, refused.value.details["host"]) == ("GIT_UNREACHABLE", "host")

    async def test_an_ssh_that_hangs_is_ended(self, fetch, tmp_path):
        ssh = _ssh(tmp_path, "import time; time.sleep(60)\n")
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await fetch("git+ssh://git@host/r.git@main#etl.py", ssh_command=ssh, fetch_timeout_seconds=1.5)
        assert time.monotonic() - started < 1.5 + _SLACK_SECONDS


def _of(server):
    return parse(f"git+{server.url}/team/etl.git@main#etl.py")


def _answer(status, headers=None, body=b""):
    def app(_, start_response):
        start_response(status, list((headers or {}).items()))
        return [body]

    return app


def _ssh(folder, program):
    script = folder / "ssh.py"
    script.write_text(f"import sys\n{program}")
    return shlex.join([sys.executable, str(script)])


async def _tick(ticks):
    while True:
        ticks.append(time.monotonic())
        await asyncio.sleep(0.01)
