"""Scripts out of real repositories: the same answers from a folder and over HTTP, and what is pinned stays."""

import asyncio
import hashlib
from dataclasses import dataclass, replace

import pytest

from featurestore.model.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from featurestore.model.etl import PinnedScript, Provenance
from services.extraction.blob_cache import BlobCache
from services.extraction.git_address import parse
from services.extraction.git_fetch import GitSettings, GitSources
from tests.support.git_repos import EXECUTABLE, SUBMODULE, SYMLINK, GitRepo, git_server

SETTINGS = GitSettings(
    schemes=frozenset({"http", "file"}), networks=frozenset({"127.0.0.0/8"}), max_script_bytes=1000
)
OLD, NEW = "# the old code\n", "# the new code\n"


@dataclass
class Place:
    """A repository and the address under which it is asked."""

    repo: GitRepo
    url: str

    def __call__(self, ref="", path="etl.py"):
        return parse(f"{self.url}{'@' if ref else ''}{ref}#{path}")


@pytest.fixture(params=["file", "http"])
def place(request, tmp_path):
    with GitRepo(tmp_path / "my repo") as repo:
        if request.param == "file":
            yield Place(repo, repo.url)
        else:
            with git_server(etl=repo) as server:
                yield Place(repo, f"git+{server.url}/team/etl.git")


@pytest.fixture(scope="module")
async def sources():
    made = GitSources(SETTINGS)
    yield made
    await made.close()


@pytest.fixture
def cache(tmp_path):
    return BlobCache(tmp_path / "blobs")


class TestRefs:
    async def test_what_is_fetched_says_where_it_was_found_and_what_it_is(self, place, sources):
        commit = place.repo.commit({"a/etl.py": OLD})
        script = await sources.fetch(place("main", "a/etl.py"))
        assert (script.repository, script.ref, script.path) == (place.url, "main", "a/etl.py")
        assert (script.source, script.commit, script.origin) == (OLD, commit, "")
        assert script.blob_sha256 == hashlib.sha256(OLD.encode()).hexdigest()
        assert script.blob_sha1 == hashlib.sha1(b"blob %d\0" % len(OLD) + OLD.encode()).hexdigest()  # noqa: S324 - git's own name

    async def test_every_way_to_name_a_commit_leads_to_its_code(self, place, sources):
        old = place.repo.commit({"etl.py": OLD})
        place.repo.ref("refs/tags/v1", old)
        inner = place.repo.annotated_tag("release/1.0", old)
        place.repo.annotated_tag("twice", inner)
        place.repo.ref("refs/heads/feature/a/b", old)
        place.repo.ref("refs/pull/7/head", old)
        new = place.repo.commit({"etl.py": NEW})
        for ref in (
            "v1",
            "release/1.0",
            "twice",
            "feature/a/b",
            "refs/heads/feature/a/b",
            "refs/tags/v1",
            "refs/pull/7/head",
            old,
        ):
            script = await sources.fetch(place(ref))
            assert (ref, script.source, script.commit, script.ref) == (ref, OLD, old, ref)
        for ref in ("", "main", "refs/heads/main", new):
            script = await sources.fetch(place(ref))
            assert (ref, script.source, script.commit) == (ref, NEW, new)

    async def test_a_commit_that_no_ref_points_to_is_found_in_the_history(self, place, sources):
        commits = [place.repo.commit({"etl.py": f"# {n}\n"}) for n in range(4)]
        assert (await sources.fetch(place(commits[1]))).source == "# 1\n"

    async def test_a_branch_named_like_a_commit_does_not_hide_the_commit(self, place, sources):
        old = place.repo.commit({"etl.py": OLD})
        place.repo.ref(f"refs/heads/{old}", place.repo.commit({"etl.py": NEW}))
        assert (await sources.fetch(place(old))).source == OLD

    async def test_a_name_that_is_a_branch_and_a_tag_counts_only_while_both_agree(self, place, sources):
        old = place.repo.commit({"etl.py": OLD})
        place.repo.ref("refs/tags/stable", old)
        place.repo.ref("refs/heads/stable", old)
        assert (await sources.fetch(place("stable"))).source == OLD
        place.repo.ref("refs/heads/stable", place.repo.commit({"etl.py": NEW}))
        with pytest.raises(InvalidArgument, match="refs/tags/stable") as refused:
            await sources.fetch(place("stable"))
        assert refused.value.reason == "ETL_ADDRESS"
        assert (await sources.fetch(place("refs/tags/stable"))).source == OLD

    async def test_a_missing_ref_is_named_with_the_closest(self, place, sources):
        commit = place.repo.commit({"etl.py": OLD})
        place.repo.ref("refs/heads/release-1", commit)
        for ref, hint in (
            ("releas-1", "the closest: 'release-1'"),
            ("zzz", "there is: 'main', 'release-1'"),
            (commit[:10], "all its 40 digits"),
            ("refs/heads/gone", "no branch or tag"),
            ("f" * 40, "there is no commit"),
        ):
            error = await _not_found(sources, place(ref))
            assert (error.details["what"], error.details["ref"]) == ("ref", ref)
            assert hint in error.message

    async def test_a_repository_without_commits_has_no_refs(self, place, sources):
        for ref in ("", "main"):
            error = await _not_found(sources, place(ref))
            assert error.details["what"] == "ref"
            assert "no branches and tags yet" in error.message

    async def test_a_head_that_leads_nowhere_asks_for_a_branch(self, place, sources):
        place.repo.commit({"etl.py": OLD}, branch="trunk")
        assert "such as 'trunk'" in (await _not_found(sources, place(""))).message

    async def test_a_missing_repository_is_named(self, place, sources):
        address = parse(f"{place.url.removesuffix('.git')}-gone@main#etl.py")
        error = await _not_found(sources, address)
        assert error.details == {"what": "repository", "repository": address.repository}

    async def test_a_pages_link_finds_the_branch_whose_name_has_slashes(self, tmp_path, sources):
        with GitRepo(tmp_path / "repo") as repo, git_server(etl=repo) as server:
            repo.commit({"etl.py": OLD})
            repo.commit({"a/etl.py": NEW}, branch="feature/x")
            script = await sources.fetch(parse(f"{server.url}/team/etl/blob/feature/x/a/etl.py"))
        assert (script.ref, script.path, script.source) == ("feature/x", "a/etl.py", NEW)


