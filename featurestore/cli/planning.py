"""What applying a definition would change, told from what is known of it; nothing is asked or saved here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

import pyarrow as pa

from featurestore.cli.definitions import Definition
from featurestore.client.results import SavedEtl, SavedQuery


class Standing(Enum):
    """How a definition stands to what its name means in the target."""

    NEW = "new"
    SAME = "same"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Planned:
    """One definition's line of the plan.

    Attributes:
        content_id: the id of its content in the target, if its name stands for just that; else empty.
        changes: what is other than what the name stands for now, one phrase each; empty unless `CHANGED`.
        remarks: what else is worth knowing, one phrase each.
        before: the schema or contract of what the name stands for now; None for a new name.
        after: those of the definition; None while they can't be known.
    """

    definition: Definition
    standing: Standing
    content_id: str = ""
    changes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    before: pa.Schema | None = None
    after: pa.Schema | None = None


def plan_query(
    definition: Definition, canonical: str, schema: pa.Schema, saved: SavedQuery | None, saved_canonical: str
) -> Planned:
    """The plan of a query.

    Args:
        canonical: its text in the form that ids are made of.
        schema: its columns on the target's tables.
        saved: what its name stands for in the target; None if for nothing.
        saved_canonical: that query's text, likewise.
    """
    if saved is None:
        return Planned(definition, Standing.NEW, after=schema)
    differs = schema_changes(saved.schema, schema)
    if canonical != saved_canonical:
        differs = ("other SQL", *differs)
    declared = _undeclared(definition, saved.index_keys)
    return Planned(
        definition,
        Standing.CHANGED if differs or declared else Standing.SAME,
        "" if differs else saved.query_id,
        differs + declared,
        () if differs else _kept_notes(definition, saved),
        saved.schema,
        schema,
    )


def plan_etl(
    definition: Definition,
    blob_sha256: str,
    neighbours: tuple[tuple[str, str], ...],
    contract: pa.Schema | None,
    saved: SavedEtl | None,
    query: Planned,
    declared: Collection[tuple[str, ...]],
) -> Planned:
    """The plan of an ETL.

    Args:
        blob_sha256: of its script's bytes.
        neighbours: (path, SHA-256) of the files beside it that it imports.
        contract: the schema that it makes of the target's rows now; the saved one if it still holds; None if its query
            has to be saved before that can be known.
        saved: what its name stands for in the target; None if for nothing.
        query: the plan of its query.
        declared: index keys of its query in the target.
    """
    unknown = () if contract is not None else (f"contract known once query {definition.query} is saved",)
    if saved is None:
        return Planned(definition, Standing.NEW, remarks=unknown, after=contract)
    differs = () if contract is None else schema_changes(saved.contract, contract)
    if neighbours != saved.neighbours:
        paths = sorted({path for path, _ in {*neighbours} ^ {*saved.neighbours}})
        differs = (f"other files beside the script ({', '.join(paths)})", *differs)
    if blob_sha256 != saved.blob_sha256:
        differs = (f"other script ({saved.blob_sha256[:8]} -> {blob_sha256[:8]})", *differs)
    if query.content_id != saved.query_id:
        differs = (f"other query ({saved.query_id} -> {query.content_id or definition.query})", *differs)
    undeclared = _undeclared(definition, {*declared, query.definition.index_key})
    return Planned(
        definition,
        Standing.CHANGED if differs or undeclared else Standing.SAME,
        "" if differs else saved.etl_id,
        differs + undeclared,
        unknown if differs else _kept_notes(definition, saved),
        saved.contract,
        contract,
    )


def schema_changes(before: pa.Schema, after: pa.Schema) -> tuple[str, ...]:
    """Columns added, removed, of another type, or in another order; empty if the two make the same id."""
    old = {field.name: str(field.type) for field in before}
    new = {field.name: str(field.type) for field in after}
    changes = [f"+ {name} {kind}" for name, kind in new.items() if name not in old]
    changes += [f"- {name} {kind}" for name, kind in old.items() if name not in new]
    changes += [
        f"{name}: {old[name]} -> {kind}" for name, kind in new.items() if name in old and old[name] != kind
    ]
    if not changes and list(old) != list(new):
        changes.append(f"columns in another order: {', '.join(new)}")
    return tuple(changes)


def _undeclared(definition: Definition, declared: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    if not definition.index_key or definition.index_key in declared:
        return ()
    return (f"+ index key {', '.join(definition.index_key)}",)


def _kept_notes(definition: Definition, saved: SavedQuery | SavedEtl) -> tuple[str, ...]:
    """Notes are stored with the first save of a content and stay: said, lest somebody waits for them to change."""
    wanted = {
        "owner": (definition.owner, saved.owner),
        "description": (definition.description, saved.description),
    }
    return tuple(
        f"the store keeps the {name} of the first save, {stored!r}"
        for name, (given, stored) in wanted.items()
        if given and given != stored
    )
