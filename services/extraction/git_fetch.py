"""ETL scripts out of git: no checkout, no git binary, nothing that blocks the event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from dulwich.errors import NotGitRepository
from dulwich.objects import ObjectID
from dulwich.refs import HEADREF, Ref
from dulwich.repo import Repo

from featurestore.model import deadline
from featurestore.model.errors import FailedPrecondition, NotFound
from featurestore.model.etl import PinnedScript
from services.extraction.blob_cache import BlobCache
from services.extraction.git_address import GitAddress, pinned
from services.extraction.git_objects import Choice, FetchedScript, choose, commit_of, read_script
from services.extraction.git_transport import (
    BROKEN_ANSWER,
    GitSettings,
    Transfer,
    download,
    permit,
    typed_errors,
    unreachable,
)

__all__ = ["FetchedScript", "GitSettings", "GitSources"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class GitSources:
    """Reads files of git repositories.

    dulwich blocks, so it works in threads of its own, at most `settings.threads` at a time; a fetch that
    takes too long is answered for and then broken off.
    """

    def __init__(self, settings: GitSettings | None = None) -> None:
        self._settings = settings or GitSettings()
        self._pool = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="git")
        self._transfers: set[Transfer] = set()

    async def close(self) -> None:
        """Break off what is being fetched and wait for the threads."""
        for transfer in self._transfers:
            transfer.abort()
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def fetch(self, address: GitAddress) -> FetchedScript:
        """Resolve the address's ref and read its file.

        Only the commit itself is fetched, without history; all branches are, when the server gives a commit
        by its id in no other way.

        Raises:
            PermissionDenied: `GIT_SCHEME` or `GIT_HOST`.
            NotFound: `ETL_SOURCE`; its `what` is repository, ref or path.
            FailedPrecondition: `ETL_SOURCE`: no regular file, not UTF-8, or too large.
            InvalidArgument: `ETL_ADDRESS`: the ref is both a branch and a tag.
            ResourceExhausted: `GIT_TOO_LARGE`: the repository, not the script.
            Unavailable: `GIT_UNREACHABLE`, after `fetch_timeout_seconds` or the call's deadline at the latest.
        """
        permit(address.scheme, address.host, self._settings)
        work = self._open if address.scheme == "file" else self._fetch
        return await self._run(lambda transfer: work(address, transfer), address)

    async def head_of_path(self, path: str, text: str) -> FetchedScript:
        """The committed twin of a local script, so that it can be pinned.

        Args:
            path: absolute, on this machine; symbolic links are followed first.
            text: the script as it is on disk, byte for byte (read without newline translation).

        Raises:
            FailedPrecondition: `ETL_NOT_COMMITTED` when HEAD of the enclosing repository does not hold exactly
                these bytes at this path. Bytes are compared: a checkout that git filtered (autocrlf, eol,
                LFS) differs from what is committed, and the message says so.
            PermissionDenied: `GIT_SCHEME`: this store has no business on the caller's disk.
        """
        permit("file", "", self._settings)
        address = GitAddress(f"file://{quote(path)}", "", "")
        return await self._run(lambda _: self._head_of(path, text), address)

    async def load(self, script: PinnedScript, cache: BlobCache) -> str:
        """The text of a saved script: from the cache, else from its repository and into the cache.

        Raises:
            FailedPrecondition: `ETL_SOURCE`: the repository holds other bytes there than were saved.
            FeatureStoreError: as `fetch`, when the cache does not have it.
        """
        text = await cache.get(script.blob_sha256)
        if text is not None:
            return text
        origin = script.provenance
        found = await self.fetch(pinned(origin.repository, origin.commit, origin.path))
        if found.blob_sha256 != script.blob_sha256:
            raise FailedPrecondition(
                "ETL_SOURCE",
                f"{origin.path!r} in {origin.repository} at {origin.commit[:12]} is not the script that was saved: "
                f"its SHA-256 is {found.blob_sha256[:12]}..., saved was {script.blob_sha256[:12]}...; save the ETL anew",
                what="blob",
                repository=origin.repository,
                path=origin.path,
                commit=origin.commit,
                saved_sha256=script.blob_sha256,
                found_sha256=found.blob_sha256,
            )
        try:
            await cache.put(found.source)
        except OSError:  # a full disk is no reason not to serve what is at hand
            log.exception("script %s could not be cached", script.blob_sha256)
        return found.source

    async def _run(self, work: Callable[[Transfer], T], address: GitAddress) -> T:
        """Run in the pool, and answer within the timeout whatever the thread does."""
        seconds = min(self._settings.fetch_timeout_seconds, deadline.remaining_or(float("inf")))
        transfer = Transfer()

        def guarded() -> T:
            with typed_errors(address, transfer):
                return work(transfer)

        self._transfers.add(transfer)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(self._pool.submit(guarded))
        except TimeoutError as error:
            raise unreachable(address, f"no answer within {seconds:.3g} s") from error
        finally:
            transfer.abort()
            self._transfers.discard(transfer)

    def _fetch(self, address: GitAddress, transfer: Transfer) -> FetchedScript:
        with (
            tempfile.TemporaryDirectory(prefix="featurestore-git-") as folder,
            closing(Repo.init_bare(folder)) as repo,
        ):
            choice = self._download(address, repo, transfer)
            return read_script(
                repo.object_store,
                choice,
                address,
                max_bytes=self._settings.max_script_bytes,
                left_out=f"it is larger than the {self._settings.max_script_bytes} bytes that are allowed",
            )

    def _download(self, address: GitAddress, repo: Repo, transfer: Transfer) -> Choice:
        chosen: Choice | None = None

        def the_commit(refs: Mapping[Ref, ObjectID]) -> list[ObjectID]:
            nonlocal chosen
            chosen = choose(address, refs)
            return [chosen.object_id]

        def everything(refs: Mapping[Ref, ObjectID]) -> list[ObjectID]:
            return sorted(set(refs.values()))

        try:
            download(address, repo, the_commit, depth=1, settings=self._settings, transfer=transfer)
        except BROKEN_ANSWER:
            if chosen is None or chosen.advertised or transfer.aborted:
                raise
            # Servers before protocol 2 hang up on a commit id that no ref points to.
            download(address, repo, everything, depth=None, settings=self._settings, transfer=transfer)
        return chosen or choose(address, {})  # an empty repository's server names no refs at all

    def _open(self, address: GitAddress, _: Transfer) -> FetchedScript:
        with closing(Repo(unquote(urlsplit(address.url).path))) as repo:
            choice = choose(address, repo.get_refs())
            return read_script(
                repo.object_store,
                choice,
                address,
                max_bytes=self._settings.max_script_bytes,
                left_out="its content is missing from the repository (a partial clone?): run `git fsck` there",
            )

    def _head_of(self, given: str, text: str) -> FetchedScript:
        path = Path(os.path.realpath(given))
        try:
            repo = Repo.discover(path.parent)
        except NotGitRepository as error:
            why = "it is in no git repository"
            raise _not_committed(path, why, path.parent, path.name, before="git init") from error
        with closing(repo):
            root = Path(os.path.realpath(repo.path))
            if repo.bare or not path.is_relative_to(root):
                raise _not_committed(
                    path, f"the repository {root} has no such file checked out", root, path.name
                )
            relative = path.relative_to(root).as_posix()
            head = repo.get_refs().get(HEADREF)
            commit = head and commit_of(repo.object_store, head)
            if not commit:
                raise _not_committed(path, "its repository has no commit yet", root, relative)
            commit_id = commit.id.decode()
            address = GitAddress(f"file://{quote(str(root))}", commit_id, relative)
            try:
                committed = read_script(
                    repo.object_store,
                    Choice("", relative, commit.id, advertised=True),
                    address,
                    max_bytes=self._settings.max_script_bytes,
                    left_out="its content is missing from the repository (a partial clone?): run `git fsck` there",
                )
            except NotFound as error:
                why = f"HEAD ({commit_id[:12]}) does not hold it"
                raise _not_committed(path, why, root, relative) from error
            if committed.source != text:
                why = f"it differs from HEAD ({commit_id[:12]})"
                if committed.source.replace("\r\n", "\n") == text.replace("\r\n", "\n"):
                    why += (
                        " in its line endings only, and bytes are compared: switch git's autocrlf or eol "
                        "conversion off for it (`*.py -text` in .gitattributes)"
                    )
                raise _not_committed(path, why, root, relative)
            return _with_origin(committed, repo)


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
    path: Path, why: str, root: Path, relative: str, *, before: str = ""
) -> FailedPrecondition:
    file = shlex.quote(relative)
    steps = ([before] if before else []) + [f"git add {file}", f"git commit -m 'ETL' {file}"]
    todo = f"cd {shlex.quote(str(root))} && " + " && ".join(steps)
    return FailedPrecondition(
        "ETL_NOT_COMMITTED",
        f"the ETL {str(path)!r} can't be saved: {why}; a saved ETL is pinned to a commit, so run `{todo}` and save again",
        path=path,
        todo=todo,
    )
