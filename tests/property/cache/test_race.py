"""A read that starts after a write was acknowledged sees it; and the race that shows it finds each step left out."""

import pytest

from tests.property.cache import sharp
from tests.property.cache.acknowledged import Acknowledged, StaleAnswerError
from tests.property.cache.race import raced
from tests.support.figures import tell

__all__ = ["tell"]

_CLASSES = [
    sharp.DropsLate,
    sharp.RaisesNoSequence,
    sharp.BlocksNothing,
    sharp.DropsNothing,
    sharp.ForgetsWrites,
    sharp.RaisesNoEpoch,
    sharp.KeepsWhatWasWatchedLate,
]
_PATCHES = [sharp.looks_at_nothing_before, sharp.takes_in_what_was_watched_late]


async def test_readers_never_find_a_stale_answer(tmp_path):
    race, status = await raced(tmp_path, reads=4_000, seconds=60)
    assert race.reads >= 4_000
    assert race.from_cache >= 0.3 * race.reads
    assert status.invalidated >= 120


async def test_readers_never_find_a_stale_answer_when_every_step_takes_long(tmp_path, monkeypatch):
    sharp.sharpened(monkeypatch)
    race, status = await raced(tmp_path, reads=1_500, seconds=60)
    assert race.reads >= 1_500
    assert status.invalidated >= 120


@pytest.mark.parametrize("steps", ["as they are", "slow"])
async def test_readers_never_find_a_stale_answer_when_all_queries_are_warmed_and_kept_up(
    tmp_path, monkeypatch, steps
):
    if steps == "slow":
        sharp.sharpened(monkeypatch)
    race, status = await raced(tmp_path, reads=1_500, seconds=60, warmed=True)
    assert race.reads >= 1_500
    assert race.warmed.kept >= 50
    assert status.invalidated >= 120


@pytest.mark.parametrize(
    "kind", [sharp.DropsLate, sharp.BlocksNothing, sharp.ForgetsWrites], ids=lambda kind: kind.__name__
)
async def test_the_race_with_warming_finds_a_cache_that(kind, tmp_path, monkeypatch):
    sharp.sharpened(monkeypatch, kind)
    with pytest.raises(StaleAnswerError):
        await raced(tmp_path, reads=10**9, seconds=60, warmed=True)


@pytest.mark.parametrize("kind", _CLASSES, ids=lambda kind: kind.__name__)
async def test_the_race_finds_a_cache_that(kind, tmp_path, monkeypatch):
    sharp.sharpened(monkeypatch, kind)
    with pytest.raises(StaleAnswerError):
        await raced(tmp_path, reads=10**9, seconds=60)


@pytest.mark.parametrize("patch", _PATCHES, ids=lambda patch: patch.__name__)
async def test_the_race_finds_a_cache_that_also(patch, tmp_path, monkeypatch):
    sharp.sharpened(monkeypatch)
    patch(monkeypatch)
    with pytest.raises(StaleAnswerError):
        await raced(tmp_path, reads=10**9, seconds=60)


@pytest.mark.slow
@pytest.mark.parametrize("steps", ["as they are", "slow"])
async def test_of_a_hundred_thousand_reads_none_is_stale(tmp_path, monkeypatch, tell, steps):
    if steps == "slow":
        sharp.sharpened(monkeypatch)
    race, status = await raced(tmp_path, reads=100_000, seconds=1_500)
    tell(
        f"steps {steps}: {race.reads} reads, none stale; {race.from_cache / race.reads:.0%} from the cache; "
        f"{status.invalidated} answers invalidated"
    )
    assert race.reads >= 100_000
    assert race.from_cache >= 0.3 * race.reads
    assert status.invalidated >= 5_000


def test_what_was_acknowledged_is_the_least_that_is_shown():
    known = Acknowledged()
    for owner in (1, 2, 2):
        known.submit("t", 7, {"owner": owner})
    known.acknowledge("t", 7, 1)
    since = known.now()

    def check(shown, owner):
        known.check(since, "t", shown, lambda _, row: row["owner"] == owner)

    check({(7, 1)}, 2)
    check({(7, 2)}, 2)
    check(set(), 1)
    for shown, owner in [({(7, 0)}, 1), ({(7, 3)}, 2), (set(), 2), ({(7, 1)}, 1), ({(8, 0)}, 1)]:
        with pytest.raises(StaleAnswerError):
            check(shown, owner)
