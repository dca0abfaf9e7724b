"""Training in parts: results of any size, as one run over all rows or one per key would give them, and nothing left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore.etl.script import Script
from featurestore.model import deadline
from featurestore.model.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
)
from featurestore.model.etl import EtlSource
from featurestore.model.query import OrderTerm, QueryForm
from featurestore.model.serving import AnswerFormat, EtlRun, Keys, TrainStream
from services.extraction.extraction import ExtractionService
from services.extraction.git_transport import GitSettings
from services.extraction.warehouse import WarehouseSettings
from services.extraction.worker_types import WorkerLimits
from services.realtime.realtime import RealtimeService
from tests.support.git_repos import GitRepo
from tests.support.realtime_rows import new_id, opened, rows_of

FILE_TOO = GitSettings(schemes=frozenset({"https", "file"}))
ROWS = 9_000
BATCH = 2_048  # DuckDB makes no smaller ones
PAYMENTS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("day", pa.date32()),
        ("amount", pa.float64()),
        ("text", pa.string()),
        ("price", pa.decimal128(10, 2)),
        ("number", pa.int64()),
    ]
)
SQL = "SELECT user_id, day, amount, text, price, number FROM feature_store.payments"
IN_ORDER = f"{SQL} ORDER BY number", OrderTerm("number", descending=False, nulls_first=False)

BY_ROWS = """
from featurestore.etl import AbstractEtl

class Etl(AbstractEtl):
    granularity = "rows"

    def extract(self):
        frame = self.df
        frame["double"] = frame["amount"] * 2
        frame["length"] = frame["text"].str.len()
        frame["triple"] = [None if price is None else price * 3 for price in frame["price"]]
        return frame[frame["user_id"] != 5].drop(columns="day")
"""
BY_KEY = """
from featurestore.etl import AbstractEtl

class Etl(AbstractEtl):
    granularity = "key"

    def extract(self):
        frame = self.df
        frame["rank"] = frame["amount"].rank(method="first")
        frame["share"] = frame["amount"] / frame["amount"].sum()
        frame["before"] = frame["text"].shift()
        frame["highest"] = max((price for price in frame["price"] if price is not None), default=None)
        return frame[["user_id", "rank", "share", "before", "highest"]]
