"""Saved queries and ETLs, and what belongs to them: `featurestore.model.query`, `.etl` <-> `common.v1`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from featurestore.api.common.v1 import common_pb2 as pb
from featurestore.model.errors import InvalidArgument
from featurestore.model.etl import Declarations, Etl, EtlSource, PinnedScript, Provenance
from featurestore.model.query import Column, Notes, OrderTerm, Query, QueryForm, Warned
from featurestore.rpc.convert_table import schema_from_proto, schema_to_proto
from featurestore.rpc.convert_verifying import kept_report_from_proto, kept_report_to_proto
from featurestore.rpc.fields import invalid, missing, require, timestamp_from_proto, timestamp_to_proto


def notes_to_proto(notes: Notes) -> pb.Notes:
    """What people wrote, on the wire."""
    return pb.Notes(owner=notes.owner, description=notes.description, labels=notes.labels)


def notes_from_proto(message: pb.Notes) -> Notes:
    """What people wrote; nothing is an answer too."""
    return Notes(message.owner, message.description, dict(message.labels))


def warned_to_proto(warned: Warned) -> pb.Warning:
    """A warning on the wire."""
    return pb.Warning(reason=warned.reason, message=warned.message)


def warned_from_proto(message: pb.Warning) -> Warned:
    """A warning."""
    return Warned(message.reason, message.message)


def order_term_to_proto(term: OrderTerm) -> pb.OrderTerm:
    """One term of an ORDER BY, on the wire."""
    return pb.OrderTerm(column=term.column, descending=term.descending, nulls_first=term.nulls_first)


def order_term_from_proto(message: pb.OrderTerm) -> OrderTerm:
    """One term of an ORDER BY."""
    return OrderTerm(message.column, message.descending, message.nulls_first)


def columns_from_proto(arrow: pa.Schema, engine_types: Sequence[str], field: str) -> tuple[Column, ...]:
    """Columns, from their Arrow schema and the engine's own types beside it.

    Raises:
        InvalidArgument: `BAD_FIELD` naming `field` when the two differ in length.
    """
    if len(arrow) != len(engine_types):
        raise invalid(field, f"has {len(engine_types)} types for {len(arrow)} columns")
    return tuple(
        Column(column.name, column.type, engine_type)
        for column, engine_type in zip(arrow, engine_types, strict=True)
    )


def query_to_proto(query: Query) -> pb.Query:
    """A saved query on the wire."""
    return pb.Query(
        query_id=query.query_id,
        sql=query.form.sql,
        schema=schema_to_proto(query.form.schema),
        engine_types=[column.engine_type for column in query.form.columns],
        order=[order_term_to_proto(term) for term in query.form.order],
        canonical_sql=query.canonical,
        tables=query.tables,
        notes=notes_to_proto(query.notes),
        warnings=[warned_to_proto(warned) for warned in query.warnings],
        uses_clock=query.uses_clock,
        create_time=timestamp_to_proto(query.created_at),
        names=query.names,
        index_keys=[pb.ColumnNames(names=key) for key in query.index_keys],
        served=query.served,
        reports=[kept_report_to_proto(report) for report in query.reports],
    )


def query_from_proto(message: pb.Query) -> Query:
    """A saved query.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_FIELD`, `BAD_ARROW`.
    """
    return Query(
        query_id=message.query_id,
        form=form_of_query_from_proto(message),
        canonical=message.canonical_sql,
        tables=tuple(message.tables),
        notes=notes_from_proto(message.notes),
        warnings=tuple(warned_from_proto(warning) for warning in message.warnings),
        uses_clock=message.uses_clock,
        created_at=timestamp_from_proto(message, "create_time"),
        names=tuple(message.names),
        index_keys=tuple(tuple(key.names) for key in message.index_keys),
        served=tuple(message.served),
        reports=tuple(kept_report_from_proto(report) for report in message.reports),
    )


def form_of_query_from_proto(message: pb.Query) -> QueryForm:
    """What runs, out of a query's message.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_FIELD`, `BAD_ARROW`.
    """
    require(message, "schema")
    columns = columns_from_proto(
        schema_from_proto(message.schema), message.engine_types, "Query.engine_types"
    )
    return QueryForm(message.sql, columns, tuple(order_term_from_proto(term) for term in message.order))


def provenance_to_proto(provenance: Provenance) -> pb.Provenance:
    """Where a script was found, on the wire."""
    return pb.Provenance(
        repository=provenance.repository,
        ref=provenance.ref,
        commit=provenance.commit,
        path=provenance.path,
        libraries=provenance.libraries,
    )


def provenance_from_proto(message: pb.Provenance) -> Provenance:
    """Where a script was found."""
    return Provenance(message.repository, message.ref, message.commit, message.path, dict(message.libraries))


def neighbours_to_proto(neighbours: Iterable[tuple[str, str]]) -> list[pb.Neighbour]:
    """The files that a script imports, on the wire."""
    return [pb.Neighbour(path=path, blob_sha256=sha256) for path, sha256 in neighbours]


def neighbours_from_proto(messages: Iterable[pb.Neighbour]) -> tuple[tuple[str, str], ...]:
    """The files that a script imports."""
    return tuple((message.path, message.blob_sha256) for message in messages)


def declarations_to_proto(declared: Declarations) -> pb.Declarations:
    """What a script says of itself, on the wire."""
    return pb.Declarations(granularity=declared.granularity, pure=declared.pure, kind=declared.kind)


def declarations_from_proto(message: pb.Declarations) -> Declarations:
    """What a script says of itself.

    Raises:
        InvalidArgument: `BAD_FIELD`.
    """
    try:
        return Declarations.from_dict(
            {"granularity": message.granularity, "pure": message.pure, "kind": message.kind}
        )
    except ValueError as error:
        raise InvalidArgument(
            "BAD_FIELD", "declared holds what no script can declare", field="declared"
        ) from error


def pinned_script_to_proto(script: PinnedScript) -> pb.PinnedScript:
    """The code that runs, on the wire."""
    return pb.PinnedScript(
        blob_sha256=script.blob_sha256,
        provenance=provenance_to_proto(script.provenance),
        neighbours=neighbours_to_proto(script.neighbours),
        declared=declarations_to_proto(script.declared),
    )


def pinned_script_from_proto(message: pb.PinnedScript) -> PinnedScript:
    """The code that runs.

    Raises:
        InvalidArgument: `MISSING_FIELD`.
    """
    require(message, "provenance")
    return PinnedScript(
        message.blob_sha256,
        provenance_from_proto(message.provenance),
        neighbours_from_proto(message.neighbours),
        declarations_from_proto(message.declared) if message.HasField("declared") else Declarations(),
    )


def etl_to_proto(etl: Etl) -> pb.Etl:
    """A saved ETL on the wire."""
    return pb.Etl(
        etl_id=etl.etl_id,
        query_id=etl.query_id,
        blob_sha256=etl.blob_sha256,
        neighbours=neighbours_to_proto(etl.neighbours),
        contract=schema_to_proto(etl.contract),
        provenances=[provenance_to_proto(provenance) for provenance in etl.provenances],
        notes=notes_to_proto(etl.notes),
        create_time=timestamp_to_proto(etl.created_at),
        names=etl.names,
        declared=declarations_to_proto(etl.declared),
        reports=[kept_report_to_proto(report) for report in etl.reports],
    )


def etl_from_proto(message: pb.Etl) -> Etl:
    """A saved ETL.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_FIELD`, `BAD_ARROW`.
    """
    require(message, "contract")
    if not message.provenances:  # what runs is fetched from the first
        raise missing("Etl.provenances")
    return Etl(
        etl_id=message.etl_id,
        query_id=message.query_id,
        blob_sha256=message.blob_sha256,
        neighbours=neighbours_from_proto(message.neighbours),
        contract=schema_from_proto(message.contract),
        provenances=tuple(provenance_from_proto(provenance) for provenance in message.provenances),
        notes=notes_from_proto(message.notes),
        created_at=timestamp_from_proto(message, "create_time"),
        names=tuple(message.names),
        declared=declarations_from_proto(message.declared)
        if message.HasField("declared")
        else Declarations(),
        reports=tuple(kept_report_from_proto(report) for report in message.reports),
    )


def etl_source_to_proto(source: EtlSource) -> pb.EtlSource:
    """A script that is not saved yet, on the wire."""
    if source.local_path:
        beside = [pb.LocalFile(path=path, text=text) for path, text in source.neighbours]
        return pb.EtlSource(local=pb.LocalScript(path=source.local_path, text=source.text, neighbours=beside))
    return pb.EtlSource(address=source.address)


def etl_source_from_proto(message: pb.EtlSource) -> EtlSource:
    """A script that is not saved yet.

    Raises:
        InvalidArgument: `MISSING_FIELD` for no source, an empty address, a local script without its path.
    """
    require(message, "source")
    if message.HasField("local"):
        if not message.local.path:
            raise missing("LocalScript.path")
        beside = tuple((file.path, file.text) for file in message.local.neighbours)
        return EtlSource(local_path=message.local.path, text=message.local.text, neighbours=beside)
    if not message.address:
        raise missing("EtlSource.address")
    return EtlSource(address=message.address)
