"""From the refs and objects of a repository to the one file that an address names."""

from __future__ import annotations

import difflib
import hashlib
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from dulwich.errors import GitProtocolError
from dulwich.object_store import BaseObjectStore
from dulwich.objects import S_ISGITLINK, Blob, Commit, ObjectID, Tag, Tree
from dulwich.refs import HEADREF, LOCAL_BRANCH_PREFIX, LOCAL_TAG_PREFIX, Ref

from featurestore.etl import imports
from featurestore.model.errors import FailedPrecondition, InvalidArgument, NotFound
from services.extraction.git_address import GitAddress, is_commit_id

_REGULAR = {0o100644, 0o100755}
_ABBREVIATED = re.compile(r"[0-9a-f]{7,39}")
_LOOKED_AT = 5_000  # files of a commit that are considered for "the closest are"


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file beside a script.

    Attributes:
        path: below the script's folder.
        source: its text, byte for byte.
        blob_sha256: of its bytes, 64 hex digits.
    """

    path: str
    source: str
    blob_sha256: str


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
        neighbours: the files beside it that it imports, sorted by path.
    """

    repository: str
    ref: str
    commit: str
    path: str
    source: str
    blob_sha256: str
    blob_sha1: str
    origin: str = ""
    neighbours: tuple[FetchedFile, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Limits:
    """What is read of a store.

    Attributes:
        max_bytes: of one file.
        left_out: why a blob may be missing from the store, for the message.
    """

    max_bytes: int
    left_out: str


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


class CommitFiles:
    """The files of one commit, as far as they may be used."""

    def __init__(self, store: BaseObjectStore, choice: Choice, address: GitAddress, limits: Limits) -> None:
        """Find the commit.

        Args:
            store: holds the chosen commit and its trees.
            address: where the store's objects come from.

        Raises:
            NotFound: `ETL_SOURCE`: there is no such commit.
        """
        commit = commit_of(store, choice.object_id)
        self._repository = address.repository
        if commit is None:
            raise NotFound(
                "ETL_SOURCE",
                f"ref missing in {self._repository}: there is no commit {choice.ref!r}, or none that a branch or tag leads to",
                what="ref",
                repository=self._repository,
                ref=choice.ref,
            )
        self._store = store
        self._commit = commit
        self._choice = choice
        self._limits = limits

    def script(self, neighbours: Sequence[str] | None = None) -> FetchedScript:
        """The script that was chosen, with the files beside it that it imports.

        Args:
            neighbours: which these are, below the script's folder; None to find out.

        Raises:
            NotFound: `ETL_SOURCE`: a path does not exist.
            FailedPrecondition: `ETL_SOURCE`: it exists, but is no regular file of UTF-8 within the limits.
        """
        path = self._choice.path
        found = self._find(path)
        if found is None:
            raise self._missing(path)
        source = self._text(path, *found)
        folder = path.rpartition("/")[0]
        beside = f"{folder}/" if folder else ""

        def read(below: str) -> str | None:
            found = self._find(beside + below)
            return None if found is None else self._text(beside + below, *found)

        if neighbours is None:
            try:
                files = imports.neighbours(source, read)
                imports.check_names(files)
            except imports.Unusable as error:
                raise self._unusable(path, str(error)) from error
        else:
            files = {}
            for below in neighbours:
                text = read(below)
                if text is None:
                    raise self._missing(beside + below)
                files[below] = text
        return FetchedScript(
            repository=self._repository,
            ref=self._choice.ref,
            commit=self._commit.id.decode(),
            path=path,
            source=source,
            blob_sha256=_sha256(source),
            blob_sha1=found[1].decode(),
            neighbours=tuple(FetchedFile(each, text, _sha256(text)) for each, text in sorted(files.items())),
        )

    def _find(self, path: str) -> tuple[int, ObjectID] | None:
        """Mode and id of what a path leads to; None if there is nothing."""
        object_id: ObjectID = self._commit.tree
        mode: int = stat.S_IFDIR
        parts = path.split("/")
        for depth, part in enumerate(parts):
            here = "/".join(parts[:depth])
            if stat.S_ISREG(mode) and path != self._choice.path:
                return None  # such as a file `pandas` beside the script, which hinders no import
            if not stat.S_ISDIR(mode):
                raise self._unusable(path, f"{here!r} is {_what(mode)}, not a folder")
            if object_id not in self._store:
                raise GitProtocolError(f"what it sends lacks the folder {here!r}")
            tree = self._store[object_id]
            if not isinstance(tree, Tree) or part.encode() not in tree:
                return None
            mode, object_id = tree[part.encode()]
        return mode, object_id

    def _text(self, path: str, mode: int, blob_id: ObjectID) -> str:
        if mode not in _REGULAR:
            raise self._unusable(path, f"it is {_what(mode)}, not a regular file")
        if blob_id not in self._store:
            raise self._unusable(path, self._limits.left_out)
        blob = self._store[blob_id]
        if not isinstance(blob, Blob):
            raise self._unusable(path, "its tree entry does not lead to a file")
        content = blob.as_raw_string()
        if len(content) > self._limits.max_bytes:
            raise self._unusable(path, f"it has {len(content)} bytes, {self._limits.max_bytes} are allowed")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise self._unusable(path, f"it is not UTF-8 (byte {error.start}): save it as UTF-8") from error

    def _missing(self, path: str) -> NotFound:
        try:
            files = [
                entry.path.decode(errors="replace")
                for entry in islice(self._store.iter_tree_contents(self._commit.tree), _LOOKED_AT)
                if entry.mode in _REGULAR
            ]
        except KeyError as error:
            raise GitProtocolError("what it sends lacks a folder") from error
        scripts = [file for file in files if file.endswith(".py")] or files
        return NotFound(
            "ETL_SOURCE",
            f"path missing in {self._repository} at {self._commit.id.decode()[:12]}: there is no {path!r}; "
            f"{_closest(path, scripts)}",
            what="path",
            repository=self._repository,
            path=path,
            commit=self._commit.id.decode(),
        )

    def _unusable(self, path: str, why: str) -> FailedPrecondition:
        commit = self._commit.id.decode()
        return FailedPrecondition(
            "ETL_SOURCE",
            f"{path!r} in {self._repository} at {commit[:12]} can't be run: {why}",
            what="path",
            repository=self._repository,
            path=path,
            commit=commit,
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


def _what(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a submodule" if S_ISGITLINK(mode) else f"a file (mode {mode:o})"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
