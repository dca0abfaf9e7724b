"""ETLs: where the script comes from, what exactly is pinned, and the contract it is held to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

import pyarrow as pa

from featurestore.model.query import Notes


@dataclass(frozen=True, slots=True)
class EtlSource:
    """How a caller names a script that is not saved yet.

    Exactly one of the two is set.

    Attributes:
        address: `git+https://host/org/repo.git@ref#path/to/file.py` or a GitHub or GitLab file link.
        local_path: an absolute path on the caller's machine, with `text` as it is on disk there.
    """

    address: str = ""
    local_path: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a pinned script was found. Not part of its identity; a repeated save appends another.

    Attributes:
        repository: the address it is fetched from again, without credentials.
        ref: as the caller gave it; empty for HEAD.
        commit: 40 hex digits.
        libraries: versions of python, pandas, pyarrow, numpy, and of what else the script imported, at the save.
    """

    repository: str
    ref: str
    commit: str
    path: str
    libraries: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PinnedScript:
    """The code that runs: a blob, never "the branch".

    Attributes:
        neighbours: (path, sha256) of the files beside it that it imports, sorted.
    """

    blob_sha256: str
    provenance: Provenance
    neighbours: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class EtlDraft:
    """An ETL that ran in training, on its way into the catalogue.

    Attributes:
        served: how the index key serves the query, `Explanation.summary`; empty if it is not known.
    """

    query_id: str
    script: PinnedScript
    contract: pa.Schema
    name: str = ""
    index_key: tuple[str, ...] = ()
    served: str = ""
    notes: Notes = field(default_factory=Notes)


@dataclass(frozen=True, slots=True)
class Etl:
    """A saved ETL, bound to its query.

    Attributes:
        contract: the schema that the ETL produced in training; every answer is held to it.
        provenances: where saves found the script; the first is the oldest.
    """

    etl_id: str
    query_id: str
    blob_sha256: str
    neighbours: tuple[tuple[str, str], ...]
    contract: pa.Schema
    provenances: tuple[Provenance, ...]
    notes: Notes
    created_at: datetime
    names: tuple[str, ...] = ()

    @property
    def script(self) -> PinnedScript:
        """What to run, with the place it was first found at and the libraries of the last save."""
        first, last = self.provenances[0], self.provenances[-1]
        return PinnedScript(self.blob_sha256, replace(first, libraries=last.libraries), self.neighbours)