"""


def payments() -> dict[str, list[object]]:
    """Rows of 90 keys, nulls here and there; `price` is null for most of the first rows."""
    numbers = range(ROWS)
    return {
        "user_id": [None if n % 101 == 0 else n * 37 % 90 for n in numbers],
        "day": [n % 5 for n in numbers],
        "amount": [None if n % 13 == 0 else n % 97 / 8 for n in numbers],
        "text": [None if n % 17 == 0 else "x" * (n % 7) for n in numbers],
        "price": [None if n < 5_000 or n % 3 else Decimal(n) / 4 for n in numbers],
        "number": list(numbers),
    }


@pytest.fixture(scope="module")
async def realtime(tmp_path_factory) -> AsyncIterator[RealtimeService]:
    async with opened(tmp_path_factory.mktemp("realtime")) as service:
        await service.publish(new_id(), [rows_of("payments", payments(), schema=PAYMENTS)])
        yield service


def extracting(folder: Path, realtime: RealtimeService, **options) -> ExtractionService:
    limits = WorkerLimits(batch_rows=BATCH, batch_keys=40, serving_seconds=30)
    return ExtractionService(
        folder, realtime, workers=limits, git=FILE_TOO, warehouse=WarehouseSettings(open_results=1), **options
    )


@pytest.fixture(scope="module")
async def extraction(tmp_path_factory, realtime) -> AsyncIterator[ExtractionService]:
    async with extracting(tmp_path_factory.mktemp("extraction"), realtime) as service:
        yield service


def committed(folder: Path, text: str) -> EtlSource:
    """The script in a git repository of its own."""
    with GitRepo(folder / "repository") as repository:
        repository.commit({"etl.py": text})
        return EtlSource(address=f"{repository.url}#etl.py")


def script(text: str) -> EtlSource:
    return EtlSource(local_path="/etl.py", text=text)


def by(granularity: str, *lines: str, types: str = "{}") -> EtlSource:
    """A script with this body of `extract`."""
    body = "\n".join(f"        {line}" for line in lines)
    return script(
        "from decimal import Decimal\nimport pandas as pd\nfrom featurestore.etl import AbstractEtl\n\n"
        f'class Etl(AbstractEtl):\n    granularity = "{granularity}"\n    output_types = {types}\n'
        f"    def extract(self):\n        frame = self.df\n{body}\n"
    )


async def form_of(realtime, sql: str = SQL, *order: OrderTerm) -> QueryForm:
    return QueryForm(sql, await realtime.describe(sql), order)


async def extract(extraction, realtime, source, *key: str, form: QueryForm | None = None, pin=False):
    form = form or await form_of(realtime)
    return await extraction.extract_train(form, await realtime.version(), source, pin=pin, index_key=key)


async def read(stream: TrainStream) -> pa.Table:
    found: list[pa.RecordBatch] = []
    await read_into(found, stream)
    return pa.Table.from_batches(found, stream.head.schema)


async def read_into(found: list[pa.RecordBatch], stream: TrainStream) -> None:
    async with aclosing(stream.batches) as messages:
        async for each in messages:
            batch = pa.ipc.read_record_batch(pa.py_buffer(each), stream.head.schema)
            found.append(batch)


async def rows_of_query(extraction, realtime, form: QueryForm | None = None) -> pa.Table:
    return await read(await extraction.query_train(form or await form_of(realtime), await realtime.version()))


def in_process(text: str, rows: pa.Table, contract: pa.Schema | None = None) -> pa.Table:
    """What the script makes of rows, by one run in this process."""
    found, _ = Script(text, "etl.py", "Etl", {}, sealed=False).run(rows.combine_chunks(), contract)
    return found


async def test_an_etl_by_rows_gives_what_one_run_over_all_rows_gives(extraction, realtime):
    form = await form_of(realtime, *IN_ORDER)
    rows = await rows_of_query(extraction, realtime, form)
    found = await read(await extract(extraction, realtime, script(BY_ROWS), form=form))
    wanted = in_process(BY_ROWS, rows)
    assert wanted.schema.field("triple").type == pa.decimal128(38, 2)  # which the first batches don't show
    assert found.equals(wanted)
    assert found.num_rows > 4 * BATCH


async def test_an_etl_by_key_gives_what_a_loop_over_the_keys_gives_and_what_serving_gives(
    extraction, realtime, tmp_path
):
    form = await form_of(realtime, *IN_ORDER)
    source = committed(tmp_path, BY_KEY)
    stream = await extract(extraction, realtime, source, "user_id", form=form, pin=True)
    trained = await read(stream)
    rows = (await rows_of_query(extraction, realtime, form)).to_pylist()
    groups = {key: [row for row in rows if row["user_id"] == key] for key in range(90)}
    looped = [
        in_process(BY_KEY, pa.Table.from_pylist(group, PAYMENTS), stream.head.schema)
        for group in groups.values()
        if group
    ]
    assert trained.equals(pa.concat_tables(looped))
    assert {type(each) for each in trained["highest"].to_pylist()} == {Decimal, type(None)}
    run = EtlRun("etl_x", "qry_x", stream.script, form.columns, stream.head.schema)
    keys = Keys(("user_id",), tuple((key,) for key in range(90)))
    answer = await realtime.query("qry_x", form, keys, AnswerFormat.ARROW)
    served = await extraction.run_etl(run, answer, AnswerFormat.ARROW)
    assert pa.ipc.open_stream(served.payload).read_all().equals(trained)
    again = await read(await extract(extraction, realtime, run, "user_id", form=form))
    assert again.equals(trained)


async def test_a_composite_key_groups_by_all_of_its_columns_and_rows_with_a_null_in_it_are_left_out(
    extraction, realtime
):
    source = by("key", "return frame[['day', 'user_id']].head(1).assign(rows=len(frame))")
    found = await read(await extract(extraction, realtime, source, "day", "user_id"))
    rows = (await rows_of_query(extraction, realtime)).to_pandas().groupby(["day", "user_id"]).size()
    assert [(row["day"].date(), row["user_id"], row["rows"]) for row in found.to_pylist()] == [
        (day, int(user_id), count) for (day, user_id), count in rows.items()
    ]
    assert sum(found["rows"].to_pylist()) < ROWS


async def test_within_a_key_rows_stand_in_the_querys_order(extraction, realtime):
    form = await form_of(
        realtime,
        f"{SQL} WHERE amount IS NOT NULL ORDER BY amount DESC, text",
        OrderTerm("amount", descending=True, nulls_first=False),
        OrderTerm("text", descending=False, nulls_first=False),
    )
    source = by("key", "frame['at'] = range(len(frame))", "return frame[['user_id', 'amount', 'text', 'at']]")
    found = (await read(await extract(extraction, realtime, source, "user_id", form=form))).to_pylist()
    for one, other in pairwise(found):
        if one["user_id"] == other["user_id"]:
            assert sort_key(one) <= sort_key(other)
    assert found[:3] != sorted(found[:3], key=lambda row: row["amount"])


def sort_key(row: dict[str, object]) -> tuple[float, str]:
    return -float(row["amount"]), "~" if row["text"] is None else str(row["text"])  # type: ignore[arg-type] # a float


async def test_an_etl_by_key_needs_an_index_key_of_the_query(extraction, realtime):
    with pytest.raises(InvalidArgument, match="give index_key") as missing:
        await extract(extraction, realtime, script(BY_KEY))
    assert missing.value.reason == "MISSING_INDEX_KEY"
    with pytest.raises(InvalidArgument) as unknown:
        await extract(extraction, realtime, script(BY_KEY), "nobody")
    assert unknown.value.reason == "UNKNOWN_KEY_COLUMN"


async def test_more_rows_than_one_run_may_have_are_refused_naming_what_to_declare(tmp_path, realtime):
    async with extracting(tmp_path, realtime, etl_input_bytes=100_000) as service:
        with pytest.raises(ResourceExhausted, match=r'granularity = "rows".*granularity = "key"') as refused:
            await extract(service, realtime, by("frame", "return frame"))
        assert refused.value.reason == "ETL_INPUT"
        assert (await read(await extract(service, realtime, by("rows", "return frame")))).num_rows == ROWS
        by_user = await extract(service, realtime, by("key", "return frame.head(1)"), "user_id")
        assert (await read(by_user)).num_rows == 90
        form = await form_of(realtime, "SELECT 1 AS one, amount FROM feature_store.payments")
        with pytest.raises(ResourceExhausted, match="one value of the index key one has more") as one_key:
            await read(await extract(service, realtime, by("key", "return frame.head(1)"), "one", form=form))
        assert one_key.value.reason == "ETL_INPUT"


@pytest.mark.parametrize("granularity", ["rows", "key"])
async def test_a_type_that_no_row_decides_is_told_in_the_head_and_can_not_be_saved(
    extraction, realtime, tmp_path, granularity
):
    source = by(granularity, "frame['nothing'] = None", "return frame[['user_id', 'nothing']]")
    stream = await extract(extraction, realtime, source, "user_id")
    assert stream.undecided == ("nothing",)
    found = await read(stream)
    assert found.schema.field("nothing").type == pa.null()
    assert found.num_rows > 4 * BATCH - 1_000
    with pytest.raises(FailedPrecondition, match="'nothing'") as refused:
        await extract(extraction, realtime, committed(tmp_path, source.text), "user_id", pin=True)
    assert refused.value.reason == "CONTRACT_UNDECIDED"


@pytest.mark.parametrize("granularity", ["rows", "key"])
async def test_a_query_without_rows_gives_an_empty_result_whose_types_are_not_decided(
    extraction, realtime, granularity
):
    form = await form_of(realtime, f"{SQL} WHERE user_id < 0")
    source = by(granularity, "return frame[['user_id', 'text']]")
    stream = await extract(extraction, realtime, source, "user_id", form=form)
    assert stream.undecided == ("user_id", "text")
    assert (await read(stream)).equals(
        pa.schema([("user_id", pa.int64()), ("text", pa.string())]).empty_table()
    )


async def test_a_batch_of_another_type_than_the_first_is_refused_naming_the_way_out(extraction, realtime):
    late = "frame['x'] = frame['price'].isna().sum() if frame['price'].isna().all() else 0.5"
    with pytest.raises(FailedPrecondition, match=r"column 'x'.*double.*declare .* output_types") as refused:
        await read(await extract(extraction, realtime, by("rows", late, "return frame[['x']]")))
    assert refused.value.reason == "CONTRACT_BROKEN"
    declared = by("rows", late, "return frame[['x']]", types="{'x': 'double'}")
    found = await read(await extract(extraction, realtime, declared))
    assert set(found["x"].to_pylist()) == {float(BATCH), 0.5}


@pytest.mark.parametrize(
    ("made", "kind", "values"),
    [
        ("1 if frame['day'].iloc[0].day < 3 else 0.5", pa.float64(), {1.0, 0.5}),
        ("Decimal('1.5') if frame['day'].iloc[0].day < 3 else Decimal('1.25')", None, {1.5, 1.25}),
        ("'a' if frame['day'].iloc[0].day < 3 else float('nan')", pa.string(), {"a", None}),
        ("pd.NaT if frame['day'].iloc[0].day < 3 else 7", pa.int64(), {None, 7}),
    ],
)
async def test_keys_decide_a_type_together_as_one_frame_of_their_results_would(
    extraction, realtime, made, kind, values
):
    form = await form_of(realtime, f"{SQL} WHERE day IS NOT NULL")
    source = by("key", f"frame['x'] = [{made}] * len(frame)", "return frame[['x']]")
    found = await read(await extract(extraction, realtime, source, "user_id", form=form))
    assert found.schema.field("x").type == (kind or pa.decimal128(38, 2))
    assert set(found["x"].to_pylist()) == values


async def test_a_failure_in_the_middle_comes_after_the_rows_before_it(extraction, realtime):
    source = by("rows", "if not frame['price'].isna().all():", "    raise KeyError('late')", "return frame")
    stream = await extract(extraction, realtime, source)
    found = []
    with pytest.raises(FailedPrecondition, match="KeyError at line 11") as failed:
        await read_into(found, stream)
    assert failed.value.reason == "ETL_EXCEPTION"
    assert sum(batch.num_rows for batch in found) == 2 * BATCH


async def test_how_far_it_is_is_told_with_the_rows(extraction, realtime):
    await realtime.publish(new_id(), [rows_of("many", {"a": list(range(400_000))})])
    form = await form_of(realtime, "SELECT a FROM feature_store.many")
    stream = await extract(extraction, realtime, by("rows", "return frame"), form=form)
    shares = [stream.progress.done_share async for _ in stream.batches]
    assert shares == sorted(shares)
    assert shares[0] < 0.8
    assert 0.9 < shares[-1] <= 1


@pytest.mark.parametrize("read_first", [0, 1])
@pytest.mark.parametrize("granularity", ["rows", "key"])
async def test_a_closed_result_leaves_no_query_and_no_work_behind(
    extraction, realtime, granularity, read_first
):
    form = await form_of(realtime, "SELECT range // 30 AS a FROM range(3000000)")
    endless = "import time; time.sleep(1000 if frame['a'].max() > 300 else 0)"
    stream = await extract(extraction, realtime, by(granularity, endless, "return frame"), "a", form=form)
    for _ in range(read_first):
        await anext(stream.batches)
    async with asyncio.timeout(10):
        await stream.batches.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(stream.batches)
    await nothing_is_left(extraction, realtime)


async def test_a_call_that_is_cancelled_before_its_head_leaves_nothing_behind(extraction, realtime):
    source = by("rows", "import time; time.sleep(1000)", "return frame")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await extract(extraction, realtime, source)
    await nothing_is_left(extraction, realtime)


async def nothing_is_left(extraction, realtime) -> None:
    """No script runs, and the only place for a result is free."""
    assert not extraction._workers._running
    assert (await rows_of_query(extraction, realtime)).num_rows == ROWS


async def test_the_deadline_ends_the_run(extraction, realtime):
    form = await form_of(realtime, "SELECT range AS a FROM range(30000000)")
    source = by("rows", "import time; time.sleep(0.1)", "return frame")
    with deadline.within(1.5), pytest.raises(DeadlineExceeded):
        await read(await extract(extraction, realtime, source, form=form))
    await nothing_is_left(extraction, realtime)


async def test_a_slow_reader_makes_no_more_than_a_few_batches_wait(extraction, realtime):
    form = await form_of(realtime, "SELECT range AS a, range::DOUBLE AS b FROM range(500000)")
    stream = await extract(extraction, realtime, by("rows", "return frame"), form=form)
    rows, most = 0, 0
    before = pa.total_allocated_bytes()
    async with aclosing(stream.batches) as messages:
        async for message in messages:
            rows += pa.ipc.read_record_batch(pa.py_buffer(message), stream.head.schema).num_rows
            most = max(most, pa.total_allocated_bytes() - before)
            await asyncio.sleep(0.0001)
    assert rows == 500_000
    assert most < 2 * 2**20  # the result has 8 MB
