"""Reading a script out of git: what the process of one fetch does. It blocks, and gives up as the store's errors."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from dulwich.errors import NotGitRepository
from dulwich.objects import ObjectID
from dulwich.refs import HEADREF, Ref
from dulwich.repo import Repo

from featurestore.model.errors import FailedPrecondition, NotFound
from services.extraction.git_address import GitAddress
from services.extraction.git_objects import (
    Choice,
    CommitFiles,
    FetchedScript,
    Limits,
    choose,
    commit_of,
)
from services.extraction.git_settings import GitSettings
from services.extraction.git_transport import BROKEN_ANSWER, download, typed_errors

_PARTIAL_CLONE = "its content is missing from the repository (a partial clone?): run `git fsck` there"


def fetch(
    address: GitAddress, settings: GitSettings, folder: str, neighbours: Sequence[str] | None
) -> FetchedScript:
    """Resolve the address's ref and read its file; see `GitSources.fetch`.

    Args:
        neighbours: the files beside it to read, below its folder; None for those that it imports.
        folder: an empty one, for what is fetched.
    """
    with typed_errors(address):
        if address.scheme == "file":
            return _open(address, settings, neighbours)
        with closing(Repo.init_bare(folder)) as repo:
            choice = _download(address, repo, settings)
            left_out = f"it is larger than the {settings.max_script_bytes} bytes that are allowed"
            limits = Limits(settings.max_script_bytes, left_out)
            return CommitFiles(repo.object_store, choice, address, limits).script(neighbours)


def head_of_path(
    given: str, text: str, neighbours: Mapping[str, str], settings: GitSettings
) -> FetchedScript:
    """The committed twin of a local script; see `GitSources.head_of_path`."""
    path = Path(os.path.realpath(given))
    with typed_errors(GitAddress(f"file://{quote(given)}", "", "")):
        try:
            repo = Repo.discover(path.parent)
        except NotGitRepository as error:
            why = "it is in no git repository"
            raise _not_committed(path, why, path.parent, [path.name], before="git init") from error
        with closing(repo):
            return _head_of(path, text, neighbours, repo, settings)


def _download(address: GitAddress, repo: Repo, settings: GitSettings) -> Choice:
    chosen: Choice | None = None

    def the_commit(refs: Mapping[Ref, ObjectID]) -> list[ObjectID]:
        nonlocal chosen
        chosen = choose(address, refs)
        return [chosen.object_id]

    def everything(refs: Mapping[Ref, ObjectID]) -> list[ObjectID]:
        return sorted(set(refs.values()))

    try:
        download(address, repo, the_commit, depth=1, settings=settings)
    except BROKEN_ANSWER:
        if chosen is None or chosen.advertised:
            raise
        # Servers before protocol 2 hang up on a commit id that no ref points to.
        download(address, repo, everything, depth=None, settings=settings)
    return chosen or choose(address, {})  # an empty repository's server names no refs at all


def _open(address: GitAddress, settings: GitSettings, neighbours: Sequence[str] | None) -> FetchedScript:
    with closing(Repo(unquote(urlsplit(address.url).path))) as repo:
        choice = choose(address, repo.get_refs())
        limits = Limits(settings.max_script_bytes, _PARTIAL_CLONE)
        return CommitFiles(repo.object_store, choice, address, limits).script(neighbours)


def _head_of(
    path: Path, text: str, neighbours: Mapping[str, str], repo: Repo, settings: GitSettings
) -> FetchedScript:
    root = Path(os.path.realpath(repo.path))
    if repo.bare or not path.is_relative_to(root):
        raise _not_committed(path, f"the repository {root} has no such file checked out", root, [path.name])
    relative = path.relative_to(root).as_posix()
    head = repo.get_refs().get(HEADREF)
    commit = head and commit_of(repo.object_store, head)
    if not commit:
        raise _not_committed(path, "its repository has no commit yet", root, [relative])
    commit_id = commit.id.decode()
    address = GitAddress(f"file://{quote(str(root))}", commit_id, relative)
    choice = Choice("", relative, commit.id, advertised=True)
    limits = Limits(settings.max_script_bytes, _PARTIAL_CLONE)
    try:
        committed = CommitFiles(repo.object_store, choice, address, limits).script()
    except NotFound as error:
        why = f"HEAD ({commit_id[:12]}) does not hold it"
        raise _not_committed(path, why, root, [relative]) from error
    if committed.source != text:
        why = f"it {_difference(committed.source, text, commit_id)}"
        raise _not_committed(path, why, root, [relative])
    in_head = {file.path: file.source for file in committed.neighbours}
    other = [
        below
        for below in sorted(in_head.keys() | neighbours.keys())
        if in_head.get(below) != neighbours.get(below)
    ]
    if other:
        folder = PurePosixPath(relative).parent
        why = _of_neighbour(in_head.get(other[0]), neighbours.get(other[0]), commit_id)
        why = f"{other[0]!r}, which it imports, {why}"
        raise _not_committed(path, why, root, [str(folder / below) for below in other])
    return _with_origin(committed, repo)


def _of_neighbour(committed: str | None, on_disk: str | None, commit_id: str) -> str:
    if committed is None:
        return f"is not in HEAD ({commit_id[:12]})"
    if on_disk is None:
        return f"is in HEAD ({commit_id[:12]}), and not on the disk"
    return _difference(committed, on_disk, commit_id)


def _difference(committed: str, on_disk: str, commit_id: str) -> str:
    why = f"differs from HEAD ({commit_id[:12]})"
    if committed.replace("\r\n", "\n") == on_disk.replace("\r\n", "\n"):
        why += (
            " in its line endings only, and bytes are compared: switch git's autocrlf or eol "
            "conversion off for it (`*.py -text` in .gitattributes)"
        )
    return why


def _with_origin(script: FetchedScript, repo: Repo) -> FetchedScript:
    try:
        url = repo.get_config().get((b"remote", b"origin"), b"url").decode()
    except KeyError:
        return script
    return replace(script, origin=_without_credentials(url))


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
    if parts.scheme and ":" in parts.netloc.rpartition("@")[0]:
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return url


def _not_committed(
    path: Path, why: str, root: Path, files: Sequence[str], *, before: str = ""
) -> FailedPrecondition:
    listed = shlex.join(files)
    steps = ([before] if before else []) + [f"git add {listed}", f"git commit -m 'ETL' {listed}"]
    todo = f"cd {shlex.quote(str(root))} && " + " && ".join(steps)
    return FailedPrecondition(
        "ETL_NOT_COMMITTED",
        f"the ETL {str(path)!r} can't be saved: {why}; a saved ETL is pinned to a commit, so run `{todo}` and save again",
        path=path,
        todo=todo,
    )
