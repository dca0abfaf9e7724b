"""pyarrow's own Flight client, which knows nothing of us, reads what our client reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from pyarrow import flight

from featurestore.api.flight import flight_pb2 as pb
from featurestore.api.flight.flight_pb2_grpc import FlightServiceStub
from featurestore.client.sync import Store
from featurestore.rpc.errors import from_rpc_error
from tests.conformance.cases import INVALID, MISSING, NO_ETL, NO_QUERY, PRECONDITION
from tests.conformance.test_sameness import things
from tests.conformance.world import World

PROTO = Path(__file__).parents[2] / "protos/featurestore/api/flight/flight.proto"


@pytest.fixture(scope="module")
def client(target: str) -> Iterator[flight.FlightClient]:
    """Connected to the gateway's port or socket."""
    with flight.connect(f"grpc+{target}" if target.startswith("unix:") else f"grpc://{target}") as connected:
        yield connected


def info(client: flight.FlightClient, *path: str) -> flight.FlightInfo:
    return client.get_flight_info(flight.FlightDescriptor.for_path(*path))


def got(client: flight.FlightClient, *path: str) -> pa.Table:
    """All rows of a flight, checked in full, in the schema that its info promised."""
    told = info(client, *path)
    (endpoint,) = told.endpoints
    assert endpoint.locations == []  # on this connection
    table = client.do_get(endpoint.ticket).read_all()
    table.validate(full=True)
    assert table.schema.equals(told.schema, check_metadata=True)
    return table


def sorted_rows(table: pa.Table, by: str) -> pa.Table:
    return table.combine_chunks().sort_by(by)


def test_it_gets_a_saved_query_s_training_result_of_every_type(
    client: flight.FlightClient, store: Store, fresh: Callable[[str], str]
) -> None:
    table = fresh("things")
    store.publish(table, things(), primary_key="id")
    sql = f"""
        SELECT *, n::HUGEINT AS total, moment - since AS took, ticket::UUID AS uuid, [n, NULL] AS both,
            CASE WHEN n > 10 THEN {{'a': n, 'b': text}} END AS pair, 1::TINYINT AS tiny, 2::UINTEGER AS unsigned
        FROM feature_store.{table}
    """
    query = store.query_train(sql, save=True)
    ours = query.to_arrow()

    theirs = got(client, "query", query.query_id)

    assert theirs.schema.equals(ours.schema, check_metadata=True)
    assert theirs.num_rows == 6
    assert sorted_rows(theirs, "id").equals(sorted_rows(ours, "id"))


def test_it_gets_a_saved_etl_s_training_result(client: flight.FlightClient, world: World) -> None:
    etl = world.etl("good.py")
    ours = world.store.extract_train(world.query, etl).to_arrow()

    theirs = got(client, "etl", etl)

    assert theirs.schema.names == ["user_id", "twice"]
    assert theirs.num_rows == 5
    assert sorted_rows(theirs, "twice").equals(sorted_rows(ours, "twice"))


def test_it_gets_a_result_of_many_batches_whole_and_in_order(
    client: flight.FlightClient, store: Store, fresh: Callable[[str], str]
) -> None:
    table = fresh("long")
    count = 300_000
    store.publish(
        table,
        pa.table({"k": range(count), "text": [f"row {k} of many" for k in range(count)]}),
        primary_key="k",
    )
    query = store.query_train(f"SELECT * FROM feature_store.{table} ORDER BY k DESC", save=True)

    (endpoint,) = info(client, "query", query.query_id).endpoints
    chunks = [chunk.data for chunk in client.do_get(endpoint.ticket)]

    assert len(chunks) > 5
    whole = pa.Table.from_batches(chunks)
    assert whole["k"].to_pylist() == list(range(count - 1, -1, -1))
    assert whole.equals(query.to_arrow())


def test_a_result_without_rows_has_its_schema(
    client: flight.FlightClient, world: World, fresh: Callable[[str], str]
) -> None:
    nobody = world.store.query_train(f"{world.sql} WHERE order_id < 0", save=True)
    table = got(client, "query", nobody.query_id)
    assert table.num_rows == 0
    assert table.schema.names == ["order_id", "user_id", "amount", "day"]

    emptied = fresh("emptied")
    world.store.publish(emptied, [{"user_id": 1, "amount": 2.5}], primary_key="user_id")
    query = world.store.query_train(f"SELECT * FROM feature_store.{emptied}", save=True).query_id
    etl = world.store.extract_train(query, world.script("good.py"), save=True).etl_id
    world.store.delete(emptied, [1])
    features = got(client, "etl", etl)
    assert features.num_rows == 0
    assert features.schema.names == ["user_id", "twice"]


