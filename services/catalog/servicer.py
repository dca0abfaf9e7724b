"""The catalogue's service: decode, one call, encode."""

from __future__ import annotations

from featurestore.api.catalog.v1 import catalog_pb2 as pb
from featurestore.api.catalog.v1.catalog_pb2_grpc import CatalogServiceServicer
from featurestore.model.peers import Catalog
from featurestore.rpc.convert_catalog import (
    catalog_status_to_proto,
    etl_draft_from_proto,
    kind_from_proto,
    query_draft_from_proto,
)
from featurestore.rpc.convert_saved import etl_to_proto, query_to_proto
from featurestore.rpc.convert_verifying import kept_report_from_proto
from featurestore.rpc.fields import require


class CatalogServicer(CatalogServiceServicer):
    """Answers CatalogService from a catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        """Take the service's own object."""
        self._catalog = catalog

    async def SaveQuery(self, request: pb.SaveQueryRequest, _: object) -> pb.SaveQueryResponse:
        query = await self._catalog.save_query(query_draft_from_proto(request))
        return pb.SaveQueryResponse(query=query_to_proto(query))

    async def SaveEtl(self, request: pb.SaveEtlRequest, _: object) -> pb.SaveEtlResponse:
        etl = await self._catalog.save_etl(etl_draft_from_proto(request))
        return pb.SaveEtlResponse(etl=etl_to_proto(etl))

    async def SaveReport(self, request: pb.SaveReportRequest, _: object) -> pb.SaveReportResponse:
        require(request, "report")
        await self._catalog.save_report(request.id, kept_report_from_proto(request.report))
        return pb.SaveReportResponse()

    async def GetQuery(self, request: pb.GetQueryRequest, _: object) -> pb.GetQueryResponse:
        query = await self._catalog.get_query(request.query_id)
        return pb.GetQueryResponse(query=query_to_proto(query))

    async def GetEtl(self, request: pb.GetEtlRequest, _: object) -> pb.GetEtlResponse:
        etl = await self._catalog.get_etl(request.etl_id)
        return pb.GetEtlResponse(etl=etl_to_proto(etl))

    async def ListNameVersions(
        self, request: pb.ListNameVersionsRequest, _: object
    ) -> pb.ListNameVersionsResponse:
        ids = await self._catalog.name_versions(kind_from_proto(request.kind), request.name)
        return pb.ListNameVersionsResponse(ids=ids)

    async def ListQueries(self, request: pb.ListQueriesRequest, _: object) -> pb.ListQueriesResponse:
        queries, token = await self._catalog.list_queries(request.page_size, request.page_token)
        return pb.ListQueriesResponse(
            queries=[query_to_proto(query) for query in queries], next_page_token=token
        )

    async def ListEtls(self, request: pb.ListEtlsRequest, _: object) -> pb.ListEtlsResponse:
        etls, token = await self._catalog.list_etls(request.page_size, request.page_token)
        return pb.ListEtlsResponse(etls=[etl_to_proto(etl) for etl in etls], next_page_token=token)

    async def GetStatus(self, _request: pb.GetStatusRequest, _: object) -> pb.GetStatusResponse:
        return catalog_status_to_proto(await self._catalog.status())
