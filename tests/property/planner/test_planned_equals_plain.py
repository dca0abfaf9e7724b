"""The planner's promise: what it narrows never changes an answer. The plain query, filtered afterwards, is the judge."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.engine.planner import Rule
from tests.property.planner.cases import QUERIES_EACH, run
from tests.property.planner.many import run_many
from tests.property.planner.oracle import ENGINE, Tally

ONLY_STOPS = {
    Rule.EXPRESSION: "it says what is no plain column",
    Rule.LIMIT: "nothing passes a LIMIT",
    Rule.GLOBAL_AGGREGATE: "nothing passes an aggregate over all rows",
    Rule.SAME_TYPE: "it is asked at every step and only noted where it stops one",
    Rule.POSITIONAL: "nothing passes a POSITIONAL JOIN",
    Rule.PIVOT: "nothing passes a PIVOT",
    Rule.RECURSION: "nothing passes a recursive query",
    Rule.CONJUNCT: "it says which conditions fix nothing",
    Rule.HAVING: "it says which conditions fix nothing",
}
"""Rules that by their nature never let a key pass."""

ONLY_PASSES = {
    Rule.FULL_MERGED: "it says which two columns a merged one is made of; of the merged one itself others know",
}
"""Rules that by their nature never stop a key."""


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_planned_rows_are_those_of_the_plain_query(seed):
    assert run(seed, Tally()) == ""


@pytest.mark.slow
def test_planned_rows_are_those_of_the_plain_query_in_twenty_thousand_cases():
    found = run_many(range(1_000_000, 1_000_000 + 22_000 // QUERIES_EACH))
    tally = found.tally
    print(tally.report(), *found.crashes, *found.differences, sep="\n")  # noqa: T201 - the counts are the proof
    assert found.differences == []
    assert tally.cases >= 20_000
    assert not [crash for crash in found.crashes if "planned" in crash]
    assert tally.discarded.total() < 0.1 * tally.cases
    assert sum(count for why, count in tally.discarded.items() if why.startswith(ENGINE)) < 0.02 * tally.cases
    assert tally.narrowed >= 0.6 * tally.cases
    assert tally.with_rows >= 0.5 * tally.cases
    rare = {
        rule.value: tally.fired[rule] for rule in Rule if rule not in ONLY_STOPS and tally.fired[rule] < 200
    }
    assert rare == {}
    rare = {
        rule.value: tally.refused[rule]
        for rule in Rule
        if rule not in ONLY_PASSES and tally.refused[rule] < 50
    }
    assert rare == {}