class TestFiles:
    @pytest.mark.parametrize("path", ["a b/é#@%.py", "deep/er/still/etl.py", "no_suffix"])
    async def test_a_path_of_any_letters_is_read(self, place, sources, path):
        place.repo.commit({path: OLD})
        script = await sources.fetch(replace(place("main"), path=path))
        assert (script.path, script.source) == (path, OLD)

    @pytest.mark.parametrize("text", ["", "\ufeff# bom\r\nx = 'ü\U0001f600'\r\n", "no line end"])
    async def test_the_text_is_that_of_the_blob_byte_for_byte(self, place, sources, text):
        place.repo.commit({"etl.py": (EXECUTABLE, text)})
        script = await sources.fetch(place())
        assert script.source.encode() == text.encode()
        assert script.blob_sha256 == hashlib.sha256(text.encode()).hexdigest()

    async def test_a_missing_path_is_named_with_the_closest(self, place, sources):
        commit = place.repo.commit({"features/etl.py": OLD, "readme.md": "x"})
        for path in ("features/elt.py", "etl.py", "features/etl.py.bak"):
            error = await _not_found(sources, place("main", path))
            assert (error.details["what"], error.details["path"]) == ("path", path)
            assert error.details["commit"] == commit
            assert "'features/etl.py'" in error.message
            assert "readme" not in error.message

    @pytest.mark.parametrize(
        ("path", "why"),
        [
            ("link.py", "a symbolic link"),
            ("vendored", "a submodule"),
            ("folder", "a folder"),
            ("etl.py/x.py", "'etl.py' is a file"),
            ("vendored/x.py", "'vendored' is a submodule"),
            ("link_to_folder/x.py", "'link_to_folder' is a symbolic link"),
            ("latin.py", "not UTF-8 (byte 3)"),
            ("huge.py", "1001 bytes, 1000 are allowed"),
        ],
    )
    async def test_what_is_no_script_is_refused_and_says_why(self, place, sources, path, why):
        place.repo.commit(
            {
                "etl.py": OLD,
                "folder/x.py": OLD,
                "link.py": (SYMLINK, "etl.py"),
                "link_to_folder": (SYMLINK, "folder"),
                "vendored": (SUBMODULE, "1" * 40),
                "latin.py": b"# \n\xe9",
                "huge.py": "#" * 1001,
                "largest.py": "#" * 1000,
            }
        )
        with pytest.raises(FailedPrecondition) as refused:
            await sources.fetch(place("main", path))
        assert (refused.value.reason, refused.value.details["path"]) == ("ETL_SOURCE", path)
        assert why in refused.value.message
        assert len((await sources.fetch(place("main", "largest.py"))).source) == 1000


