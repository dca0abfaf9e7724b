"""Where a store finds the scripts of a folder again: the commit and the repository that hold them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from featurestore.cli.definitions import Definition
from featurestore.client.results import SavedEtl
from featurestore.etl import imports
from featurestore.model.errors import FailedPrecondition, FeatureStoreError, InvalidArgument

if TYPE_CHECKING:
    from services.extraction.git_objects import FetchedScript


@dataclass(frozen=True, slots=True)
class Pin:
    """A committed script.

    Attributes:
        blob_sha256: of its bytes.
        neighbours: (path below its folder, SHA-256) of the files beside it that it imports, sorted.
        source: what `extract_train` takes to save it: a path on this machine, or an address with the commit.
    """

    blob_sha256: str
    neighbours: tuple[tuple[str, str], ...]
    source: str

    def holds(self, saved: SavedEtl) -> bool:
        """Whether this is the code of a saved ETL."""
        return (self.blob_sha256, self.neighbours) == (saved.blob_sha256, saved.neighbours)


def pin_all(
    etls: Iterable[Definition], *, here: bool, repository: str | None
) -> tuple[dict[str, Pin], list[FeatureStoreError]]:
    """Find the commit of each script.

    Args:
        here: the store is on this machine and finds the script by its path; else it is given the repository's address,
            with the commit in it.
        repository: that address, such as `git+https://host/org/repo.git`; None for that of the remote `origin`.

    Returns:
        Pins by `Definition.file`; and why others have none: `ETL_NOT_COMMITTED`, `ETL_NO_ORIGIN`, `ETL_ADDRESS`, `ETL_SOURCE`.
    """
    from services.extraction.git_fetch import GitSettings, GitSources  # noqa: PLC0415 - dulwich is slow to load

    async def find() -> tuple[dict[str, Pin], list[FeatureStoreError]]:
        sources = GitSources(GitSettings(schemes=frozenset({"file"})))
        pins: dict[str, Pin] = {}
        problems: list[FeatureStoreError] = []
        try:
            for etl in etls:
                try:
                    found = await sources.head_of_path(os.fspath(etl.path), etl.text, _beside(etl))
                    source = os.fspath(etl.path) if here else _address(found, repository)
                    beside = tuple((file.path, file.blob_sha256) for file in found.neighbours)
                    pins[etl.file] = Pin(found.blob_sha256, beside, source)
                except FeatureStoreError as problem:
                    problems.append(problem)
        finally:
            await sources.close()
        return pins, problems

    return asyncio.run(find())


def _beside(etl: Definition) -> dict[str, str]:
    """The files that a script imports, as they are on disk.

    Raises:
        InvalidArgument: `ETL_SOURCE`: one of them can't go along.
    """
    try:
        return imports.neighbours(etl.text, imports.on_disk(etl.path))
    except (imports.Unusable, OSError) as error:
        raise InvalidArgument("ETL_SOURCE", f"{etl.path} can't be run: {error}", path=etl.path) from error


def _address(found: FetchedScript, repository: str | None) -> str:
    """The script's address for a store elsewhere.

    Raises:
        FailedPrecondition: `ETL_NO_ORIGIN`.
        InvalidArgument: `ETL_ADDRESS`: the repository's address is none that a store fetches from.
    """
    from services.extraction.git_address import parse  # noqa: PLC0415 - as above

    if not repository and not found.origin:
        raise FailedPrecondition(
            "ETL_NO_ORIGIN",
            f"the repository of {found.path} has no remote `origin`, so a store elsewhere can't fetch the script: add one"
            " with `git remote add origin URL`, or give --repository",
            path=found.path,
        )
    return str(parse(f"{repository or as_address(found.origin)}@{found.commit}#{quote(found.path)}"))


def as_address(remote: str) -> str:
    """A remote's URL, as git writes it, the way stores take it: `git@host:org/repo` is `git+ssh://git@host/org/repo`."""
    if "://" in remote:
        return f"git+{remote}"
    host, colon, path = remote.partition(":")
    if colon and "/" not in host:
        return f"git+ssh://{host}/{path.lstrip('/')}"
    return f"git+file://{quote(os.path.abspath(remote))}"  # noqa: PTH100 - as git reads a path
