"""A local script can be pinned only if HEAD of its repository holds exactly what is on disk."""

import hashlib
import shlex

import pytest

from featurestore.model.errors import FailedPrecondition, PermissionDenied
from services.extraction.git_address import pinned
from services.extraction.git_fetch import GitSettings, GitSources
from tests.support.git_repos import GitRepo

TEXT = "# an ETL, ünïcode\n"


@pytest.fixture
def repo(tmp_path):
    with GitRepo(tmp_path / "my repo") as made:
        yield made


@pytest.fixture(scope="module")
async def sources():
    made = GitSources(GitSettings(schemes=frozenset({"file"}), max_script_bytes=1000))
    yield made
    await made.close()


class TestCommitted:
    @pytest.mark.parametrize("path", ["etl.py", "deep/er/a b.py"])
    async def test_a_committed_script_is_found_at_its_commit(self, repo, sources, path):
        commit = repo.commit({path: TEXT})
        script = await sources.head_of_path(str(repo.folder / path), TEXT, {})
        assert (script.source, script.commit, script.path) == (TEXT, commit, path)
        assert (script.repository, script.ref, script.origin) == (repo.url, "", "")

    async def test_what_was_found_can_be_fetched_again_by_its_pin(self, repo, sources):
        repo.commit({"etl.py": TEXT})
        script = await sources.head_of_path(str(repo.folder / "etl.py"), TEXT, {})
        repo.commit({"etl.py": "# later\n"})
        again = await sources.fetch(pinned(script.repository, script.commit, script.path))
        assert (again.source, again.blob_sha256) == (TEXT, script.blob_sha256)

    async def test_a_link_to_a_script_counts_as_the_script(self, repo, sources, tmp_path):
        repo.commit({"etl.py": TEXT})
        (tmp_path / "link.py").symlink_to(repo.folder / "etl.py")
        assert (await sources.head_of_path(str(tmp_path / "link.py"), TEXT, {})).path == "etl.py"

    async def test_another_uncommitted_file_is_no_hindrance(self, repo, sources):
        commit = repo.commit({"etl.py": TEXT, "other.py": TEXT})
        repo.write("other.py", "# changed\n")
        repo.write("untracked.py", "# new\n")
        assert (await sources.head_of_path(str(repo.folder / "etl.py"), TEXT, {})).commit == commit

    @pytest.mark.parametrize(
        ("remote", "origin"),
        [
            ("https://ada:hunter2@git.example/r.git?token=hunter2", "https://git.example/r.git"),
            ("https://hunter2@git.example/r.git", "https://git.example/r.git"),
            ("ssh://git:hunter2@git.example/r.git", "ssh://git.example/r.git"),
            ("ssh://git@git.example/r.git", "ssh://git@git.example/r.git"),
            ("git@git.example:r.git", "git@git.example:r.git"),
            ("/srv/r.git", "/srv/r.git"),
        ],
    )
    async def test_the_remotes_url_comes_along_without_credentials(self, repo, sources, remote, origin):
        repo.commit({"etl.py": TEXT})
        config = repo.repo.get_config()
        config.set((b"remote", b"origin"), b"url", remote.encode())
        config.write_to_path()
        assert (await sources.head_of_path(str(repo.folder / "etl.py"), TEXT, {})).origin == origin


