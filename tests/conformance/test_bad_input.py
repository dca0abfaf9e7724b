"""Bad input, in every arrangement: each row of the table through the client, and through the command line."""

from __future__ import annotations

import pytest

from tests.conformance.bad_input import CASES
from tests.conformance.cases import Case, refused, said_by_the_command_line
from tests.conformance.world import World


@pytest.fixture(scope="module")
def warm(world: World) -> World:
    """The world with all that the cases save on purpose."""
    assert world.query
    assert world.other_query
    on_few = ("raises", "endless", "none", "curious", "greedy", "exits")
    for path in ("good.py", "breaks_contract.py", *(f"{what}_on_few.py" for what in on_few)):
        world.etl(path)
    return world


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_refused_with_its_reason_and_saves_nothing(warm: World, case: Case) -> None:
    before = warm.store.status()
    refused(warm, case)
    after = warm.store.status()
    assert (after.queries, after.etls) == (before.queries, before.etls)


@pytest.mark.parametrize("case", [case for case in CASES if case.command], ids=str)
def test_the_command_line_says_so_in_one_line_and_fails(warm: World, case: Case) -> None:
    said_by_the_command_line(warm, case)
