"""Bad input, in every arrangement: each row of the table through the client, and through the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from featurestore.model.errors import BY_CODE, FeatureStoreError
from tests.conformance.bad_input import CASES, Case
from tests.conformance.world import World
from tests.support.command_line import run

PROTO = Path(__file__).parents[2] / "protos/featurestore/api/gateway/v1/gateway.proto"


@pytest.fixture(scope="session")
def world(arrangement, tmp_path_factory):
    """The data of the cases, made once for each arrangement."""
    return World(arrangement.client, arrangement.target, arrangement.name, tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_refused_with_its_reason_and_names_what_is_wrong(world: World, case: Case):
    if case.only and world.arrangement not in case.only:
        pytest.skip(f"can happen in {' and '.join(case.only)} only")
    with pytest.raises(FeatureStoreError) as refused:
        case.act(world)
    error = refused.value
    assert (type(error), error.reason) == (BY_CODE[case.code], case.reason), error
    assert case.says in error.message
    assert "Traceback" not in error.message
    assert "/services/" not in error.message


@pytest.mark.parametrize("case", [case for case in CASES if case.command], ids=str)
def test_the_command_line_says_so_in_one_line_and_fails(world: World, case: Case):
    ran = run(*case.command(world), "--target", world.target)
    assert ran.code == 1
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1, ran.err
    assert ran.err.startswith("error: ")
    assert ran.err.rstrip().endswith(f"[{case.reason}]")
    assert case.says in ran.err


def promised() -> set[tuple[str, str]]:
    """Every RPC and status that `gateway.proto` names in its comments."""
    found = set()
    for comment, rpc in re.findall(r"((?:  //[^\n]*\n)+)  rpc (\w+)", PROTO.read_text()):
        errors = comment.replace("  //", "").replace("\n", " ").partition("Errors:")[2]
        found |= {(rpc, code) for code in re.findall(r"\b([A-Z][A-Z_]+)\s*\(", errors)}
    return found


def test_there_is_a_case_for_every_rpc_and_status_that_the_protos_promise():
    assert len(promised()) > 40
    assert promised() - {(case.rpc, case.code) for case in CASES} == set()


def test_the_protos_promise_every_reason_that_the_cases_meet():
    text = PROTO.read_text()
    for case in CASES:
        assert (case.rpc, case.code) in promised(), case
        assert f"`{case.reason}`" in text, case
