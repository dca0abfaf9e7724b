"""No rule is there for nothing: without it there are wrong rows, and with it there are none."""

import pytest
from hypothesis import Phase, find, settings
from hypothesis import strategies as st

from featurestore.engine.planner import Rule
from tests.property.planner.databases import Database, Table
from tests.property.planner.switches import COLUMNS, QUERIES, differing, differs, tables
from tests.property.planner.words import Draw

RULES = pytest.mark.parametrize("rule", list(Rule), ids=lambda rule: rule.value)

PINNED: dict[Rule, tuple[str, str]] = {
    Rule.EXPRESSION: ("1 3 - 1.375 3", "2 - 01 0.125 9"),
    Rule.LIMIT: ("1 2 1 0.125 0; 4 4 1 2.0 4; 2 0 1 0.125 7; 1 3 - 1.375 3", "2 - 01 0.125 9"),
    Rule.GLOBAL_AGGREGATE: ("2 0 1 0.125 7; 1 3 - 1.375 3", "2 - 01 0.125 9"),
    Rule.GROUP_BY: ("- 3 1 - 9; 1 3 2 0.5 4", "3 1 01 - 4"),
    Rule.DISTINCT_ON: ("1 - 0 0.5 4; 2 - 3 0.125 6", "4 1 1 0.125 0"),
    Rule.WINDOW: ("1 - 0 0.5 4; 2 - 3 0.125 6", "4 1 1 0.125 0"),
    Rule.SET_OPERATION: ("1 3 - 1.375 3", "2 - 01 0.125 9"),
    Rule.SAME_TYPE: ("4 1 1 0.0 8; 1 2 01 1.0 2", "1 2 01 - 2"),
    Rule.EQUALITY: ("4 - - 0.125 9", "3 3 3 - 4"),
    Rule.CONJUNCT: ("1 3 - 1.375 3", "2 - 01 0.125 9"),
    Rule.HAVING: ("2 2 1 2.0 1; 2 - 3 0.125 6", "4 1 1 0.125 0"),
    Rule.OUTER_NULLABLE: ("1 3 - 1.375 3", "2 - 01 0.125 9"),
    Rule.OUTER_PRESERVED: ("1 3 - 1.375 3", "2 - 01 0.125 9"),
    Rule.FULL_MERGED: ("1 3 - 1.375 3", "3 4 3 0.5 4; 2 - 01 0.125 9"),
    Rule.ASOF: ("4 3 0 1.0 9", "4 3 3 1.0 9; 4 2 01 0.0 6"),
    Rule.POSITIONAL: ("2 0 1 0.125 7; 1 3 - 1.375 3", "2 - 01 0.125 9"),
    Rule.PIVOT: ("1 3 - 1.375 3", "2 - 01 0.125 9"),
    Rule.RECURSION: ("1 3 - 1.375 3", "2 - 01 0.125 9"),
    Rule.IN_SUBQUERY: ("2 0 1 0.125 7", "2 - 01 0.125 9"),
    Rule.CTE_REFERENCES: ("- 3 1 - 9; 1 3 2 0.5 4", "3 1 01 - 4"),
    Rule.CORRELATED: (
        "2 1 0 1.375 6; 1 2 1 0.125 0; 2 0 1 0.125 7; 1 3 - 1.375 3",
        "1 1 1 - 3; 2 - 01 0.125 9",
    ),
    Rule.CHAIN: ("1 3 - 1.375 3", "2 - 01 0.125 9"),
}
"""Rows of t and u for the first query of each rule: k, j, s, v, id; a dash for null."""


def pinned(rule: Rule) -> Database:
    def table(name: str, text: str) -> Table:
        rows = [[None if word == "-" else word for word in line.split()] for line in text.split("; ")]
        return Table(name, COLUMNS, tuple(map(tuple, rows)))

    t, u = PINNED[rule]
    return Database((table("t", t), table("u", u)))


@RULES
def test_the_pinned_example_has_wrong_rows_without_the_rule_and_none_with_it(rule):
    sql, key = QUERIES[rule][0]
    assert differs(pinned(rule), sql, key) == ""
    assert differs(pinned(rule), sql, key, rule).startswith("missing")


@RULES
def test_wrong_rows_are_found_at_random_without_the_rule(rule):
    seeds = st.integers(0, 2**32)
    find(
        seeds, differing(rule), settings=settings(max_examples=200, phases=[Phase.generate], derandomize=True)
    )


@RULES
def test_no_wrong_rows_are_found_at_random_with_the_rule(rule):
    for seed in range(8):
        base = tables(Draw(f"{rule.value} {seed}"))
        for sql, key in QUERIES[rule]:
            assert differs(base, sql, key) == ""
