"""The catalogue, when it runs elsewhere."""

from __future__ import annotations

import grpc.aio

from featurestore.api.catalog.v1 import catalog_pb2 as pb
from featurestore.api.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from featurestore.model.etl import Etl, EtlDraft
from featurestore.model.names import Kind
from featurestore.model.query import Query, QueryDraft
from featurestore.model.serving import CatalogStatus
from featurestore.model.verifying import KeptReport
from featurestore.rpc.convert_catalog import (
    catalog_status_from_proto,
    etl_draft_to_proto,
    kind_to_proto,
    query_draft_to_proto,
)
from featurestore.rpc.convert_saved import etl_from_proto, query_from_proto
from featurestore.rpc.convert_verifying import kept_report_to_proto
from featurestore.rpc.deadlines import ORDINARY_SECONDS
from featurestore.rpc.fields import require
from featurestore.rpc.peer import Peer


class RemoteCatalog:
    """A `featurestore.model.peers.Catalog` over its generated stub."""

    def __init__(self, channel: grpc.aio.Channel, target: str) -> None:
        """Use an open channel.

        Args:
            target: where it goes, for errors.
        """
        self._stub = CatalogServiceStub(channel)
        self._peer = Peer(f"the catalog at {target}")

    async def save_query(self, draft: QueryDraft) -> Query:
        """See `Catalog.save_query`."""
        request = query_draft_to_proto(draft)
        return await self._peer.call(self._stub.SaveQuery, request, _query_in, ORDINARY_SECONDS)

    async def save_etl(self, draft: EtlDraft) -> Etl:
        """See `Catalog.save_etl`."""
        return await self._peer.call(self._stub.SaveEtl, etl_draft_to_proto(draft), _etl_in, ORDINARY_SECONDS)

    async def save_report(self, public_id: str, report: KeptReport) -> None:
        """See `Catalog.save_report`."""
        request = pb.SaveReportRequest(id=public_id, report=kept_report_to_proto(report))
        await self._peer.call(self._stub.SaveReport, request, lambda _: None, ORDINARY_SECONDS)

    async def get_query(self, query_id: str) -> Query:
        """See `Catalog.get_query`."""
        request = pb.GetQueryRequest(query_id=query_id)
        return await self._peer.call(self._stub.GetQuery, request, _query_in, ORDINARY_SECONDS)

    async def get_etl(self, etl_id: str) -> Etl:
        """See `Catalog.get_etl`."""
        request = pb.GetEtlRequest(etl_id=etl_id)
        return await self._peer.call(self._stub.GetEtl, request, _etl_in, ORDINARY_SECONDS)

    async def name_versions(self, kind: Kind, name: str) -> tuple[str, ...]:
        """See `Catalog.name_versions`."""
        return await self._peer.call(
            self._stub.ListNameVersions,
            pb.ListNameVersionsRequest(kind=kind_to_proto(kind), name=name),
            lambda reply: tuple(reply.ids),
            ORDINARY_SECONDS,
        )

    async def list_queries(self, page_size: int, page_token: str) -> tuple[tuple[Query, ...], str]:
        """See `Catalog.list_queries`."""
        return await self._peer.call(
            self._stub.ListQueries,
            pb.ListQueriesRequest(page_size=page_size, page_token=page_token),
            lambda reply: (tuple(query_from_proto(query) for query in reply.queries), reply.next_page_token),
            ORDINARY_SECONDS,
        )

    async def list_etls(self, page_size: int, page_token: str) -> tuple[tuple[Etl, ...], str]:
        """See `Catalog.list_etls`."""
        return await self._peer.call(
            self._stub.ListEtls,
            pb.ListEtlsRequest(page_size=page_size, page_token=page_token),
            lambda reply: (tuple(etl_from_proto(etl) for etl in reply.etls), reply.next_page_token),
            ORDINARY_SECONDS,
        )

    async def status(self) -> CatalogStatus:
        """See `Catalog.status`."""
        return await self._peer.call(
            self._stub.GetStatus, pb.GetStatusRequest(), catalog_status_from_proto, ORDINARY_SECONDS
        )


def _query_in(reply: pb.SaveQueryResponse | pb.GetQueryResponse) -> Query:
    require(reply, "query")
    return query_from_proto(reply.query)


def _etl_in(reply: pb.SaveEtlResponse | pb.GetEtlResponse) -> Etl:
    require(reply, "etl")
    return etl_from_proto(reply.etl)
