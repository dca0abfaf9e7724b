"""pyarrow's own Flight client, which knows nothing of us, reads what our client reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
from pyarrow import flight

from featurestore.client.sync import Store
from tests.conformance.cases import NO_ETL, NO_QUERY
from tests.conformance.test_sameness import things
from tests.conformance.world import World


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
