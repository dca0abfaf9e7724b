"""Answers are kept within a bound, in the order of their use, and never past a write that spoils them."""

import pytest

from services.realtime import cache
from services.realtime.cache import AnswerCache
from services.realtime.touches import Dependence, Touched


def depends(*values, table="t", column="k", whole=()):
    return Dependence(frozenset((((table, column),), value) for value in values), frozenset(whole))


def write(*values, table="t", columns=("k",)):
    """A write that touches these values of each of the columns."""
    return Touched({table: frozenset(columns)}, {(table, column): set(values) for column in columns})


def name(key, query=1):
    return (query, "arrow", (key,))


def put(kept, key, on=None, *, token=None, size=100, query=1):
    own = kept.begin() if token is None else token
    taken = kept.put(own, name(key, query), bytes(size), 1, depends(key) if on is None else on)
    if token is None:
        kept.end(own)
    return taken


def here(kept, *keys, query=1):
    return [
        key for key, found in zip(keys, kept.get([name(key, query) for key in keys]), strict=True) if found
    ]


def written(kept, touched):
    kept.begin_write(touched)
    kept.end_write()


@pytest.fixture
def kept():
    return AnswerCache(2**20)


def test_an_answer_is_found_as_it_was_put_in(kept):
    token = kept.begin()
    assert kept.put(token, name(7), b"rows", 3, depends(7))
    [found, missing] = kept.get([name(7), name(8)])
    assert (found.message, found.row_count) == (b"rows", 3)
    assert missing is None
    assert kept.get_all([name(7), name(8)]) is None
    assert [each.message for each in kept.get_all([name(7), name(7)])] == [b"rows"] * 2
    status = kept.status()
    assert (status.hits, status.misses, status.entries) == (3, 1, 1)


def test_without_room_nothing_is_kept():
    kept = AnswerCache(0)
    assert not kept.enabled
    assert not put(kept, 7)
    assert kept.status().entries == 0


def test_what_was_asked_for_the_longest_ago_goes_first(kept):
    count = 0
    while kept.status().entries == count:
        put(kept, count, size=10_000)
        count += 1
        here(kept, 0)
    assert here(kept, *range(count)) == [0, *range(2, count)]
    assert kept.status().size <= 2**20


def test_an_answer_that_would_take_an_eighth_of_the_room_is_not_kept(kept):
    assert not put(kept, 7, size=2**17)
    assert put(kept, 8, size=2**16)


def test_a_long_key_counts(kept):
    assert not put(kept, "x" * 2**17)
    assert put(kept, "x" * 2**16)
    assert kept.status().size > 2**16


def test_an_answer_with_many_touches_counts_more(kept):
    put(kept, 1)
    one = kept.status().size
    put(kept, 2, depends(*range(100, 600)))
    assert kept.status().size > one + 500 * 40


def test_the_size_of_an_emptied_cache_is_that_of_an_empty_one(kept):
    for round_ in range(3):
        for key in range(200):
            put(kept, key, depends(key, -key - 1, "all"))
        written(kept, write("all"))
        assert kept.status().entries == 0, round_
        assert not here(kept, *range(200))
    assert kept.status().size < 50_000


def test_an_answer_put_in_again_replaces_the_one_before(kept):
    put(kept, 7, depends(7, 8))
    put(kept, 7, depends(7))
    assert kept.status().entries == 1
    written(kept, write(8))
    assert here(kept, 7) == [7]


def test_a_write_drops_the_answers_that_depend_on_its_values_and_no_others(kept):
    for key in range(10):
        put(kept, key, depends(key, key + 100))
        put(kept, key, depends(key), query=2)
    written(kept, write(3, 105, 999))
    assert here(kept, *range(10)) == [0, 1, 2, 4, 6, 7, 8, 9]
    assert here(kept, *range(10), query=2) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    written(kept, write(4, table="u"))
    assert here(kept, 4) == [4]
    assert kept.status().invalidated == 3


def test_values_are_of_their_column_alone(kept):
    put(kept, 7, depends(7, column="owner"))
    put(kept, 8, depends(7, column="other"))
    both = Touched({"t": frozenset({"owner", "other"})}, {("t", "owner"): {7}, ("t", "other"): {8}})
    written(kept, both)
    assert here(kept, 7, 8) == [8]


def test_a_write_that_did_not_look_at_a_column_drops_whatever_depends_on_it(kept):
    put(kept, 7, depends(7, column="owner"))
    put(kept, 8, depends(8))
    written(kept, write(9))
    assert here(kept, 7, 8) == [8]


