"""ETLs through extraction's own object: pinned code, contracts, one run per key; real realtime, git and workers."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from dulwich import porcelain

from featurestore.api.common.v1 import common_pb2
from featurestore.model import deadline
from featurestore.model.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
)
from featurestore.model.etl import EtlSource
from featurestore.model.query import QueryForm
from featurestore.model.schema import schema_sha256
from featurestore.model.serving import Answer, AnswerFormat, EtlRun, Keys, Outcome, TrainStream
from services.extraction.extraction import ExtractionService
from services.extraction.git_settings import GitSettings
from services.extraction.worker_types import WorkerLimits
from services.realtime.realtime import RealtimeService
from tests.support.realtime_rows import new_id, opened, rows_of

ADD_ONE = """
from featurestore.etl import AbstractEtl

class Etl(AbstractEtl):
    def extract(self):
        frame = self.df
        frame["more"] = frame["amount"] + 1
        return frame[["user_id", "more"]]
"""
SQL = "SELECT user_id, amount FROM feature_store.events"
FILE_TOO = GitSettings(schemes=frozenset({"https", "file"}))


@dataclass
class Repository:
    """A git repository with one script."""

    folder: Path
    script: Path = field(init=False)

    def __post_init__(self) -> None:
        porcelain.init(str(self.folder))
        self.script = self.folder / "etl.py"

    def commit(self, text: str) -> None:
        self.script.write_text(text)
        porcelain.add(str(self.folder), [str(self.script)])
        porcelain.commit(str(self.folder), message=b"etl", author=b"A <a@b>", committer=b"A <a@b>")

    @property
    def source(self) -> EtlSource:
        return EtlSource(address=f"git+file://{self.folder}#etl.py")

    @property
    def local(self) -> EtlSource:
        return EtlSource(local_path=str(self.script), text=self.script.read_text())


@pytest.fixture
async def realtime(tmp_path) -> AsyncIterator[RealtimeService]:
    async with opened(tmp_path / "realtime") as service:
        schema = pa.schema([("user_id", pa.int64()), ("amount", pa.float64())])
        rows = {"user_id": [1, 1, 2, 3], "amount": [0.5, 1.5, None, 4.0]}
        await service.publish(new_id(), [rows_of("events", rows, schema=schema)])
        yield service


@pytest.fixture
async def extraction(tmp_path, realtime) -> AsyncIterator[ExtractionService]:
    limits = WorkerLimits(serving_seconds=5)
    async with ExtractionService(tmp_path / "extraction", realtime, git=FILE_TOO, workers=limits) as service:
        yield service


@pytest.fixture
def repository(tmp_path) -> Repository:
    repository = Repository(tmp_path / "repository")
    repository.folder.mkdir(exist_ok=True)
    repository.commit(ADD_ONE)
    return repository


async def form_of(realtime, sql: str = SQL) -> QueryForm:
    return QueryForm(sql, await realtime.describe(sql))


async def extract(extraction, realtime, source, *, pin: bool = True, sql: str = SQL) -> TrainStream:
    return await extraction.extract_train(
        await form_of(realtime, sql), await realtime.version(), source, pin=pin
    )


async def read(stream: TrainStream) -> pa.Table:
    async with aclosing(stream.batches) as messages:
        found = [pa.ipc.read_record_batch(pa.py_buffer(each), stream.head.schema) async for each in messages]
    return pa.Table.from_batches(found, stream.head.schema)


async def saved(extraction, realtime, source, sql: str = SQL) -> EtlRun:
    stream = await extract(extraction, realtime, source, sql=sql)
    form = await form_of(realtime, sql)
    return EtlRun("etl_x", "qry_x", stream.script, form.columns, stream.head.schema)


async def serve(
    extraction, realtime, run, *user_ids, answer_format=AnswerFormat.ARROW, sql: str = SQL
) -> Answer:
    keys = Keys(("user_id",), tuple((user_id,) for user_id in user_ids))
    answer = await realtime.query("qry_x", await form_of(realtime, sql), keys, AnswerFormat.ARROW)
    return await extraction.run_etl(run, answer, answer_format)


def batches(answer: Answer) -> list[pa.RecordBatch]:
    with pa.ipc.open_stream(answer.payload) as stream:
        return list(stream)


async def test_an_etl_runs_over_all_training_rows_and_is_ready_to_be_pinned(extraction, realtime, repository):
    stream = await extract(extraction, realtime, repository.source)
    assert stream.head.schema == pa.schema([("user_id", pa.int64()), ("more", pa.float64())])
    assert stream.head.version == await realtime.version()
    assert stream.undecided == ()
    found = (await read(stream)).sort_by("more")
    assert found["user_id"].to_pylist() == [1, 1, 3, 2]
    assert found["more"].to_pylist()[:3] == [1.5, 2.5, 5.0]
    assert stream.script.blob_sha256 == hashlib.sha256(ADD_ONE.encode()).hexdigest()
    assert stream.script.provenance.path == "etl.py"
    assert len(stream.script.provenance.commit) == 40
    assert {"python", "pandas", "pyarrow"} <= stream.script.provenance.libraries.keys()


async def test_a_saved_etl_is_served_without_its_repository(extraction, realtime, repository):
    run = await saved(extraction, realtime, repository.source)
    shutil.rmtree(repository.folder)
    answer = await serve(extraction, realtime, run, 1)
    assert batches(answer)[0]["more"].to_pylist() == [1.5, 2.5]


async def test_a_script_that_is_not_cached_is_fetched_by_its_commit_and_not_by_its_branch(
    tmp_path, extraction, realtime, repository
):
    run = await saved(extraction, realtime, repository.source)
    repository.commit(ADD_ONE.replace("+ 1", "+ 1000"))
    shutil.rmtree(tmp_path / "extraction" / "blobs")
    answer = await serve(extraction, realtime, run, 3)
    assert batches(answer)[0]["more"].to_pylist() == [5.0]
    assert (tmp_path / "extraction" / "blobs" / run.script.blob_sha256).exists()


async def test_many_values_equal_so_many_singles_in_the_order_asked(extraction, realtime, repository):
    run = await saved(extraction, realtime, repository.source)
    asked = [3, 77, 1, 2, 1]
    answer = await serve(extraction, realtime, run, *asked)
    assert [key.outcome for key in answer.keys] == [
        Outcome.FOUND,
        Outcome.ABSENT,
        Outcome.FOUND,
        Outcome.FOUND,
        Outcome.FOUND,
    ]
    assert [key.row_count for key in answer.keys] == [1, 0, 2, 1, 2]
    many = batches(answer)
    for user_id, batch in zip(asked, many, strict=True):
        (single,) = batches(await serve(extraction, realtime, run, user_id))
        assert batch.schema == run.contract
        assert batch.equals(single)


async def test_the_answers_info_names_query_code_and_contract(extraction, realtime, repository):
    run = await saved(extraction, realtime, repository.source)
    info = (await serve(extraction, realtime, run, 1)).info
    assert (info.query_id, info.etl_id) == ("qry_x", "etl_x")
    assert info.blob_sha256 == run.script.blob_sha256
    assert info.contract_sha256 == schema_sha256(run.contract)
    assert info.data_version == await realtime.version()


async def test_features_can_be_had_as_typed_rows(extraction, realtime, repository):
    run = await saved(extraction, realtime, repository.source)
    answer = await serve(extraction, realtime, run, 1, 77, 3, answer_format=AnswerFormat.ROWS)
    assert answer.format is AnswerFormat.ROWS
    rows = common_pb2.RowSet.FromString(answer.payload)
    assert [column.name for column in rows.columns] == ["user_id", "more"]
    assert [key.row_count for key in answer.keys] == [2, 0, 1]
    assert len(rows.rows) == 3


async def test_a_key_whose_rows_the_etl_drops_is_found_with_no_rows(extraction, realtime, repository):
    repository.commit(
        ADD_ONE.replace('frame[["user_id", "more"]]', 'frame[frame["user_id"] > 1][["user_id", "more"]]')
    )
    run = await saved(extraction, realtime, repository.source)
    answer = await serve(extraction, realtime, run, 1, 3)
    assert [(key.outcome, key.row_count) for key in answer.keys] == [(Outcome.FOUND, 0), (Outcome.FOUND, 1)]


async def test_an_answer_that_breaks_the_contract_is_an_error_that_names_the_column(
    extraction, realtime, repository
):
    repository.commit(
        ADD_ONE.replace(
            "return frame[",
            'frame["more"] = "x" if len(frame) == 1 else frame["more"]\n        return frame[',
        )
    )
    run = await saved(extraction, realtime, repository.source)
    assert (await serve(extraction, realtime, run, 1)).keys[0].row_count == 2
    with pytest.raises(FailedPrecondition) as broken:
        await serve(extraction, realtime, run, 3)
    assert broken.value.reason == "CONTRACT_BROKEN"
    assert "more" in str(broken.value)


async def test_features_that_are_too_large_for_many_keys_name_a_count_that_fits(
    extraction, realtime, repository
):
    repository.commit(ADD_ONE.replace('frame["amount"] + 1', '"x" * 1_500_000'))
    run = await saved(extraction, realtime, repository.source)
    with pytest.raises(ResourceExhausted) as large:
        await serve(extraction, realtime, run, 1, 2, 3)
    assert large.value.reason == "ANSWER_TOO_LARGE"
    assert 1 <= int(large.value.details["fits"]) < 3
    assert (await serve(extraction, realtime, run, 3)).keys[0].row_count == 1


async def test_a_local_script_runs_as_it_is_and_must_be_committed_to_be_saved(
    extraction, realtime, repository
):
    repository.script.write_text(ADD_ONE.replace("+ 1", "+ 10"))
    stream = await extract(extraction, realtime, repository.local, pin=False)
    assert stream.script is None
    assert 10.5 in (await read(stream))["more"].to_pylist()
    with pytest.raises(FailedPrecondition) as refused:
        await extract(extraction, realtime, repository.local, pin=True)
    assert refused.value.reason == "ETL_NOT_COMMITTED"
    repository.commit(ADD_ONE)
    stream = await extract(extraction, realtime, repository.local, pin=True)
    assert stream.script.blob_sha256 == hashlib.sha256(ADD_ONE.encode()).hexdigest()
    assert stream.script.provenance.path == "etl.py"


async def test_a_file_scheme_that_is_not_allowed_is_refused(tmp_path, realtime, repository):
    async with ExtractionService(tmp_path / "strict", realtime) as strict:
        for source in (repository.source, repository.local):
            with pytest.raises(PermissionDenied) as refused:
                await extract(strict, realtime, source)
            assert refused.value.reason == "GIT_SCHEME"


async def test_a_result_whose_types_the_rows_do_not_decide_runs_but_is_not_saved(
    extraction, realtime, repository
):
    repository.commit(ADD_ONE.replace('frame["amount"] + 1', "None"))
    stream = await extract(extraction, realtime, repository.source, pin=False)
    assert stream.undecided == ("more",)
    with pytest.raises(FailedPrecondition) as refused:
        await extract(extraction, realtime, repository.source, pin=True)
    assert refused.value.reason == "CONTRACT_UNDECIDED"
    assert "more" in str(refused.value)


async def test_a_saved_etl_over_training_rows_is_held_to_its_contract(extraction, realtime, repository):
    run = await saved(extraction, realtime, repository.source)
    stream = await extract(extraction, realtime, run, pin=False)
    assert stream.head.schema == run.contract
    assert (await read(stream)).num_rows == 4
    other = EtlRun(
        run.etl_id, run.query_id, run.script, run.input_columns, pa.schema([("more", pa.float64())])
    )
    with pytest.raises(FailedPrecondition) as broken:
        await extract(extraction, realtime, other, pin=False)
    assert broken.value.reason == "CONTRACT_BROKEN"


async def test_training_rows_over_the_limit_are_refused(tmp_path, realtime, repository):
    async with ExtractionService(tmp_path / "small", realtime, git=FILE_TOO, etl_input_bytes=10) as small:
        with pytest.raises(ResourceExhausted) as refused:
            await extract(small, realtime, repository.source)
        assert refused.value.reason == "ETL_INPUT"


async def test_a_script_that_never_ends_is_stopped_in_serving_and_in_training(tmp_path, realtime, repository):
    repository.commit(ADD_ONE.replace("return", "while len(frame) < 2: pass\n        return"))
    limits = WorkerLimits(serving_seconds=0.5)
    async with ExtractionService(tmp_path / "short", realtime, git=FILE_TOO, workers=limits) as short:
        run = await saved(short, realtime, repository.source)
        assert (await serve(short, realtime, run, 1)).keys[0].row_count == 2
        with pytest.raises(DeadlineExceeded) as late:
            await serve(short, realtime, run, 3)
        assert late.value.reason == "ETL_TIMEOUT"
        with deadline.within(3), pytest.raises(DeadlineExceeded) as late:
            await extract(
                short, realtime, repository.source, sql="SELECT 3::BIGINT AS user_id, 1.0::DOUBLE AS amount"
            )
        assert late.value.reason in {"ETL_TIMEOUT", "DEADLINE"}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (EtlSource(), "ETL_SOURCE"),
        (EtlSource(address="git+https://host/x#y.py", local_path="/x", text=""), "ETL_SOURCE"),
        (EtlSource(address="git+https://host/repo.git"), "ETL_ADDRESS"),
    ],
)
async def test_a_source_that_names_no_script_is_refused(extraction, realtime, source, reason):
    with pytest.raises(InvalidArgument) as refused:
        await extract(extraction, realtime, source)
    assert refused.value.reason == reason
