"""What only the catalogue and its callers exchange: model <-> `catalog.v1`."""

from __future__ import annotations

from featurestore.api.catalog.v1 import catalog_pb2 as pb
from featurestore.api.common.v1 import common_pb2
from featurestore.model import schema
from featurestore.model.etl import EtlDraft
from featurestore.model.names import Kind
from featurestore.model.query import QueryDraft
from featurestore.model.serving import CatalogStatus
from featurestore.rpc.convert_saved import (
    form_of_query_from_proto,
    notes_from_proto,
    notes_to_proto,
    order_term_to_proto,
    pinned_script_from_proto,
    pinned_script_to_proto,
    warned_from_proto,
    warned_to_proto,
)
from featurestore.rpc.convert_table import schema_to_proto
from featurestore.rpc.fields import arrow_schema_from_proto, enum_from_proto, require

_KINDS: dict[int, Kind] = {pb.NAME_KIND_QUERY: Kind.QUERY, pb.NAME_KIND_ETL: Kind.ETL}
_KIND_TO_PROTO: dict[Kind, pb.NameKind.ValueType] = {
    Kind.QUERY: pb.NAME_KIND_QUERY,
    Kind.ETL: pb.NAME_KIND_ETL,
}


def kind_to_proto(kind: Kind) -> pb.NameKind.ValueType:
    """Whose name, on the wire."""
    return _KIND_TO_PROTO[kind]


def kind_from_proto(number: int) -> Kind:
    """Whose name.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_FIELD`.
    """
    return enum_from_proto(number, _KINDS, "ListNameVersionsRequest.kind")


def query_draft_to_proto(draft: QueryDraft) -> pb.SaveQueryRequest:
    """A query on its way into the catalogue, on the wire."""
    query = common_pb2.Query(
        sql=draft.form.sql,
        schema=schema_to_proto(draft.form.schema),
        engine_types=[column.engine_type for column in draft.form.columns],
        order=[order_term_to_proto(term) for term in draft.form.order],
        canonical_sql=draft.canonical,
        tables=draft.tables,
        notes=notes_to_proto(draft.notes),
        warnings=[warned_to_proto(warned) for warned in draft.warnings],
        uses_clock=draft.uses_clock,
    )
    return pb.SaveQueryRequest(query=query, name=draft.name, index_key=draft.index_key, served=draft.served)


def query_draft_from_proto(message: pb.SaveQueryRequest) -> QueryDraft:
    """A query on its way into the catalogue.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_ARROW`, `BAD_FIELD`.
    """
    require(message, "query")
    query = message.query
    return QueryDraft(
        form=form_of_query_from_proto(query),
        canonical=query.canonical_sql,
        tables=tuple(query.tables),
        name=message.name,
        index_key=tuple(message.index_key),
        served=message.served,
        notes=notes_from_proto(query.notes),
        warnings=tuple(warned_from_proto(warning) for warning in query.warnings),
        uses_clock=query.uses_clock,
    )


def etl_draft_to_proto(draft: EtlDraft) -> pb.SaveEtlRequest:
    """An ETL on its way into the catalogue, on the wire."""
    return pb.SaveEtlRequest(
        query_id=draft.query_id,
        script=pinned_script_to_proto(draft.script),
        contract=schema.to_bytes(draft.contract),
        name=draft.name,
        index_key=draft.index_key,
        served=draft.served,
        notes=notes_to_proto(draft.notes),
    )


def etl_draft_from_proto(message: pb.SaveEtlRequest) -> EtlDraft:
    """An ETL on its way into the catalogue.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_ARROW`.
    """
    require(message, "script")
    return EtlDraft(
        query_id=message.query_id,
        script=pinned_script_from_proto(message.script),
        contract=arrow_schema_from_proto(message, "contract"),
        name=message.name,
        index_key=tuple(message.index_key),
        served=message.served,
        notes=notes_from_proto(message.notes),
    )


def catalog_status_to_proto(status: CatalogStatus) -> pb.GetStatusResponse:
    """How much is known, on the wire."""
    return pb.GetStatusResponse(query_count=status.queries, etl_count=status.etls, backend=status.backend)


def catalog_status_from_proto(message: pb.GetStatusResponse) -> CatalogStatus:
    """How much is known."""
    return CatalogStatus(message.query_count, message.etl_count, message.backend)
