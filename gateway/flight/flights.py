"""What a flight is: a saved query or ETL, how callers describe it, and the ticket that stands for it."""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass

import pyarrow as pa

from featurestore.api.flight import flight_pb2 as pb
from featurestore.model import schema
from featurestore.model.errors import InvalidArgument
from featurestore.model.etl import Etl
from featurestore.model.names import Kind, is_id
from featurestore.model.query import Query

MAX_CRITERIA = 256
"""Bytes; names have at most 128 characters."""

_KINDS = {kind.value: kind for kind in Kind}
_TICKET_FORMAT = "1"
_UNKNOWN_SIZE = -1


@dataclass(frozen=True, slots=True)
class Flight:
    """Something that can be got.

    Attributes:
        schema: that the rows will have.
        query_id: of an ETL, its query; empty for a query.
    """

    kind: Kind
    id: str
    schema: pa.Schema
    names: tuple[str, ...]
    query_id: str = ""


def flight_of_query(query: Query) -> Flight:
    """The flight that a saved query is."""
    return Flight(Kind.QUERY, query.query_id, query.form.schema, query.names)


def flight_of_etl(etl: Etl) -> Flight:
    """The flight that a saved ETL is."""
    return Flight(Kind.ETL, etl.etl_id, etl.contract, etl.names, etl.query_id)


def described(descriptor: pb.FlightDescriptor) -> tuple[Kind, str]:
    """The kind and the id or name that a descriptor holds; whether it exists is not asked here.

    Raises:
        InvalidArgument: `BAD_DESCRIPTOR`, saying what to write.
    """
    if descriptor.type != pb.FlightDescriptor.PATH:
        raise _bad_descriptor("is no path")
    if len(descriptor.path) != 2:
        raise _bad_descriptor(f"has a path of {len(descriptor.path)} parts")
    kind = _KINDS.get(descriptor.path[0])
    if kind is None:
        raise _bad_descriptor(f"has a path that begins with {descriptor.path[0][:80]!r}")
    return kind, descriptor.path[1]


def ticket_for(kind: Kind, reference: str) -> bytes:
    """The ticket of a flight, by its id: what it stands for never changes."""
    return f"{_TICKET_FORMAT}/{kind.value}/{reference}".encode()


def ticketed(ticket: bytes) -> tuple[Kind, str]:
    """The kind and the id that a ticket stands for.

    Raises:
        InvalidArgument: `BAD_TICKET`.
    """
    form, _, rest = ticket.decode(errors="replace").partition("/")
    kind_text, _, reference = rest.partition("/")
    kind = _KINDS.get(kind_text)
    if form != _TICKET_FORMAT or kind is None or not is_id(reference, kind):
        raise InvalidArgument(
            "BAD_TICKET",
            "the ticket is none that this server gives: take it from the endpoint of a FlightInfo "
            "(get_flight_info or list_flights)",
            field="ticket",
        )
    return kind, reference


def name_pattern(expression: bytes) -> str:
    """What the names of listed flights must match; `*` if anything will do.

    Raises:
        InvalidArgument: `BAD_CRITERIA`.
    """
    try:
        text = expression.decode()
    except UnicodeDecodeError:
        text = ""
    if len(expression) > MAX_CRITERIA or (expression and not text):
        raise InvalidArgument(
            "BAD_CRITERIA",
            f"the criteria are no name pattern: write at most {MAX_CRITERIA} bytes of UTF-8, in which * stands for any "
            "characters and ? for one, or nothing for all flights",
            field="expression",
        )
    return text


def is_listed(flight: Flight, pattern: str) -> bool:
    """Whether one of the names matches, with its version or without; all flights match an empty pattern."""
    return not pattern or any(
        fnmatch.fnmatchcase(said, pattern) for name in flight.names for said in (name, name.partition("@")[0])
    )


def info_to_proto(flight: Flight) -> pb.FlightInfo:
    """The flight as clients are told of it. Its rows are not counted before they are computed."""
    more: dict[str, object] = {"id": flight.id, "names": flight.names}
    if flight.query_id:
        more["query"] = flight.query_id
    return pb.FlightInfo(
        schema=schema.to_bytes(flight.schema),
        flight_descriptor=pb.FlightDescriptor(
            type=pb.FlightDescriptor.PATH, path=(flight.kind.value, flight.id)
        ),
        endpoint=[pb.FlightEndpoint(ticket=pb.Ticket(ticket=ticket_for(flight.kind, flight.id)))],
        total_records=_UNKNOWN_SIZE,
        total_bytes=_UNKNOWN_SIZE,
        ordered=True,
        app_metadata=json.dumps(more).encode(),
    )


def _bad_descriptor(problem: str) -> InvalidArgument:
    return InvalidArgument(
        "BAD_DESCRIPTOR",
        f"the flight descriptor {problem}: write the path 'query' or 'etl', then an id or a name, "
        "such as FlightDescriptor.for_path('query', 'user_payments'); commands are not used",
        field="path",
    )
