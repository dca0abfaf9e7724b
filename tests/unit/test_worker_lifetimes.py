"""What ends an ETL worker: deadlines, crashes, age, the pool's and the service's own end."""

import asyncio
import os
import signal
import sys
import time

import pytest

from featurestore.model.errors import (
    DeadlineExceeded,
    Internal,
    Unavailable,
)
from services.extraction.worker_types import WorkerLimits
from services.extraction.workers import WorkerPool
from tests.support.descendants import busy_grandchild, children, descendants, descriptors, gone
from tests.support.worker_scripts import (
    BINDING,
    CONTRACT,
    ENDLESS,
    LIMITS,
    ROWS,
    code,
    etl,
    refused,
    serve,
    train,
)


async def test_a_script_that_never_ends_is_killed_at_the_deadline(pool):
    await train(pool, code(BINDING))  # the spare is ready
    started = time.monotonic()
    error = await refused(pool, ENDLESS, DeadlineExceeded, deadline_seconds=2)
    assert time.monotonic() - started < 4
    assert error.reason == "ETL_TIMEOUT"
    assert (await train(pool, code(BINDING))).tables[0].num_rows == 4


@pytest.mark.parametrize(
    ("how", "says"), [("os._exit(7)", "exit code 7"), ("os.kill(os.getpid(), 11)", "signal 11")]
)
async def test_a_worker_that_crashes_is_internal_and_the_next_call_works(pool, how, says):
    error = await refused(pool, etl("import os", how), Internal)
    assert error.reason == "ETL_CRASH"
    assert says in error.message
    assert (await train(pool, code(BINDING))).tables[0].num_rows == 4


async def test_a_worker_killed_while_it_was_idle_is_replaced_unseen(pool):
    script = etl("import os", "return pd.DataFrame({'pid': [os.getpid()]})")
    pid = (await train(pool, script)).tables[0]["pid"][0].as_py()
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    await asyncio.sleep(0.05)
    assert (await train(pool, script)).tables[0]["pid"][0].as_py() != pid


async def test_one_etls_slow_calls_leave_workers_to_the_others(pool):
    slow = etl("import time; time.sleep(2)", "return self.df")
    sleeping = [asyncio.create_task(train(pool, slow)) for _ in range(3)]
    await asyncio.sleep(0.1)
    await train(pool, code(BINDING))
    assert not any(task.done() for task in sleeping[1:])
    await asyncio.gather(*sleeping)
    assert pool.workers <= LIMITS.workers


async def test_a_call_that_finds_no_free_worker_is_told_to_try_again():
    slow = etl("import time; time.sleep(1)", "return self.df")
    async with WorkerPool(WorkerLimits(workers=1, workers_per_etl=1)) as small:
        await train(small, code(BINDING))
        sleeping = asyncio.create_task(train(small, slow))
        await asyncio.sleep(0.05)
        error = await refused(small, code(BINDING), Unavailable, deadline_seconds=0.2)
        assert error.reason == "ETL_BUSY"
        await sleeping


async def test_kills_and_closing_leave_no_process_and_no_descriptor():
    before, families = descriptors(), descendants()
    async with WorkerPool(WorkerLimits(workers=2, workers_per_etl=2)) as small:
        await train(small, code(BINDING))
        for _ in range(3):
            with pytest.raises((DeadlineExceeded, Unavailable)):
                await train(small, ENDLESS, deadline_seconds=0.3)
        abandoned = asyncio.create_task(train(small, ENDLESS))
        worker = await busy_grandchild()
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        await gone(worker)
        cut_off = asyncio.create_task(train(small, ENDLESS))
        await busy_grandchild()
    with pytest.raises(Unavailable):
        await cut_off
    assert descriptors() <= before
    assert descendants() <= families


async def test_closing_does_not_wait_for_a_call_whose_worker_is_still_starting():
    async with WorkerPool(WorkerLimits(workers=2)) as small:
        early = asyncio.create_task(train(small, ENDLESS))
        await asyncio.sleep(0.05)
    with pytest.raises(Unavailable):
        await early
    with pytest.raises(Unavailable):
        await train(small, ENDLESS)


SERVICE = """
import asyncio, sys, pyarrow as pa
from services.extraction.worker_types import EtlCode
from services.extraction.workers import WorkerPool

async def main():
    table = pa.table({"x": [1]})
    async with WorkerPool() as pool:
        await pool.run(
            EtlCode(sys.argv[1], "etl.py", "0"), [table],
            input_schema=table.schema, contract=None, deadline_seconds=60,
        )

asyncio.run(main())
"""


async def test_a_worker_in_an_endless_loop_dies_with_its_service():
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVICE, ENDLESS.source)
    worker = await busy_grandchild(service.pid)
    service.kill()
    await service.wait()
    await gone(worker)


async def test_the_zygotes_death_ends_its_workers_and_another_takes_its_place():
    async with WorkerPool(WorkerLimits(workers=2)) as small:
        cut_off = asyncio.create_task(train(small, ENDLESS))
        worker = await busy_grandchild()
        zygote = next(pid for pid in descendants() if worker in children(pid))
        os.kill(zygote, signal.SIGKILL)
        with pytest.raises(Unavailable) as caught:
            await cut_off
        assert caught.value.reason == "ETL_BUSY"
        await gone(worker)
        try:
            again = await train(small, code(BINDING))
        except Unavailable:  # at this very moment it may still be given a worker of the old one
            again = await train(small, code(BINDING))
        assert again.tables[0].num_rows == 4


async def test_a_worker_makes_way_after_its_calls_and_after_any_error():
    script = etl(
        "import os",
        "if self.df['user_id'].iloc[0] == 3: raise ValueError",
        "return pd.DataFrame({'pid': [os.getpid()]})",
    )
    async with WorkerPool(WorkerLimits(calls_per_worker=2)) as small:
        pids = [(await train(small, script)).tables[0]["pid"][0].as_py() for _ in range(3)]
        assert pids[0] == pids[1] != pids[2]
        await refused(small, script, table=ROWS.slice(3, 1))
        assert (await train(small, script)).tables[0]["pid"][0].as_py() != pids[2]


async def test_a_worker_that_nobody_asks_ends():
    async with WorkerPool(WorkerLimits(idle_seconds=0.2)) as small:
        await train(small, code(BINDING))
        assert small.workers == 1
        await asyncio.sleep(0.5)
        assert small.workers == 0


async def test_two_workers_draw_different_numbers():
    script = etl("import random", "return pd.DataFrame({'x': [random.random()], 'y': [np.random.random()]})")
    async with WorkerPool(WorkerLimits(calls_per_worker=1)) as small:
        first, second = [(await train(small, script)).tables[0].to_pylist()[0] for _ in range(2)]
    assert first["x"] != second["x"]
    assert first["y"] != second["y"]


async def test_batches_of_another_schema_are_a_bug_of_the_caller(pool):
    with pytest.raises(ValueError, match="input schema"):
        await pool.run(code(BINDING), [ROWS], input_schema=CONTRACT, contract=CONTRACT, deadline_seconds=1)


async def test_a_warm_one_row_call_is_printed_with_its_cost(pool, capsys):
    script, one = code(BINDING), [ROWS.slice(0, 1)]
    times = []
    for _ in range(120):
        start = time.perf_counter()
        await serve(pool, script, one)
        times.append(time.perf_counter() - start)
    with capsys.disabled():
        sys.stdout.write(f"\n    warm one-row ETL call: p50 {sorted(times)[60] * 1e3:.2f} ms\n")
