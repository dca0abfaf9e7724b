"""ETL scripts out of git: no checkout, no git binary, nothing that blocks the event loop or could harm this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from featurestore.model import deadline
from featurestore.model.errors import BY_CODE, FailedPrecondition, Internal
from featurestore.model.etl import PinnedScript
from services.extraction.blob_cache import BlobCache
from services.extraction.git_address import GitAddress, pinned
from services.extraction.git_launcher import FetchDied, GitProcesses
from services.extraction.git_objects import FetchedFile, FetchedScript
from services.extraction.git_settings import GitSettings, permit
from services.extraction.git_transport import unreachable
from services.extraction.worker_types import EtlCode, EtlModule

__all__ = ["FetchedScript", "GitSettings", "GitSources"]

log = logging.getLogger(__name__)


class GitSources:
    """Reads files of git repositories.

    Each time in a process of its own, at most `settings.processes` at a time; one that takes too long is killed.
    """

    def __init__(self, settings: GitSettings | None = None, folder: Path | None = None) -> None:
        """Nothing is started before the first fetch.

        Args:
            folder: for what is being fetched, and for nothing else; None for a temporary one.
        """
        self._settings = settings or GitSettings()
        self._processes = GitProcesses(self._settings, folder)

    async def close(self) -> None:
        """Break off what is being fetched."""
        await self._processes.close()

    async def fetch(self, address: GitAddress) -> FetchedScript:
        """Resolve the address's ref and read its file, and those beside it that it imports.

        Only the commit itself is fetched, without history; all branches are, when the server gives a commit
        by its id in no other way.

        Raises:
            PermissionDenied: `GIT_SCHEME`, `GIT_HOST` or `GIT_NETWORK`.
            NotFound: `ETL_SOURCE`; its `what` is repository, ref or path.
            FailedPrecondition: `ETL_SOURCE`: no regular file, not UTF-8, or too large; `GIT_SECRET`: the host's token or
                key is not kept safe.
            InvalidArgument: `ETL_ADDRESS`: the ref is both a branch and a tag.
            ResourceExhausted: `GIT_TOO_LARGE`: the repository, not the script.
            Unavailable: `GIT_UNREACHABLE`, after `fetch_timeout_seconds` or the call's deadline at the latest.
            Internal: `GIT_CRASH`: the process ended without an answer.
        """
        return await self._fetch(address, None)

    async def head_of_path(self, path: str, text: str, neighbours: Mapping[str, str]) -> FetchedScript:
        """The committed twin of a local script, so that it can be pinned.

        Args:
            path: absolute, on this machine; symbolic links are followed first.
            text: the script as it is on disk, byte for byte (read without newline translation).
            neighbours: the files beside it that it imports, likewise: path below its folder -> text.

        Raises:
            FailedPrecondition: `ETL_NOT_COMMITTED` when HEAD of the enclosing repository does not hold exactly
                these bytes at these paths, naming the one that differs. Bytes are compared: a checkout that git filtered (autocrlf, eol,
                LFS) differs from what is committed, and the message says so.
            PermissionDenied: `GIT_SCHEME`: this store has no business on the caller's disk.
        """
        permit("file", "", self._settings)
        request = {"path": path, "text": text, "neighbours": dict(neighbours)}
        return await self._ask(request, GitAddress(f"file://{quote(path)}", "", ""))

    async def load(self, script: PinnedScript, cache: BlobCache) -> EtlCode:
        """A saved script: from the cache, else from its repository and into the cache.

        Raises:
            FailedPrecondition: `ETL_SOURCE`: the repository holds other bytes there than were saved.
            FeatureStoreError: as `fetch`, when the cache does not have all of it.
        """
        pins = [(script.provenance.path, script.blob_sha256), *script.neighbours]
        texts = [text for _, sha256 in pins if (text := await cache.get(sha256)) is not None]
        if len(texts) < len(pins):
            found = await self._from_its_commit(script)
            texts = [found.source, *(file.source for file in found.neighbours)]
            await self.keep(found, cache)
        modules = tuple(
            EtlModule(text, path, sha256)
            for text, (path, sha256) in zip(texts[1:], script.neighbours, strict=True)
        )
        return EtlCode(texts[0], script.provenance.path, script.blob_sha256, modules=modules)

    async def keep(self, script: FetchedScript, cache: BlobCache) -> None:
        """Put a script and its neighbours into the cache, if that can be."""
        try:
            for text in (script.source, *(file.source for file in script.neighbours)):
                await cache.put(text)
        except OSError:  # a full disk is no reason not to serve what is at hand: it can be fetched again
            log.exception("script %s could not be cached", script.blob_sha256)

    async def _from_its_commit(self, script: PinnedScript) -> FetchedScript:
        """What was saved, in the order it was saved in."""
        origin = script.provenance
        address = pinned(origin.repository, origin.commit, origin.path)
        found = await self._fetch(address, [path for path, _ in script.neighbours])
        beside = {file.path: file for file in found.neighbours}
        found = replace(found, neighbours=tuple(beside[path] for path, _ in script.neighbours))
        pins = [(origin.path, script.blob_sha256, found.blob_sha256)]
        pins += [(path, sha256, beside[path].blob_sha256) for path, sha256 in script.neighbours]
        for path, saved, now in pins:
            if saved != now:
                raise FailedPrecondition(
                    "ETL_SOURCE",
                    f"{path!r} in {origin.repository} at {origin.commit[:12]} is not what was saved: "
                    f"its SHA-256 is {now[:12]}..., saved was {saved[:12]}...; save the ETL anew",
                    what="blob",
                    repository=origin.repository,
                    path=path,
                    commit=origin.commit,
                    saved_sha256=saved,
                    found_sha256=now,
                )
        return found

    async def _fetch(self, address: GitAddress, neighbours: list[str] | None) -> FetchedScript:
        permit(address.scheme, address.host, self._settings)
        return await self._ask({"address": asdict(address), "neighbours": neighbours}, address)

    async def _ask(self, request: dict[str, Any], address: GitAddress) -> FetchedScript:
        seconds = min(self._settings.fetch_timeout_seconds, deadline.remaining_or(float("inf")))
        try:
            async with asyncio.timeout(seconds):
                reply = await self._processes.ask(request)
        except TimeoutError as error:
            raise unreachable(address, f"no answer within {seconds:.3g} s") from error
        except FetchDied as error:
            if self._processes.closed:
                raise unreachable(address, "this service is being shut down") from error
            log.exception("the process that fetched %s ended without an answer", address.repository)
            raise _crashed(address) from error
        if "refused" in reply:
            refused = reply["refused"]
            raise BY_CODE[refused["code"]](refused["reason"], refused["message"], **refused["details"])
        if "bug" in reply:
            log.error("fetching %s failed by a fault of ours:\n%s", address.repository, reply["bug"])
            raise _crashed(address)
        script = reply["script"]
        beside = tuple(FetchedFile(**file) for file in script.pop("neighbours"))
        return FetchedScript(**script, neighbours=beside)


def _crashed(address: GitAddress) -> Internal:
    return Internal(
        "GIT_CRASH",
        f"the process that read {address.repository} ended without an answer; see the server's log",
        repository=address.repository,
    )