class TestNotCommitted:
    async def test_a_changed_script_differs_from_head_and_says_what_to_run(self, repo, sources):
        commit = repo.commit({"a b.py": TEXT})
        error = await _refused(sources, repo.write("a b.py", "# changed\n"))
        assert f"it differs from HEAD ({commit[:12]})" in error.message
        assert error.details["todo"] == (
            f"cd {shlex.quote(str(repo.folder))} && git add 'a b.py' && git commit -m 'ETL' 'a b.py'"
        )

    async def test_an_untracked_script_is_not_in_head(self, repo, sources):
        repo.commit({"etl.py": TEXT})
        error = await _refused(sources, repo.write("new.py", TEXT))
        assert "does not hold it" in error.message
        assert "git add new.py" in error.details["todo"]

    async def test_a_script_that_is_only_staged_is_not_in_head(self, repo, sources):
        repo.commit({"etl.py": TEXT})
        staged = repo.write("new.py", TEXT)
        repo.repo.get_worktree().stage([b"new.py"])
        assert "does not hold it" in (await _refused(sources, staged)).message

    async def test_a_script_committed_on_another_branch_only_is_not_in_head(self, repo, sources):
        repo.commit({"etl.py": TEXT})
        repo.commit({"new.py": TEXT}, branch="other")
        assert "does not hold it" in (await _refused(sources, repo.write("new.py", TEXT))).message

    async def test_a_repository_without_a_commit_holds_nothing(self, repo, sources):
        assert "no commit yet" in (await _refused(sources, repo.write("etl.py", TEXT))).message

    async def test_a_script_outside_any_repository_is_told_to_begin_one(self, sources, tmp_path):
        script = tmp_path / "etl.py"
        script.write_text(TEXT)
        error = await _refused(sources, script)
        assert "it is in no git repository" in error.message
        assert "git init && git add etl.py" in error.details["todo"]

    async def test_line_endings_that_git_changed_are_named_as_the_difference(self, repo, sources):
        repo.commit({"etl.py": "a = 1\nb = 2\n"})
        error = await _refused(sources, repo.write("etl.py", b"a = 1\r\nb = 2\r\n"))
        assert "line endings only" in error.message
        assert ".gitattributes" in error.message

    async def test_the_text_that_was_read_counts_and_not_what_the_disk_holds_by_now(self, repo, sources):
        repo.commit({"etl.py": TEXT})
        with pytest.raises(FailedPrecondition, match="differs from HEAD"):
            await sources.head_of_path(str(repo.folder / "etl.py"), "# what the caller read\n", {})

    async def test_a_file_inside_the_git_folder_is_not_committed(self, repo, sources):
        repo.commit({"etl.py": TEXT})
        with pytest.raises(FailedPrecondition) as refused:
            await sources.head_of_path(str(repo.folder / ".git" / "config"), "x", {})
        assert refused.value.reason == "ETL_NOT_COMMITTED"

    async def test_a_committed_script_over_the_limit_is_refused_as_such(self, repo, sources):
        repo.commit({"etl.py": "#" * 1001})
        with pytest.raises(FailedPrecondition, match="1000 are allowed") as refused:
            await sources.head_of_path(str(repo.folder / "etl.py"), "#" * 1001, {})
        assert refused.value.reason == "ETL_SOURCE"


class TestNeighbours:
    SCRIPT = "import helpers\nfrom features import ages\n"
    FILES = {"helpers.py": "# h\n", "features/ages.py": "# a\n"}  # noqa: RUF012 - read only

    @pytest.fixture
    def script(self, repo):
        beside = {f"team/{path}": text for path, text in self.FILES.items()}
        repo.commit({"team/etl.py": self.SCRIPT, "team/unasked.py": "", **beside})
        return str(repo.folder / "team" / "etl.py")

    async def test_committed_neighbours_are_found_with_their_hashes(self, sources, script):
        found = await sources.head_of_path(script, self.SCRIPT, self.FILES)
        assert {file.path: file.source for file in found.neighbours} == self.FILES
        assert [file.blob_sha256 for file in found.neighbours] == [
            hashlib.sha256(self.FILES[path].encode()).hexdigest() for path in sorted(self.FILES)
        ]

    @pytest.mark.parametrize(
        ("on_disk", "named", "why"),
        [
            ({**FILES, "helpers.py": "# changed\n"}, "helpers.py", "differs from HEAD"),
            ({**FILES, "helpers.py": "# h\r\n"}, "helpers.py", "line endings only"),
            ({**FILES, "features/__init__.py": ""}, "features/__init__.py", "is not in HEAD"),
            ({"helpers.py": "# h\n"}, "features/ages.py", "and not on the disk"),
        ],
        ids=["changed", "line endings", "new", "removed"],
    )
    async def test_a_neighbour_that_differs_from_head_is_named_with_what_to_run(
        self, repo, sources, script, on_disk, named, why
    ):
        with pytest.raises(FailedPrecondition) as refused:
            await sources.head_of_path(script, self.SCRIPT, on_disk)
        assert refused.value.reason == "ETL_NOT_COMMITTED"
        assert f"{named!r}, which it imports, " in refused.value.message
        assert why in refused.value.message
        assert refused.value.details["todo"] == (
            f"cd {shlex.quote(str(repo.folder))} && git add team/{named} && git commit -m 'ETL' team/{named}"
        )


async def test_a_store_elsewhere_has_no_business_on_the_callers_disk(repo):
    repo.commit({"etl.py": TEXT})
    sources = GitSources(GitSettings())
    with pytest.raises(PermissionDenied) as refused:
        await sources.head_of_path(str(repo.folder / "etl.py"), TEXT, {})
    await sources.close()
    assert refused.value.reason == "GIT_SCHEME"


async def _refused(sources, script):
    with pytest.raises(FailedPrecondition) as refused:
        await sources.head_of_path(str(script), script.read_bytes().decode(), {})
    assert refused.value.reason == "ETL_NOT_COMMITTED"
    assert refused.value.details["todo"] in refused.value.message
    return refused.value
