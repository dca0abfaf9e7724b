"""Answers that nobody asked for yet push nothing out; which answers a write spoiled is remembered for those kept up."""

import threading

import pytest

from services.realtime.cache import AnswerCache
from services.realtime.kept import Fate
from services.realtime.touches import Touched
from tests.unit.test_realtime_cache import depends, here, name, put, write, written


def offer(kept, key, on=None, *, size=10_000, query=1):
    token = kept.begin()
    try:
        return kept.put(
            token, name(key, query), bytes(size), 1, depends(key) if on is None else on, make_room=False
        )
    finally:
        kept.end(token)


@pytest.fixture
def kept():
    return AnswerCache(2**20)


@pytest.fixture
def full(kept):
    """Of answers 0, 1, ..., of 10,000 bytes each; and how many."""
    count = 0
    while kept.status().entries == count:
        put(kept, count, size=10_000)
        count += 1
    return kept, set(here(kept, *range(count)))


def test_an_answer_for_which_there_is_room_is_kept_and_is_the_first_to_go(kept):
    put(kept, 1)
    assert offer(kept, 2) is Fate.KEPT
    assert here(kept, 1) == [1]
    while here(kept, 1):  # asked for each time
        put(kept, kept.status().entries + 10, size=10_000)
        if name(2) not in kept._kept:
            break
    assert here(kept, 1, 2) == [1]


def test_without_room_it_is_refused_and_nothing_goes_for_it(full):
    kept, held = full
    assert offer(kept, "new") is Fate.NO_ROOM
    assert set(here(kept, *held)) == held
    assert kept.status().size <= 2**20


def test_what_no_longer_holds_goes_for_it(full):
    kept, held = full
    oldest = min(held)
    written(kept, write(oldest))
    assert offer(kept, "new") is Fate.KEPT
    assert set(here(kept, *held)) == held - {oldest}


def test_an_answer_that_is_computed_again_keeps_its_place(kept):
    for key in range(3):
        put(kept, key)
    written(kept, write(2))
    assert offer(kept, 2, size=100) is Fate.KEPT
    assert [each.name for each in kept.snapshot()] == [name(0), name(1), name(2)]


def test_what_is_too_large_for_any_room_or_overtaken_says_so(kept):
    assert offer(kept, 1, size=2**18) is Fate.TOO_LARGE
    put(kept, 1)
    token = kept.begin()
    written(kept, write(1))
    assert kept.put(token, name(1), b"", 0, depends(1), make_room=False) is Fate.OVERTAKEN
    assert not Fate.OVERTAKEN


def test_looking_what_is_missing_counts_nothing_and_moves_nothing(kept):
    for key in range(3):
        put(kept, key)
    written(kept, write(1))
    before = [each.name for each in kept.snapshot()]
    assert kept.missing([name(0), name(1), name(9)]) == [name(1), name(9)]
    assert [each.name for each in kept.snapshot()] == before
    assert (kept.status().hits, kept.status().misses) == (0, 0)


def test_of_a_followed_plan_what_writes_spoil_is_told_once(kept):
    for query in (1, 2):
        for key in range(3):
            put(kept, key, query=query)
    kept.follow(1)
    written(kept, write(0, 2))
    assert sorted(kept.take_spoiled(1)) == [name(0), name(2)]
    assert kept.take_spoiled(1) == []
    assert kept.take_spoiled(2) == [], "nobody follows it"
    written(kept, write(1))
    assert kept.unfollow(1) == [name(1)]
    put(kept, 1)
    written(kept, write(1))
    assert kept.take_spoiled(1) == []


def test_what_is_spoiled_before_it_is_followed_is_told_too(kept):
    for key in range(3):
        put(kept, key, depends(key, whole=["rates"] if key == 2 else ()))
    written(kept, write(0))
    written(kept, write(9, table="rates"))
    assert kept.has_spoiled(1) is None
    kept.follow(1)
    assert kept.has_spoiled(1)
    assert sorted(kept.take_spoiled(1)) == [name(0), name(2)]
    assert kept.has_spoiled(1) is False


@pytest.mark.parametrize("followed_first", [True, False])
def test_a_write_to_a_table_that_is_read_whole_spoils_all_answers_that_read_it(kept, followed_first):
    if followed_first:
        kept.follow(1)
    put(kept, 1, depends(1, whole=["rates"]))
    put(kept, 2)
    kept.follow(1)
    written(kept, write(9, table="other"))
    assert kept.take_spoiled(1) == []
    written(kept, write(9, table="rates"))
    assert kept.take_spoiled(1) == [name(1)]
    assert kept.take_spoiled(1) == []


def test_when_definitions_change_all_of_a_followed_plan_is_told(kept):
    for query in (1, 2):
        put(kept, 7, query=query)
    kept.follow(1)
    written(kept, Touched(everything=True))
    assert kept.take_spoiled(1) == [name(7)]


def test_hits_and_misses_are_counted_by_plan(kept):
    put(kept, 1)
    here(kept, 1, 2)
    here(kept, 1, query=2)
    kept.get_all([name(1)])
    assert kept.get_all([name(1), name(2)]) is None
    assert (kept.asked(1), kept.asked(2), kept.asked(3)) == ((2, 1), (0, 1), (0, 0))


def test_following_while_answers_come_and_go_loses_none_that_was_there(kept):
    stop = threading.Event()

    def others():
        key = 1_000
        while not stop.is_set():
            put(kept, key, depends(key, whole=["noise"]), query=3)
            key += 1

    thread = threading.Thread(target=others)
    thread.start()
    try:
        for round_ in range(100):
            query = ("plan", round_)
            put(kept, 5, query=query)
            kept.follow(query)
            written(kept, write(5))
            assert kept.unfollow(query) == [name(5, query)]
    finally:
        stop.set()
        thread.join()
