"""Queries and ETLs on their way into a catalogue, complete but for what a test is about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import pyarrow as pa

from featurestore.model.etl import Declarations, EtlDraft, PinnedScript, Provenance
from featurestore.model.query import Column, Notes, OrderTerm, QueryDraft, QueryForm, Warned

SQL = "SELECT user_id, total FROM feature_store.quotes"
COLUMNS = (Column("user_id", pa.string(), "VARCHAR"), Column("total", pa.int64(), "HUGEINT"))
SCRIPT = "from etl_abc import AbstractEtl\n\n\nclass Etl(AbstractEtl):\n    def extract(self):\n        return self.df\n"
CONTRACT = pa.schema([("user_id", pa.string()), ("total", pa.int64())])
LIBRARIES = {"python": "3.11.9", "pandas": "3.1.0"}


def query_draft(
    sql: str = SQL,
    *,
    canonical: str = "",
    columns: Sequence[Column] = COLUMNS,
    order: Sequence[OrderTerm] = (),
    tables: Sequence[str] = ("quotes",),
    name: str = "",
    index_key: Sequence[str] = (),
    served: str = "",
    notes: Notes | None = None,
    warnings: Sequence[Warned] = (),
    uses_clock: bool = False,
) -> QueryDraft:
    """A checked query; `canonical` is the text with its white space made single, unless given."""
    return QueryDraft(
        form=QueryForm(sql, tuple(columns), tuple(order)),
        canonical=canonical or " ".join(sql.split()),
        tables=tuple(tables),
        name=name,
        index_key=tuple(index_key),
        served=served,
        notes=notes or Notes(),
        warnings=tuple(warnings),
        uses_clock=uses_clock,
    )


def etl_draft(
    query_id: str,
    *,
    script: str = SCRIPT,
    neighbours: Sequence[tuple[str, str]] = (),
    contract: pa.Schema = CONTRACT,
    name: str = "",
    index_key: Sequence[str] = (),
    notes: Notes | None = None,
    repository: str = "git+https://git.example/team/features.git",
    ref: str = "main",
    commit: str = "1" * 40,
    path: str = "etl.py",
    libraries: Mapping[str, str] | None = None,
    declared: Declarations | None = None,
) -> EtlDraft:
    """An ETL of the query with this id, whose script is pinned by the hash of its text."""
    provenance = Provenance(
        repository, ref, commit, path, dict(LIBRARIES if libraries is None else libraries)
    )
    blob_sha256 = hashlib.sha256(script.encode()).hexdigest()
    return EtlDraft(
        query_id=query_id,
        script=PinnedScript(blob_sha256, provenance, tuple(neighbours), declared or Declarations()),
        contract=contract,
        name=name,
        index_key=tuple(index_key),
        notes=notes or Notes(),
    )
