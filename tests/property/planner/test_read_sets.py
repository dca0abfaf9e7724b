"""What a plan says that an answer depends on is all that it depends on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.planner.cases import run
from tests.property.planner.many import run_many
from tests.property.planner.oracle import Tally


@settings(max_examples=12, derandomize=True, database=None, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_a_changed_row_changes_only_answers_whose_read_sets_name_it(seed):
    assert run(seed, Tally(), "read sets") == ""


@pytest.mark.slow
def test_a_changed_row_changes_only_answers_whose_read_sets_name_it_in_ten_thousand_cases():
    found = run_many(range(2_000_000, 2_000_550), "read sets")
    tally = found.tally
    print(tally.report(), *found.crashes, *found.differences, sep="\n")  # noqa: T201 - the counts are the proof
    assert found.differences == []
    assert tally.cases >= 10_000
    assert tally.narrowed >= 0.6 * tally.cases
    assert tally.with_rows >= 0.15 * tally.cases, "answers changed in too few cases"
