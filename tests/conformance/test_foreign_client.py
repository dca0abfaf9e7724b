"""A client that knows nothing of us: grpcurl finds the services by reflection and reads typed rows as JSON."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.conformance.world import World
from tests.support.processes import BIN

SERVICE = "featurestore.api.gateway.v1.FeatureStoreService"


def grpcurl(target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Its command line; a UNIX socket is its own kind of address there."""
    where = ["-unix", target.removeprefix("unix:")] if target.startswith("unix:") else [target]
    return subprocess.run(
        [BIN / "grpcurl", "-plaintext", *arguments[:-1], *where, *arguments[-1].split()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def asked(world: World, **more: Any) -> str:
    values = [{"values": [{"int64Value": "1"}]}, {"values": [{"stringValue": "99"}]}]
    keys = {"columns": ["user_id"], "tuples": values}
    return json.dumps({"query": world.query, "keys": keys, "format": "ANSWER_FORMAT_ROWS", **more})


def test_it_lists_the_services_by_reflection(target: str) -> None:
    ran = grpcurl(target, "list")
    assert ran.returncode == 0, ran.stderr
    assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= set(
        ran.stdout.split()
    )
    described = grpcurl(target, f"describe {SERVICE}")
    assert "rpc QueryRealtime" in described.stdout, described.stderr


def test_it_gets_typed_rows_of_a_saved_query(world: World) -> None:
    ran = grpcurl(world.target, "-d", asked(world), f"{SERVICE}/QueryRealtime")
    assert ran.returncode == 0, ran.stderr
    reply = json.loads(ran.stdout)
    assert [column["name"] for column in reply["rows"]["columns"]] == ["order_id", "user_id", "amount", "day"]
    rows = [row["values"] for row in reply["rows"]["rows"]]
    assert sorted(row[2]["double_value"] for row in rows) == [1.5, 2.5]
    assert {row[1]["int64_value"] for row in rows} == {"1"}
    found, absent = reply["answers"]
    assert (found["outcome"], found["row_count"]) == ("OUTCOME_FOUND", "2")
    assert absent["outcome"] == "OUTCOME_ABSENT"
    assert reply["info"]["query_id"] == world.query


@pytest.mark.parametrize(("query", "code"), [("nobody", "NotFound"), ("", "InvalidArgument")])
def test_it_is_told_what_is_wrong(world: World, query: str, code: str) -> None:
    ran = grpcurl(world.target, "-d", asked(world, query=query), f"{SERVICE}/QueryRealtime")
    assert ran.returncode != 0
    assert code in ran.stderr
    assert "ErrorInfo" in ran.stderr