def test_of_a_table_that_was_read_whole_any_write_spoils_the_answer(kept):
    put(kept, 7, depends(7, whole=["rates"]))
    put(kept, 8, depends(8))
    written(kept, write(1, table="other"))
    assert here(kept, 7, 8) == [7, 8]
    written(kept, write(1, table="rates"))
    assert here(kept, 7, 8) == [8]
    put(kept, 7, depends(7, whole=["rates"]))
    assert here(kept, 7) == [7]
    assert kept.status().invalidated == 1


def test_when_definitions_change_everything_goes(kept):
    for key in range(5):
        put(kept, key)
    token = kept.begin()
    kept.begin_write(Touched(everything=True))
    assert not put(kept, 9, token=token)
    kept.end_write()
    assert not here(kept, *range(5))
    assert kept.status().invalidated == 5
    assert not put(kept, 9, token=token), "its computation began before"
    assert put(kept, 9)


def test_an_answer_is_refused_when_a_write_spoiled_it_since_its_computation_began(kept):
    token = kept.begin()
    written(kept, write(7))
    assert not put(kept, 7, token=token)
    assert put(kept, 8, token=token), "that write was harmless for it"
    assert not put(kept, 9, depends(9, whole=["t"]), token=token)
    assert not put(kept, 9, depends(9, column="owner"), token=token), "the write did not look at that column"
    kept.end(token)
    assert put(kept, 7), "computed after the write"


def test_an_answer_is_refused_while_a_write_that_spoils_it_is_under_way(kept):
    kept.begin_write(write(7))
    assert not put(kept, 7)
    assert put(kept, 8)
    during = kept.begin()
    kept.end_write()
    assert not put(kept, 7, token=during), "its snapshot may be older than the commit"
    kept.end(during)
    assert put(kept, 7)


def test_an_answer_is_served_until_the_write_ends(kept):
    put(kept, 7)
    kept.begin_write(write(7))
    assert here(kept, 7) == [7]
    kept.end_write()
    assert not here(kept, 7)


def test_more_than_a_piece_of_answers_is_dropped(kept, monkeypatch):
    monkeypatch.setattr(cache, "_PIECE", 3)
    for key in range(20):
        put(kept, key, depends("all"))
    written(kept, write("all"))
    assert not here(kept, *range(20))


def test_what_depends_on_a_column_makes_it_watched(kept):
    before = kept.watched
    assert before == {}
    put(kept, 7, depends(7))
    put(kept, 7, depends(7, column="owner", whole=["rates"]))
    assert kept.watched == {"t": {"k", "owner"}}
    assert before == {}, "whoever holds it goes on with what it was"


def test_a_column_is_watched_even_if_the_answer_was_refused(kept):
    token = kept.begin()
    written(kept, Touched({"t": frozenset()}))
    assert not put(kept, 7, token=token)
    assert kept.watched == {"t": {"k"}}


def test_1024_writes_are_remembered_for_a_computation_and_then_it_is_too_old(kept):
    token = kept.begin()
    written(kept, write(7))
    for n in range(1_023):
        written(kept, write(1_000 + n))
    assert not put(kept, 7, token=token)
    assert not put(kept, 2_022, token=token)
    assert put(kept, 8, token=token)
    written(kept, write(5))
    assert not put(kept, 9, token=token), "what the first write touched is forgotten"
    younger = kept.begin()
    assert put(kept, 9, token=younger)


def test_of_writes_with_very_many_values_fewer_are_remembered(kept, monkeypatch):
    monkeypatch.setattr(cache, "_WRITTEN_VALUES", 100)
    token = kept.begin()
    written(kept, write(*range(60)))
    assert put(kept, 1_000, token=token)
    later = kept.begin()
    written(kept, write(*range(100, 160)))
    assert not put(kept, 1_001, token=token), "the first of them is forgotten"
    assert put(kept, 1_001, token=later)
    assert not put(kept, 101, token=later)
    written(kept, write(*range(200, 400)))
    assert not put(kept, 1_002, token=later), "one alone may be too large"
    kept.end(token)
    kept.end(later)
    assert put(kept, 1_002)


def test_writes_are_forgotten_when_nobody_computes_any_more(kept):
    first, second = kept.begin(), kept.begin()
    written(kept, write(7))
    third = kept.begin()
    written(kept, write(8))
    assert len(kept._writes) == 2
    kept.end(first)
    assert len(kept._writes) == 2
    kept.end(second)
    assert len(kept._writes) == 1
    assert not put(kept, 8, token=third)
    assert put(kept, 7, token=third)
    kept.end(third)
    assert not kept._writes
    written(kept, write(7))
    assert not kept._writes, "nobody asks for it"
