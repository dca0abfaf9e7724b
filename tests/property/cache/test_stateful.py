"""Whatever is done to a store, its cached answers are those of the plain query."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.cache import sharp
from tests.property.cache.stateful import CachedBesidePlain
from tests.support.figures import tell

__all__ = ["tell"]


def run(examples, steps, **options):
    counts = Counter()
    kind = type("Counted", (CachedBesidePlain,), {"counts": counts})
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            **options,
        ),
    )
    return counts


def test_cached_answers_are_those_of_the_plain_query():
    counts = run(examples=12, steps=12)
    assert counts[True] >= 500, counts
    assert counts[False] >= 500, counts
    assert counts["warmed"] >= 10, counts


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_cached_answers_are_those_of_the_plain_query_in_long_histories(tell):
    counts = run(examples=200, steps=50)
    tell(f"cached beside plain: {dict(counts)}")
    assert counts[True] >= 50_000, counts
    assert counts["warmed"] >= 300, counts


@pytest.mark.slow
@pytest.mark.parametrize("kind", [sharp.DropsNothing, sharp.RaisesNoEpoch], ids=lambda kind: kind.__name__)
def test_the_histories_find_a_cache_that(kind, monkeypatch):
    sharp.sharpened(monkeypatch, kind)
    with pytest.raises(AssertionError):
        run(examples=20, steps=12, phases=[Phase.generate])


@pytest.mark.slow
def test_the_histories_find_a_cache_that_does_not_know_what_was_there_before(monkeypatch):
    sharp.looks_at_nothing_before(monkeypatch)
    with pytest.raises(AssertionError):
        run(examples=20, steps=12, phases=[Phase.generate])