class TestPins:
    async def test_a_moved_branch_does_not_move_what_was_saved(self, place, sources, cache):
        place.repo.commit({"etl.py": OLD})
        saved = _pin(await sources.fetch(place("main")))
        place.repo.commit({"etl.py": NEW})
        assert (await sources.fetch(place("main"))).source == NEW
        assert (await sources.load(saved, cache)).source == OLD
        assert await cache.get(saved.blob_sha256) == OLD

    async def test_a_commit_that_was_pushed_away_is_missed_only_without_the_cache(
        self, tmp_path, sources, cache
    ):
        with GitRepo(tmp_path / "repo") as repo, git_server(etl=repo) as server:
            repo.commit({"etl.py": OLD})
            saved = _pin(await sources.fetch(parse(f"git+{server.url}/team/etl.git@main#etl.py")))
            await cache.put(OLD)
            repo.commit({"etl.py": NEW}, orphan=True)
            assert (await sources.load(saved, cache)).source == OLD
            with pytest.raises(NotFound) as refused:
                await sources.load(saved, BlobCache(tmp_path / "empty"))
            assert refused.value.details["what"] == "ref"

    async def test_the_cache_serves_when_the_server_is_gone(self, tmp_path, sources, cache):
        with GitRepo(tmp_path / "repo") as repo:
            repo.commit({"etl.py": OLD})
            with git_server(etl=repo) as server:
                saved = _pin(await sources.fetch(parse(f"git+{server.url}/team/etl.git@main#etl.py")))
                assert (await sources.load(saved, cache)).source == OLD
                asked = len(server.requests)
                assert (await sources.load(saved, cache)).source == OLD
                assert len(server.requests) == asked
        assert (await sources.load(saved, cache)).source == OLD
        with pytest.raises(Unavailable) as refused:
            await sources.load(saved, BlobCache(tmp_path / "empty"))
        assert (refused.value.reason, refused.value.details["host"]) == ("GIT_UNREACHABLE", "127.0.0.1")

    async def test_a_damaged_cache_file_is_never_served_and_is_made_good(
        self, place, sources, cache, tmp_path
    ):
        place.repo.commit({"etl.py": OLD})
        saved = _pin(await sources.fetch(place()))
        await sources.load(saved, cache)
        (tmp_path / "blobs" / saved.blob_sha256).write_text(NEW)
        assert (await sources.load(saved, cache)).source == OLD
        assert (tmp_path / "blobs" / saved.blob_sha256).read_text() == OLD

    async def test_a_cache_that_can_not_be_written_is_no_reason_not_to_serve(
        self, place, sources, tmp_path, caplog
    ):
        place.repo.commit({"etl.py": OLD})
        saved = _pin(await sources.fetch(place()))
        (tmp_path / "a file").touch()
        assert (await sources.load(saved, BlobCache(tmp_path / "a file"))).source == OLD
        assert "could not be cached" in caplog.text

    async def test_other_bytes_than_were_saved_are_refused(self, place, sources, cache):
        place.repo.commit({"etl.py": NEW})
        saved = _pin(await sources.fetch(place()))
        other = replace(saved, blob_sha256=hashlib.sha256(OLD.encode()).hexdigest())
        with pytest.raises(FailedPrecondition, match="not what was saved") as refused:
            await sources.load(other, cache)
        assert refused.value.details["found_sha256"] == saved.blob_sha256
        assert await cache.get(saved.blob_sha256) is None

    async def test_many_fetches_at_once_get_each_its_own(self, place, sources):
        commits = [place.repo.commit({"etl.py": f"# {n}\n"}) for n in range(12)]
        scripts = await asyncio.gather(*(sources.fetch(place(commit)) for commit in commits))
        assert [script.source for script in scripts] == [f"# {n}\n" for n in range(12)]


class TestPermission:
    @pytest.mark.parametrize(
        ("address", "settings", "reason"),
        [
            ("git+file:///etc@main#passwd", GitSettings(), "GIT_SCHEME"),
            ("git+http://127.0.0.1:9/r@main#e.py", GitSettings(), "GIT_SCHEME"),
            ("git+ssh://host/r@main#e.py", GitSettings(schemes=frozenset({"https"})), "GIT_SCHEME"),
            ("git+https://evil.example/r@main#e.py", GitSettings(hosts=frozenset({"git.example"})), "GIT_HOST"),
            ("git+https://git.example.evil/r@main#e.py", GitSettings(hosts=frozenset({"git.example"})), "GIT_HOST"),
            ("git+ssh://git.example@evil/r@main#e.py", GitSettings(hosts=frozenset({"git.example"})), "GIT_HOST"),
        ],
    )  # fmt: skip
    async def test_a_scheme_or_host_that_is_not_allowed_names_the_setting(self, address, settings, reason):
        sources = GitSources(settings)
        with pytest.raises(PermissionDenied) as refused:
            await sources.fetch(parse(address))
        await sources.close()
        assert refused.value.reason == reason
        assert refused.value.details["setting"] == ("git_schemes" if reason == "GIT_SCHEME" else "git_hosts")

    async def test_what_is_not_allowed_is_not_asked(self, tmp_path):
        with GitRepo(tmp_path / "repo") as repo, git_server(etl=repo) as server:
            repo.commit({"etl.py": OLD})
            address = parse(f"git+{server.url}/team/etl.git#etl.py")
            for settings in (
                GitSettings(schemes=frozenset({"https"})),
                GitSettings(schemes=frozenset({"http"}), hosts=frozenset({"localhost"})),
            ):
                sources = GitSources(settings)
                with pytest.raises(PermissionDenied):
                    await sources.fetch(address)
                await sources.close()
            assert server.requests == []


async def _not_found(sources, address):
    with pytest.raises(NotFound) as refused:
        await sources.fetch(address)
    assert refused.value.reason == "ETL_SOURCE"
    return refused.value


def _pin(script):
    origin = Provenance(script.repository, script.ref, script.commit, script.path)
    return PinnedScript(script.blob_sha256, origin)
