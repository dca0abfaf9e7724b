"""From the refs and objects of a repository to the one file that an address names."""

from __future__ import annotations

import difflib
import hashlib
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

from dulwich.object_store import BaseObjectStore
from dulwich.objects import S_ISGITLINK, Blob, Commit, ObjectID, Tag, Tree
from dulwich.refs import HEADREF, LOCAL_BRANCH_PREFIX, LOCAL_TAG_PREFIX, Ref

from featurestore.model.errors import FailedPrecondition, InvalidArgument, NotFound
from services.extraction.git_address import GitAddress, is_commit_id

_REGULAR = {0o100644, 0o100755}
_ABBREVIATED = re.compile(r"[0-9a-f]{7,39}")
_LOOKED_AT = 5_000  # files of a commit that are considered for "the closest are"


@dataclass(frozen=True, slots=True)
class FetchedScript:
    """An ETL script with the place it was found at.

    Attributes:
        repository: the address it is fetched from again: `git+https://host/org/repo.git`.
        ref: as the caller gave it; empty for HEAD.
        commit: 40 hex digits.
        path: from the repository's root.
        source: the file's text, byte for byte.
        blob_sha256: of the file's bytes, 64 hex digits: this is what is pinned.
        blob_sha1: git's own name of the blob, 40 hex digits.
        origin: for a local script, the URL of the remote `origin` without credentials, if it has one.
    """

    repository: str
    ref: str
    commit: str
    path: str
    source: str
    blob_sha256: str
    blob_sha1: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the refs make of an address: the object to fetch.

    Attributes:
        object_id: 40 hex digits, of a commit or of an annotated tag.
        advertised: whether a ref points to it; otherwise it is a commit id that only the caller named.
    """

    ref: str
    path: str
    object_id: ObjectID
    advertised: bool


def choose(address: GitAddress, refs: Mapping[Ref, ObjectID]) -> Choice:
    """Resolve the address's ref.

    A commit id means that commit, whatever a branch may be called; a name means the branch or the tag.

    Args:
        address: its first reading whose ref exists counts.
        refs: full name -> object id, `HEAD` included.

    Raises:
        NotFound: `ETL_SOURCE`, naming the closest refs.
        InvalidArgument: `ETL_ADDRESS` when a branch and a tag of the name are at different commits.
    """
    advertised = set(refs.values())
    for ref, path in address.readings:
        if is_commit_id(ref):
            object_id = ObjectID(ref.encode())
            return Choice(ref, path, object_id, object_id in advertised)
        found = _named(ref, refs)
        if found is not None:
            return Choice(ref, path, found, advertised=True)
    ref = address.ref
    names = sorted(_short(name) for name in refs if name.startswith((LOCAL_BRANCH_PREFIX, LOCAL_TAG_PREFIX)))
    if not names:
        why = "it has no branches and tags yet"
    elif not ref:
        why = f"its HEAD leads nowhere: name a branch, such as {names[0]!r}, after '@'"
    elif _ABBREVIATED.fullmatch(ref):
        why = f"there is no branch or tag {ref!r}; a commit id is written with all its 40 digits"
    else:
        why = f"there is no branch or tag {ref!r}; {_closest(ref, names)}"
    raise NotFound(
        "ETL_SOURCE",
        f"ref missing in {address.repository}: {why}",
        what="ref",
        repository=address.repository,
        ref=ref,
    )


def read_script(
    store: BaseObjectStore, choice: Choice, address: GitAddress, *, max_bytes: int, left_out: str
) -> FetchedScript:
    """Read the file out of the object store.

    Args:
        store: holds the chosen commit and its trees.
        choice: from `choose`.
        address: where the store's objects come from.
        max_bytes: the largest script that is read.
        left_out: why a blob may be missing from the store, for the message.

    Raises:
        NotFound: `ETL_SOURCE`: the commit or path does not exist.
        FailedPrecondition: `ETL_SOURCE`: it exists, but is no regular file of at most `max_bytes` of UTF-8.
    """
    repository = address.repository
    commit = commit_of(store, choice.object_id)
    if commit is None:
        raise NotFound(
            "ETL_SOURCE",
            f"ref missing in {repository}: there is no commit {choice.ref!r}, or none that a branch or tag leads to",
            what="ref",
            repository=repository,
            ref=choice.ref,
        )
    commit_id = commit.id.decode()
    blob_id = _find(store, commit, choice.path, repository)
    if blob_id not in store:
        _unusable(choice.path, repository, commit_id, left_out)
    blob = store[blob_id]
    if not isinstance(blob, Blob):
        _unusable(choice.path, repository, commit_id, "its tree entry does not lead to a file")
    content = blob.as_raw_string()
    if len(content) > max_bytes:
        _unusable(choice.path, repository, commit_id, f"it has {len(content)} bytes, {max_bytes} are allowed")
    try:
        source = content.decode()
    except UnicodeDecodeError as error:
        _unusable(
            choice.path, repository, commit_id, f"it is not UTF-8 (byte {error.start}): save it as UTF-8"
        )
    return FetchedScript(
        repository=repository,
        ref=choice.ref,
        commit=commit_id,
        path=choice.path,
        source=source,
        blob_sha256=hashlib.sha256(content).hexdigest(),
        blob_sha1=blob_id.decode(),
    )


def commit_of(store: BaseObjectStore, object_id: ObjectID) -> Commit | None:
    """The commit with this id, or that this annotated tag leads to; None if the store has none."""
    while object_id in store:
        found = store[object_id]
        if isinstance(found, Commit):
            return found
        if not isinstance(found, Tag):
            return None
        object_id = found.object[1]
    return None


def _named(ref: str, refs: Mapping[Ref, ObjectID]) -> ObjectID | None:
    if not ref:
        return refs.get(HEADREF)
    name = ref.encode()
    if name.startswith(b"refs/"):
        return refs.get(Ref(name))
    branch, tag = refs.get(Ref(LOCAL_BRANCH_PREFIX + name)), refs.get(Ref(LOCAL_TAG_PREFIX + name))
    if branch and tag and branch != tag:
        raise InvalidArgument(
            "ETL_ADDRESS",
            f"{ref!r} is both a branch and a tag: write 'refs/heads/{ref}' or 'refs/tags/{ref}'",
            part="ref",
            ref=ref,
        )
    return branch or tag


def _find(store: BaseObjectStore, commit: Commit, path: str, repository: str) -> ObjectID:
    object_id: ObjectID = commit.tree
    mode: int = stat.S_IFDIR
    parts = path.split("/")
    for depth, part in enumerate(parts):
        here = "/".join(parts[:depth])
        if not stat.S_ISDIR(mode):
            _unusable(path, repository, commit.id.decode(), f"{here!r} is {_what(mode)}, not a folder")
        tree = store[object_id]
        if not isinstance(tree, Tree) or part.encode() not in tree:
            files = [
                entry.path.decode(errors="replace")
                for entry in islice(store.iter_tree_contents(commit.tree), _LOOKED_AT)
                if entry.mode in _REGULAR
            ]
            scripts = [file for file in files if file.endswith(".py")] or files
            raise NotFound(
                "ETL_SOURCE",
                f"path missing in {repository} at {commit.id.decode()[:12]}: there is no {path!r}; "
                f"{_closest(path, scripts)}",
                what="path",
                repository=repository,
                path=path,
                commit=commit.id.decode(),
            )
        mode, object_id = tree[part.encode()]
    if mode not in _REGULAR:
        _unusable(path, repository, commit.id.decode(), f"it is {_what(mode)}, not a regular file")
    return object_id


def _what(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a submodule" if S_ISGITLINK(mode) else f"a file (mode {mode:o})"


def _unusable(path: str, repository: str, commit: str, why: str) -> NoReturn:
    raise FailedPrecondition(
        "ETL_SOURCE",
        f"{path!r} in {repository} at {commit[:12]} can't be an ETL script: {why}",
        what="path",
        repository=repository,
        path=path,
        commit=commit,
    )


def _short(ref: bytes) -> str:
    return ref.split(b"/", 2)[2].decode(errors="replace")


def _closest(wanted: str, names: Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    if close:
        return "the closest: " + ", ".join(map(repr, close))
    if not names:
        return "there are no files"
    return "there is: " + ", ".join(map(repr, sorted(names)[:5])) + (", ..." if len(names) > 5 else "")