def test_it_sees_what_was_published_before_it_asked(
    client: flight.FlightClient, store: Store, fresh: Callable[[str], str]
) -> None:
    table = fresh("scores")
    store.publish(table, [{"k": 1, "v": 1.5}], primary_key="k")
    query = store.query_train(f"SELECT * FROM feature_store.{table}", save=True).query_id
    for value in (2.5, 3.5, 4.5):
        store.publish(table, [{"k": 1, "v": value}])
        assert got(client, "query", query).to_pylist() == [{"k": 1, "v": value}]


def test_a_name_means_its_newest_content_and_a_ticket_what_it_was_given_for(
    client: flight.FlightClient, world: World, fresh: Callable[[str], str]
) -> None:
    name = fresh("named")
    world.store.query_train(world.sql, save=True, name=name)
    (old,) = info(client, "query", name).endpoints
    world.store.query_train(f"SELECT day FROM feature_store.{world.orders}", save=True, name=name)

    assert got(client, "query", name).schema.names == ["day"]
    assert got(client, "query", f"{name}@1").num_columns == 4
    assert client.do_get(old.ticket).read_all().num_columns == 4
    assert info(client, "query", f"{name}@1").endpoints[0].ticket == old.ticket


def test_the_schema_can_be_had_alone(client: flight.FlightClient, world: World) -> None:
    etl = world.etl("good.py")
    for path in (("query", world.query), ("etl", etl)):
        found = client.get_schema(flight.FlightDescriptor.for_path(*path)).schema
        assert found.equals(info(client, *path).schema, check_metadata=True)


def test_it_lists_what_is_saved_and_gets_it_by_the_listed_ticket(
    client: flight.FlightClient, world: World, fresh: Callable[[str], str]
) -> None:
    name, other = fresh("listed"), fresh("other")
    query = world.store.query_train(world.sql, save=True, name=name).query_id
    etl = world.store.extract_train(query, world.script("good.py"), save=True, name=name).etl_id
    world.store.query_train(f"SELECT amount FROM feature_store.{world.orders}", save=True, name=other)

    everything = {tuple(one.descriptor.path) for one in client.list_flights()}
    assert {(b"query", query.encode()), (b"etl", etl.encode())} <= everything
    assert len(everything) == len(world.store.list_queries()) + len(world.store.list_etls())

    for criteria in (name, f"{name[:-3]}*", name.replace("_", "?")):
        of_query, of_etl = client.list_flights(criteria.encode())
        assert of_query.descriptor.path == [b"query", query.encode()]
        assert json.loads(of_query.app_metadata)["id"] == query
        assert name in json.loads(of_query.app_metadata)["names"]
        assert json.loads(of_etl.app_metadata)["query"] == query
        assert (of_etl.total_records, of_etl.total_bytes) == (-1, -1)
        assert client.do_get(of_etl.endpoints[0].ticket).read_all().num_rows == 5
    assert list(client.list_flights(b"no such name")) == []


@dataclass(frozen=True)
class Refused:
    """A call that is refused, and what pyarrow's client makes of it."""

    rpc: str
    code: str
    reason: str
    request: Callable[[World], Any]
    says: str

    def __str__(self) -> str:
        return f"{self.rpc}-{self.reason}-{self.says}".replace(" ", "_")


def at(*path: str) -> Callable[[World], pb.FlightDescriptor]:
    return lambda _: pb.FlightDescriptor(type=pb.FlightDescriptor.PATH, path=path)


def ticket(text: str) -> Callable[[World], pb.Ticket]:
    return lambda _: pb.Ticket(ticket=text.encode())


