"""Arrow Flight's service: decode, one call of the front, encode."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from featurestore.api.flight import flight_pb2 as pb
from featurestore.model import schema
from featurestore.model.names import Kind
from gateway.flight.flights import (
    Flight,
    described,
    flight_of_etl,
    flight_of_query,
    info_to_proto,
    is_listed,
    name_pattern,
    ticketed,
)
from gateway.flight.framing import flight_data
from gateway.front import EtlTraining, Front, QueryTraining, SaveAs

SERVICE = "arrow.flight.protocol.FlightService"
_PAGE = 1_000


class FlightServicer:
    """Flights are what is saved; getting one is training on it."""

    def __init__(self, front: Front) -> None:
        """Answer with `front`."""
        self._front = front

    async def ListFlights(self, request: pb.Criteria, context: Any) -> AsyncIterator[pb.FlightInfo]:
        pattern = name_pattern(request.expression)
        async with aclosing(self._flights()) as flights:
            async for flight in flights:
                if is_listed(flight, pattern):
                    yield info_to_proto(flight)

    async def GetFlightInfo(self, request: pb.FlightDescriptor, context: Any) -> pb.FlightInfo:
        return info_to_proto(await self._flight(*described(request)))

    async def GetSchema(self, request: pb.FlightDescriptor, context: Any) -> pb.SchemaResult:
        flight = await self._flight(*described(request))
        return pb.SchemaResult(schema=schema.to_bytes(flight.schema))

    async def DoGet(self, request: pb.Ticket, context: Any) -> AsyncIterator[bytes]:
        trained = await self._train(*ticketed(request.ticket))
        async with aclosing(trained.batches) as batches:
            yield flight_data(schema.to_bytes(trained.head.schema))
            async for batch in batches:
                yield flight_data(batch)

    async def _flights(self) -> AsyncGenerator[Flight, None]:
        token = ""
        while True:
            queries, token = await self._front.list_queries(_PAGE, token)
            for query in queries:
                yield flight_of_query(query)
            if not token:
                break
        while True:
            etls, token = await self._front.list_etls(_PAGE, token)
            for etl in etls:
                yield flight_of_etl(etl)
            if not token:
                break

    async def _flight(self, kind: Kind, reference: str) -> Flight:
        if kind is Kind.QUERY:
            return flight_of_query(await self._front.get_query(reference))
        return flight_of_etl(await self._front.get_etl(reference))

    async def _train(self, kind: Kind, reference: str) -> QueryTraining | EtlTraining:
        if kind is Kind.QUERY:
            return await self._front.query_train(query=reference, save_as=SaveAs())
        return await self._front.extract_train("", reference, SaveAs())


def handler(front: Front) -> grpc.GenericRpcHandler:
    """The service, to be added to a server. Other calls of Flight are UNIMPLEMENTED.

    Not by the generated function: that would have batches serialised by protobuf.
    """
    servicer = FlightServicer(front)
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "ListFlights": grpc.unary_stream_rpc_method_handler(
                servicer.ListFlights, pb.Criteria.FromString, pb.FlightInfo.SerializeToString
            ),
            "GetFlightInfo": grpc.unary_unary_rpc_method_handler(
                servicer.GetFlightInfo, pb.FlightDescriptor.FromString, pb.FlightInfo.SerializeToString
            ),
            "GetSchema": grpc.unary_unary_rpc_method_handler(
                servicer.GetSchema, pb.FlightDescriptor.FromString, pb.SchemaResult.SerializeToString
            ),
            "DoGet": grpc.unary_stream_rpc_method_handler(servicer.DoGet, pb.Ticket.FromString),
        },
    )
