"""Features of pure ETLs that are kept: made once of the same rows, and never served of older ones."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator

import pyarrow as pa
import pytest
from dulwich import porcelain

from featurestore.model.errors import FailedPrecondition
from featurestore.model.etl import Declarations, EtlSource
from featurestore.model.query import QueryForm
from featurestore.model.serving import Answer, AnswerFormat, EtlRun, KeyAnswer, Keys, Outcome
from services.extraction.extraction import ExtractionService
from services.extraction.features_kept import Features, FeaturesKept
from services.extraction.git_transport import GitSettings
from services.extraction.worker_types import WorkerLimits
from services.realtime.realtime import RealtimeService
from tests.support.realtime_rows import new_id, opened, rows_of

SCHEMA = pa.schema([("user_id", pa.int64()), ("amount", pa.float64())])
SQL = "SELECT user_id, amount FROM feature_store.events ORDER BY amount"
SCRIPT = """
import uuid
from etl_abc import AbstractEtl

class Etl(AbstractEtl):
    pure = {pure}

    def extract(self):
        frame = self.df
        if (frame["amount"] < 0).any():
            raise ValueError
        frame["more"] = frame["amount"] + 1
        frame["made"] = str(uuid.uuid4())
        return frame
"""


@pytest.fixture
async def realtime(tmp_path) -> AsyncIterator[RealtimeService]:
    async with opened(tmp_path / "realtime") as service:
        await publish(service, [1, 2, 3], [0.5, 1.5, 4.0])
        yield service


async def publish(realtime, user_ids, amounts) -> None:
    rows = rows_of("events", {"user_id": user_ids, "amount": amounts}, schema=SCHEMA)
    await realtime.publish(new_id(), [rows])


def extraction_of(tmp_path, realtime, **settings) -> ExtractionService:
    return ExtractionService(
        tmp_path / "extraction",
        realtime,
        git=GitSettings(schemes=frozenset({"file"})),
        workers=WorkerLimits(serving_seconds=30),
        **settings,
    )


@pytest.fixture
async def extraction(tmp_path, realtime) -> AsyncIterator[ExtractionService]:
    async with extraction_of(tmp_path, realtime) as service:
        yield service


async def saved(extraction, realtime, folder, *, pure: bool) -> EtlRun:
    folder = folder / f"repository-{pure}"
    folder.mkdir()
    porcelain.init(str(folder))
    (folder / "etl.py").write_text(SCRIPT.format(pure=pure))
    porcelain.add(str(folder), [str(folder / "etl.py")])
    porcelain.commit(str(folder), message=b"etl", author=b"A <a@b>", committer=b"A <a@b>")
    form = QueryForm(SQL, await realtime.describe(SQL))
    source = EtlSource(address=f"git+file://{folder}#etl.py")
    stream = await extraction.extract_train(form, await realtime.version(), source, pin=True)
    await stream.batches.aclose()
    return EtlRun(f"etl_{pure}", "qry_x", stream.script, form.columns, stream.head.schema)


async def serve(extraction, realtime, run, *user_ids, answer_format=AnswerFormat.ARROW) -> Answer:
    keys = Keys(("user_id",), tuple((user_id,) for user_id in user_ids))
    form = QueryForm(SQL, await realtime.describe(SQL))
    answer = await realtime.query("qry_x", form, keys, AnswerFormat.ARROW)
    return await extraction.run_etl(run, answer, answer_format)


def features(answer: Answer) -> list[dict]:
    with pa.ipc.open_stream(answer.payload) as stream:
        return stream.read_all().to_pylist()


async def test_the_features_of_a_pure_etl_are_made_once_of_the_same_rows(extraction, realtime, tmp_path):
    run = await saved(extraction, realtime, tmp_path, pure=True)
    assert run.script.declared == Declarations(pure=True)
    first, second = [await serve(extraction, realtime, run, 1) for _ in range(2)]
    assert not first.info.features_from_cache
    assert second.info.features_from_cache
    assert second.payload == first.payload
    assert second.keys == first.keys == (KeyAnswer(Outcome.FOUND, 1),)
    assert (second.info.etl_id, second.info.contract_sha256) == (
        first.info.etl_id,
        first.info.contract_sha256,
    )


async def test_an_etl_that_does_not_say_it_is_pure_runs_each_time(extraction, realtime, tmp_path):
    run = await saved(extraction, realtime, tmp_path, pure=False)
    made = {features(await serve(extraction, realtime, run, 1))[0]["made"] for _ in range(3)}
    assert len(made) == 3


async def test_a_write_to_a_keys_rows_makes_its_features_anew_and_no_others(extraction, realtime, tmp_path):
    run = await saved(extraction, realtime, tmp_path, pure=True)
    for user_id in (1, 2):
        await serve(extraction, realtime, run, user_id)
    await publish(realtime, [1], [9.0])
    changed = await serve(extraction, realtime, run, 1)
    assert not changed.info.features_from_cache
    assert [row["more"] for row in features(changed)] == [1.5, 10.0]
    untouched = await serve(extraction, realtime, run, 2)
    assert untouched.info.features_from_cache
    assert untouched.info.data_version == await realtime.version()


async def test_each_format_has_its_own_and_several_keys_are_not_kept(extraction, realtime, tmp_path):
    run = await saved(extraction, realtime, tmp_path, pure=True)
    await serve(extraction, realtime, run, 1)
    rows = await serve(extraction, realtime, run, 1, answer_format=AnswerFormat.ROWS)
    assert not rows.info.features_from_cache
    for _ in range(2):
        assert not (await serve(extraction, realtime, run, 1, 2)).info.features_from_cache


async def test_what_an_etl_failed_on_is_not_kept(extraction, realtime, tmp_path):
    run = await saved(extraction, realtime, tmp_path, pure=True)
    await publish(realtime, [7], [-1.0])
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="ValueError"):
            await serve(extraction, realtime, run, 7)


async def test_verify_runs_the_etl_whatever_is_kept(extraction, realtime, tmp_path):
    run = await saved(extraction, realtime, tmp_path, pure=True)
    for user_id in (1, 2, 3):
        await serve(extraction, realtime, run, user_id)
    form = QueryForm(SQL, await realtime.describe(SQL))
    report = await extraction.verify("qry_x", form, run, ("user_id",), 3)
    assert not report.consistent
    assert {difference.column for difference in report.differences} == {"made"}


async def test_with_no_room_nothing_is_kept(tmp_path, realtime):
    async with extraction_of(tmp_path, realtime, etl_cache_bytes=0) as extraction:
        run = await saved(extraction, realtime, tmp_path, pure=True)
        for _ in range(2):
            assert not (await serve(extraction, realtime, run, 1)).info.features_from_cache


async def test_no_history_of_writes_and_reads_shows_features_of_older_rows(extraction, realtime, tmp_path):
    run = await saved(extraction, realtime, tmp_path, pure=True)
    model = defaultdict(list, {1: [0.5], 2: [1.5], 3: [4.0]})
    chance, kept, seed = random.Random(), 0, random.randrange(2**32)
    chance.seed(seed)
    for step in range(150):
        user_id = chance.randint(1, 4)
        if chance.random() < 0.25:
            amount = float(chance.randint(0, 3))
            await publish(realtime, [user_id], [amount])
            model[user_id].append(amount)
        answer = await serve(extraction, realtime, run, user_id)
        kept += answer.info.features_from_cache
        expected = sorted(amount + 1 for amount in model[user_id])
        assert [row["more"] for row in features(answer)] == expected, (seed, step)
    assert kept >= 30, seed


def test_what_was_asked_for_the_longest_ago_goes_first_and_the_bytes_are_bounded():
    def name(number):
        return (
            "etl",
            "sha",
            AnswerFormat.ROWS,
            KeyAnswer(Outcome.FOUND, 1),
            hashlib.sha256(bytes(number)).digest(),
        )

    made = Features(KeyAnswer(Outcome.FOUND, 1), b"x" * 400)
    kept = FeaturesKept(10_000)
    for number in range(10):
        kept.put(name(number), made)
    assert kept.get(name(0)) == made
    kept.put(name(10), made)
    assert kept.get(name(1)) is None
    assert kept.get(name(0)) == made
    for _ in range(50):
        kept.put(name(10), made)
    assert kept.get(name(2)) == made
    kept.put(name(11), Features(made.answer, b"x" * 2_000))
    assert kept.get(name(11)) is None
