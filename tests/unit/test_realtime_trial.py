"""Which text serves a plan's keys faster is decided by enough comparisons, and not changed back and forth by noise."""

import pytest

from services.realtime.trial import Trial, Trials


def tried(*ratios: float) -> Trial:
    trial = Trial()
    for ratio in ratios:
        trial.add(ratio, 1.0, None)
    return trial


def test_a_few_comparisons_decide_nothing():
    assert not tried(*[0.1] * 6).plain
    assert tried(*[0.1] * 7).plain


def test_the_narrowed_text_stays_where_the_query_as_it_is_is_hardly_faster():
    assert not tried(*[0.95] * 15).plain


def test_one_slow_run_among_fast_ones_changes_nothing():
    assert tried(*[0.5] * 7, 90.0).plain


def test_what_was_decided_stays_until_the_other_is_clearly_faster():
    trial = tried(*[0.5] * 15)
    for _ in range(15):
        trial.add(1.05, 1.0, None)
    assert trial.plain
    for _ in range(15):
        trial.add(1.2, 1.0, None)
    assert not trial.plain


def test_a_text_that_failed_is_not_tried_again():
    trial = tried(*[0.1] * 7)
    trial.forbid()
    trial.add(0.1, 1.0, None)
    assert not trial.plain


def test_what_was_planned_before_stays_until_it_is_clearly_slower_than_the_better_one_of_the_others():
    trial = Trial()
    assert trial.statement, "before anything is known"
    for _ in range(15):
        trial.add(2.0, 1.0, 1.05)
    assert trial.statement
    for _ in range(15):
        trial.add(2.0, 1.0, 1.2)
    assert not trial.statement
    for _ in range(15):
        trial.add(0.5, 1.0, 0.48)
    assert trial.plain
    assert not trial.statement
    for _ in range(15):
        trial.add(0.5, 1.0, 0.4)
    assert trial.statement


def test_each_comparison_is_counted_so_that_the_texts_can_take_turns():
    trial = tried(*[1.0] * 3)
    trial.add(1.0, 1.0, 1.0)
    assert trial.compared == 4


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(1, 2, False), (2, 9, True), (9, 10, False), (10, 99, True), (100, 10_000, True)],
)
def test_calls_of_about_one_size_are_judged_together(one, other, same):
    trials = Trials()
    assert (trials.of(one) is trials.of(other)) is same
