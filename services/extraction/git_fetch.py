"""ETL scripts out of git: no checkout, no git binary, nothing that blocks the event loop or could harm this process."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from featurestore.model import deadline
from featurestore.model.errors import BY_CODE, FailedPrecondition, Internal
from featurestore.model.etl import PinnedScript
from services.extraction.blob_cache import BlobCache
from services.extraction.git_address import GitAddress, pinned
from services.extraction.git_launcher import FetchDied, GitProcesses
from services.extraction.git_objects import FetchedScript
from services.extraction.git_settings import GitSettings, permit
from services.extraction.git_transport import unreachable

__all__ = ["FetchedScript", "GitSettings", "GitSources"]

log = logging.getLogger(__name__)


class GitSources:
    """Reads files of git repositories.

    Each time in a process of its own, at most `settings.processes` at a time; one that takes too long is killed.
    """

    def __init__(self, settings: GitSettings | None = None) -> None:
        self._settings = settings or GitSettings()
        self._processes = GitProcesses(self._settings)

    async def close(self) -> None:
        """Break off what is being fetched."""
        await self._processes.close()

    async def fetch(self, address: GitAddress) -> FetchedScript:
        """Resolve the address's ref and read its file.

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
        permit(address.scheme, address.host, self._settings)
        return await self._ask({"address": asdict(address)}, address)

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
        return await self._ask({"path": path, "text": text}, GitAddress(f"file://{quote(path)}", "", ""))

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
        return FetchedScript(**reply["script"])


def _crashed(address: GitAddress) -> Internal:
    return Internal(
        "GIT_CRASH",
        f"the process that read {address.repository} ended without an answer; see the server's log",
        repository=address.repository,
    )