WRITE = "write the path 'query' or 'etl'"
REFUSED = [
    *(
        case
        for rpc in ("GetFlightInfo", "GetSchema")
        for case in (
            Refused(
                rpc, INVALID, "BAD_DESCRIPTOR", lambda _: pb.FlightDescriptor(type="CMD", cmd=b"x"), WRITE
            ),
            Refused(rpc, INVALID, "BAD_DESCRIPTOR", lambda _: pb.FlightDescriptor(), WRITE),
            Refused(rpc, INVALID, "BAD_DESCRIPTOR", at("query"), WRITE),
            Refused(rpc, INVALID, "BAD_DESCRIPTOR", at("query", "a", "b"), "3 parts"),
            Refused(rpc, INVALID, "BAD_DESCRIPTOR", at("table", "a"), "'table'"),
            Refused(rpc, INVALID, "MISSING_ID", at("query", ""), "is empty"),
            Refused(rpc, INVALID, "BAD_ID", at("etl", "etl_short"), "etl_short"),
            Refused(rpc, INVALID, "BAD_NAME", at("query", "a name"), "a name"),
            Refused(rpc, INVALID, "ID_OF_OTHER_KIND", at("query", NO_ETL), "swapped"),
            Refused(rpc, MISSING, "UNKNOWN_QUERY", at("query", NO_QUERY), NO_QUERY),
            Refused(rpc, MISSING, "UNKNOWN_QUERY", at("query", "nobody"), "nobody"),
            Refused(rpc, MISSING, "UNKNOWN_ETL", at("etl", NO_ETL), NO_ETL),
        )
    ),
    Refused("DoGet", INVALID, "BAD_TICKET", lambda _: pb.Ticket(), "get_flight_info"),
    Refused("DoGet", INVALID, "BAD_TICKET", lambda _: pb.Ticket(ticket=b"\xff\x00"), "get_flight_info"),
    Refused("DoGet", INVALID, "BAD_TICKET", ticket(NO_QUERY), "get_flight_info"),
    Refused("DoGet", INVALID, "BAD_TICKET", ticket("1/query/a_name"), "get_flight_info"),
    Refused("DoGet", INVALID, "BAD_TICKET", ticket(f"1/etl/{NO_QUERY}"), "get_flight_info"),
    Refused("DoGet", INVALID, "BAD_TICKET", ticket(f"2/query/{NO_QUERY}"), "get_flight_info"),
    Refused("DoGet", MISSING, "UNKNOWN_QUERY", ticket(f"1/query/{NO_QUERY}"), NO_QUERY),
    Refused("DoGet", MISSING, "UNKNOWN_ETL", ticket(f"1/etl/{NO_ETL}"), NO_ETL),
    Refused(
        "DoGet",
        PRECONDITION,
        "QUERY_SCHEMA_CHANGED",
        lambda w: pb.Ticket(ticket=f"1/query/{w.stale_query}".encode()),
        "v was DOUBLE",
    ),
    Refused(
        "DoGet",
        PRECONDITION,
        "QUERY_SCHEMA_CHANGED",
        lambda w: pb.Ticket(ticket=f"1/etl/{w.stale_etl}".encode()),
        "v was DOUBLE",
    ),
    Refused("ListFlights", INVALID, "BAD_CRITERIA", lambda _: pb.Criteria(expression=b"\xff"), "UTF-8"),
    Refused("ListFlights", INVALID, "BAD_CRITERIA", lambda _: pb.Criteria(expression=b"a" * 257), "256"),
]
RAISED = {INVALID: pa.ArrowInvalid, MISSING: pa.ArrowKeyError, PRECONDITION: pa.ArrowInvalid}


def by_stub(world: World, case: Refused) -> None:
    """Any gRPC client's call, read to its end."""
    with grpc.insecure_channel(world.target) as channel:
        reply = getattr(FlightServiceStub(channel), case.rpc)(case.request(world), timeout=30)
        list(reply if hasattr(reply, "__next__") else ())


def by_pyarrow(client: flight.FlightClient, rpc: str, request: Any) -> None:
    """The same call of pyarrow's client, read to its end."""
    if rpc == "DoGet":
        client.do_get(flight.Ticket(request.ticket)).read_all()
    elif rpc == "ListFlights":
        list(client.list_flights(request.expression))
    else:
        asked = (
            flight.FlightDescriptor.for_path(*request.path)
            if request.type == pb.FlightDescriptor.PATH
            else flight.FlightDescriptor.for_command(request.cmd)
        )
        (client.get_flight_info if rpc == "GetFlightInfo" else client.get_schema)(asked)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_it_is_refused_with_the_status_and_reason_of_the_other_calls(world: World, case: Refused) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        by_stub(world, case)
    error = from_rpc_error(caught.value)
    assert (error.code, error.reason) == (case.code, case.reason)
    assert case.says in error.message


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_pyarrow_raises_and_shows_the_message(
    world: World, client: flight.FlightClient, case: Refused
) -> None:
    request = case.request(world)
    with pytest.raises(RAISED[case.code]) as caught:
        by_pyarrow(client, case.rpc, request)
    assert case.says in str(caught.value)


def test_there_is_a_case_for_every_reason_that_the_proto_promises() -> None:
    met = {(case.rpc, case.reason) for case in REFUSED}
    promised = {
        (rpc, reason)
        for comment, rpc in re.findall(r"((?:  //[^\n]*\n)+)  rpc (\w+)", PROTO.read_text())
        for reason in re.findall(r"`([A-Z]+_[A-Z_]+)`", comment)
    }
    assert len(promised) > 8
    assert promised <= met


def test_calls_of_flight_that_change_something_are_not_implemented(client: flight.FlightClient) -> None:
    with pytest.raises(NotImplementedError, match="Method not found"):
        list(client.do_action("drop"))
    with pytest.raises(NotImplementedError):
        list(client.list_actions())


def test_a_reader_that_goes_leaves_the_store_working(client: flight.FlightClient, world: World) -> None:
    (endpoint,) = info(client, "query", world.query).endpoints
    for _ in range(20):
        reader = client.do_get(endpoint.ticket)
        reader.cancel()
    assert got(client, "query", world.query).num_rows == 5
