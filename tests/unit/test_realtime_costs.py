"""Whose misses cost a lot, over the last seconds."""

import pytest

from services.realtime import costs
from services.realtime.costs import Costs, Subject


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def spent(clock):
    """30 s of 4 readers: a tenth of their time is 12 s."""
    return Costs(4, 30.0, clock)


def subject(query_id, key="k"):
    return Subject(query_id, None, (key,))


def above(spent, share=0.1):
    return sorted(each.query_id for each in spent.above(share))


def test_whose_misses_took_more_than_the_share_of_all_readers_is_named(spent, clock):
    for _ in range(25):
        clock.now += 1
        spent.add(subject("dear"), 0.5)
        spent.add(subject("cheap"), 0.4)
    assert above(spent) == ["dear"]
    assert above(spent, 0.05) == ["cheap", "dear"]
    assert above(spent, 1) == []


def test_what_is_longer_ago_than_the_window_counts_no_more(spent, clock):
    spent.add(subject("once"), 20.0)
    clock.now += 29
    assert above(spent) == ["once"]
    clock.now += 2
    assert above(spent) == []


def test_another_index_key_of_the_same_query_is_another_one(spent):
    spent.add(subject("q", "a"), 7.0)
    spent.add(subject("q", "b"), 7.0)
    assert above(spent) == []
    spent.add(subject("q", "b"), 7.0)
    assert [each.index_key for each in spent.above(0.1)] == [("b",)]


def test_it_takes_no_more_memory_for_ever_more_queries(spent, clock, monkeypatch):
    monkeypatch.setattr(costs, "_MOST_SUBJECTS", 10)
    for number in range(1_000):
        clock.now += 0.1
        spent.add(subject(f"q{number}"), 1.0)
    assert sum(len(each) for _, each in spent._slices) <= 120
