"""Between the model's words and the stored documents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from featurestore.model import names, schema
from featurestore.model.etl import Declarations, Etl, EtlDraft, Provenance
from featurestore.model.names import Kind
from featurestore.model.query import Column, Notes, OrderTerm, Query, QueryDraft, QueryForm, Warned
from featurestore.model.table import Version
from featurestore.model.verifying import Difference, KeptReport, VerifyReport
from services.catalog.documents import (
    DeclarationsPart,
    DifferencePart,
    EtlDocument,
    IndexKeyDocument,
    NotesPart,
    OrderPart,
    ProvenancePart,
    QueryDocument,
    ReportDocument,
    WarningPart,
    etl_content,
    query_content,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def query_document(draft: QueryDraft, id_key: bytes, now_us: int) -> QueryDocument:
    """The document that saves the draft."""
    form = draft.form
    text = schema.schema_text(form.schema)
    key = names.content_key(*query_content(draft.canonical, text))
    return QueryDocument(
        created_at_us=now_us,
        content_key=key,
        query_id=names.public_id(Kind.QUERY, key, id_key),
        canonical_sql=draft.canonical,
        sql=form.sql,
        schema_text=text,
        schema_arrow=schema.to_bytes(form.schema),
        engine_types=tuple(column.engine_type for column in form.columns),
        order=tuple(
            OrderPart(column=term.column, descending=term.descending, nulls_first=term.nulls_first)
            for term in form.order
        ),
        tables=draft.tables,
        notes=_notes_part(draft.notes),
        warnings=tuple(WarningPart(reason=item.reason, message=item.message) for item in draft.warnings),
        uses_clock=draft.uses_clock,
    )


def query(
    document: QueryDocument,
    labels: tuple[str, ...],
    declared: Sequence[IndexKeyDocument],
    reports: Sequence[ReportDocument],
) -> Query:
    """The saved query with what was collected beside it."""
    columns = tuple(
        Column(field.name, field.type, engine_type)
        for field, engine_type in zip(
            schema.from_bytes(document.schema_arrow), document.engine_types, strict=True
        )
    )
    order = tuple(OrderTerm(term.column, term.descending, term.nulls_first) for term in document.order)
    return Query(
        query_id=document.query_id,
        form=QueryForm(document.sql, columns, order),
        canonical=document.canonical_sql,
        tables=document.tables,
        notes=_notes(document.notes),
        warnings=tuple(Warned(item.reason, item.message) for item in document.warnings),
        uses_clock=document.uses_clock,
        created_at=_time(document.created_at_us),
        names=labels,
        index_keys=tuple(each.columns for each in declared),
        served=tuple(each.served for each in declared),
        reports=tuple(map(_report, reports)),
    )


def etl_document(draft: EtlDraft, id_key: bytes, now_us: int) -> EtlDocument:
    """The document that saves the draft."""
    script = draft.script
    # Sorted, so that the order in which the imports were met is no difference.
    neighbours = tuple(sorted(script.neighbours))
    contract = schema.plain(draft.contract)
    text = schema.schema_text(contract)
    key = names.content_key(*etl_content(draft.query_id, script.blob_sha256, neighbours, text))
    return EtlDocument(
        created_at_us=now_us,
        content_key=key,
        etl_id=names.public_id(Kind.ETL, key, id_key),
        query_id=draft.query_id,
        blob_sha256=script.blob_sha256,
        neighbours=neighbours,
        contract_text=text,
        contract_arrow=schema.to_bytes(contract),
        provenance=_provenance_part(script.provenance),
        notes=_notes_part(draft.notes),
        declared=DeclarationsPart(**script.declared.as_dict()),
    )


def etl(
    document: EtlDocument,
    further: Sequence[ProvenancePart],
    labels: tuple[str, ...],
    reports: Sequence[ReportDocument],
) -> Etl:
    """The saved ETL with what was collected beside it; `further` provenances oldest first."""
    return Etl(
        etl_id=document.etl_id,
        query_id=document.query_id,
        blob_sha256=document.blob_sha256,
        neighbours=document.neighbours,
        contract=schema.from_bytes(document.contract_arrow),
        provenances=tuple(_provenance(part) for part in (document.provenance, *further)),
        notes=_notes(document.notes),
        created_at=_time(document.created_at_us),
        names=labels,
        declared=Declarations(**document.declared.model_dump()),
        reports=tuple(map(_report, reports)),
    )


def report_document(public_id: str, kept: KeptReport) -> ReportDocument:
    """The document that keeps the report."""
    found = kept.report
    return ReportDocument(
        created_at_us=(kept.verified_at - _EPOCH) // timedelta(microseconds=1),
        id=public_id,
        columns=kept.index_key,
        columns_sha256=names.content_key(*kept.index_key),
        checked=found.checked,
        agreed=found.agreed,
        skipped=found.skipped,
        differences=tuple(
            DifferencePart(
                key=each.key, column=each.column, trained=each.trained, served=each.served, cause=each.cause
            )
            for each in found.differences
        ),
        log_id=found.version.log_id,
        sequence=found.version.sequence,
        remarks=found.remarks,
        exact=found.exact,
        float_values=found.float_values,
        float_values_bitwise_equal=found.float_values_bitwise_equal,
        largest_error=found.largest_error,
    )


def _report(document: ReportDocument) -> KeptReport:
    return KeptReport(
        document.columns,
        VerifyReport(
            checked=document.checked,
            agreed=document.agreed,
            skipped=document.skipped,
            differences=tuple(
                Difference(part.key, part.column, part.trained, part.served, part.cause)
                for part in document.differences
            ),
            version=Version(document.log_id, document.sequence),
            remarks=document.remarks,
            exact=document.exact,
            float_values=document.float_values,
            float_values_bitwise_equal=document.float_values_bitwise_equal,
            largest_error=document.largest_error,
        ),
        _time(document.created_at_us),
    )


def _provenance_part(provenance: Provenance) -> ProvenancePart:
    return ProvenancePart(
        repository=provenance.repository,
        ref=provenance.ref,
        commit=provenance.commit,
        path=provenance.path,
        libraries=tuple(sorted(provenance.libraries.items())),
    )


def _provenance(part: ProvenancePart) -> Provenance:
    return Provenance(part.repository, part.ref, part.commit, part.path, dict(part.libraries))


def _notes_part(notes: Notes) -> NotesPart:
    return NotesPart(
        owner=notes.owner, description=notes.description, labels=tuple(sorted(notes.labels.items()))
    )


def _notes(part: NotesPart) -> Notes:
    return Notes(part.owner, part.description, dict(part.labels))


def _time(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
