"""ETLs: where the script comes from, what exactly is pinned, and the contract it is held to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

import pyarrow as pa

from featurestore.model.query import Notes
from featurestore.model.verifying import KeptReport

Granularity: TypeAlias = Literal["rows", "key", "frame"]
Kind: TypeAlias = Literal["pandas", "arrow", "polars", "sql"]


@dataclass(frozen=True, slots=True)
class Declarations:
    """What holds for every run of a script, by its own word.

    Attributes:
        granularity: what one result depends on: `rows`, each row alone, so that rows may be cut into batches
            anywhere; `key`, the rows of one index value, so that training runs it per value; `frame`, all rows.
        pure: the same rows always give the same result, so that a result may be kept.
        kind: what its rows come in.
    """

    granularity: Granularity = "frame"
    pure: bool = False
    kind: Kind = "pandas"

    def as_dict(self) -> dict[str, Any]:
        """The three fields by name, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: object) -> Declarations:
        """The inverse of `as_dict`, of what somebody may have forged.

        Raises:
            ValueError: it is anything else.
        """
        match found:
            case {"granularity": str(granularity), "pure": bool(pure), "kind": str(kind), **more} if (
                not more and granularity in get_args(Granularity) and kind in get_args(Kind)
            ):
                return cls(granularity, pure, kind)  # type: ignore[arg-type] # just looked at
        raise ValueError("it is no set of declarations")


@dataclass(frozen=True, slots=True)
class EtlSource:
    """How a caller names a script that is not saved yet.

    Exactly one of the two is set.

    Attributes:
        address: `git+https://host/org/repo.git@ref#path/to/file.py` or a GitHub or GitLab file link.
        local_path: an absolute path on the caller's machine, with `text` as it is on disk there, and with it
            `neighbours`: (path, text) of the files beside it that it imports, paths below its folder.
    """

    address: str = ""
    local_path: str = ""
    text: str = ""
    neighbours: tuple[tuple[str, str], ...] = ()


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
        neighbours: (path, sha256) of the files beside it that it imports, sorted; paths below its folder, so that the
            same code has the same identity wherever the folder lies.
        declared: what the code says of itself, so no part of its identity.
    """

    blob_sha256: str
    provenance: Provenance
    neighbours: tuple[tuple[str, str], ...] = ()
    declared: Declarations = field(default_factory=Declarations)


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
        reports: the last one of each index key by which it was verified, the newest first.
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
    declared: Declarations = field(default_factory=Declarations)
    reports: tuple[KeptReport, ...] = ()

    @property
    def script(self) -> PinnedScript:
        """What to run, with the place it was first found at and the libraries of the last save."""
        first, last = self.provenances[0], self.provenances[-1]
        found = replace(first, libraries=last.libraries)
        return PinnedScript(self.blob_sha256, found, self.neighbours, self.declared)
