"""ETL scripts in worker processes: what they get, what they may return, and what stops them."""

import asyncio
import hashlib
import json
import os
import signal
import sys
import textwrap
import time

import pyarrow as pa
import pytest

from featurestore.model.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from services.extraction.worker_types import EtlCode, Sandbox, WorkerLimits
from services.extraction.workers import WorkerPool
from tests.support.descendants import busy_grandchild, children, descendants, descriptors, gone

SCHEMA = pa.schema(
    [
        ("user_id", pa.int64()),
        ("created", pa.timestamp("us")),
        ("bound", pa.timestamp("us")),
        ("failed", pa.int64()),
    ]
)
DAY = 86_400_000_000
ROWS = pa.table(
    {
        "user_id": [1, 1, 2, 3],
        "created": pa.array([0, DAY, 2 * DAY, 3 * DAY], pa.timestamp("us")),
        "bound": pa.array([DAY, None, 3 * DAY, None], pa.timestamp("us")),
        "failed": pa.array([2, None, 0, None], pa.int64()),
    },
    schema=SCHEMA,
)
BINDING = """
    from etl_abc import AbstractEtl

    class Etl(AbstractEtl):
        def extract(self):
            frame = self.df
            frame["creation_to_binding"] = frame["bound"] - frame["created"]
            frame["failed_twice"] = frame["failed"] * 2
            return frame[["user_id", "failed_twice", "creation_to_binding"]]
"""
CONTRACT = pa.schema(
    [("user_id", pa.int64()), ("failed_twice", pa.int64()), ("creation_to_binding", pa.duration("us"))]
)
LIMITS = WorkerLimits(workers=3, workers_per_etl=2, output_bytes=400 * 2**20)


def code(body, path="features/etl.py", class_name="Etl"):
    source = textwrap.dedent(body)
    return EtlCode(source, path, hashlib.sha256(source.encode()).hexdigest(), class_name)


def etl(*lines):
    """A script whose extract() consists of these lines; the first of them is line 5."""
    head = "import numpy as np, pandas as pd\nfrom featurestore.etl import AbstractEtl\n"
    body = "".join(f"        {line}\n" for line in lines)
    return code(f"{head}class Etl(AbstractEtl):\n    def extract(self):\n{body}")


ENDLESS = etl("while True: pass")


@pytest.fixture(scope="session")
async def pool():
    async with WorkerPool(LIMITS) as pool:
        yield pool


async def train(pool, script, table=ROWS, deadline_seconds=60):
    return await pool.run(
        script, [table], input_schema=table.schema, contract=None, deadline_seconds=deadline_seconds
    )


async def serve(pool, script, batches, contract=CONTRACT, deadline_seconds=60):
    return await pool.run(
        script, batches, input_schema=SCHEMA, contract=contract, deadline_seconds=deadline_seconds
    )


async def test_training_runs_the_script_once_over_all_rows(pool):
    result = await train(pool, code(BINDING))
    assert result.schema == CONTRACT
    assert result.undecided == ()
    assert result.tables[0]["failed_twice"].to_pylist() == [4, None, 0, None]
    assert {"python", "pandas", "pyarrow"} <= set(result.libraries)


async def test_a_lone_null_keeps_its_integer_type(pool):
    served = await serve(pool, code(BINDING), [ROWS.slice(3, 1)])
    assert served.tables[0].schema == CONTRACT
    assert served.tables[0].to_pylist() == [{"user_id": 3, "failed_twice": None, "creation_to_binding": None}]


async def test_many_keys_in_one_request_equal_so_many_single_requests(pool):
    keys = [ROWS.slice(0, 2), ROWS.slice(0, 0), ROWS.slice(2, 1), ROWS.slice(3, 1), ROWS.slice(0, 2)]
    together = await serve(pool, code(BINDING), keys)
    singles = [await serve(pool, code(BINDING), [key]) for key in keys]
    assert together.tables == [single.tables[0] for single in singles]
    assert [table.num_rows for table in together.tables] == [2, 0, 1, 1, 2]


async def test_record_batches_are_taken_as_well_as_tables(pool):
    from_batch = await serve(pool, code(BINDING), ROWS.to_batches())
    assert from_batch.tables == (await serve(pool, code(BINDING), [ROWS])).tables


async def test_a_key_without_rows_is_not_run_and_has_the_contracts_schema(pool):
    result = await serve(pool, etl("raise RuntimeError"), [ROWS.slice(0, 0)])
    assert result.tables == [CONTRACT.empty_table()]


async def test_what_a_script_prints_does_not_reach_the_wire(pool):
    script = etl(
        "import os, sys",
        "print('x' * 200_000, flush=True); os.write(1, b'y' * 1000); sys.stdout.buffer.write(b'z')",
        "assert sys.stdin.read() == ''",
        "return self.df",
    )
    assert (await train(pool, script)).tables[0].num_rows == 4


async def test_a_script_sees_no_environment_and_no_descriptors_of_ours(monkeypatch):
    monkeypatch.setenv("FEATURESTORE_TEST_VALUE", "hush")
    script = etl(
        "import os, stat, sys",
        "kinds = []",
        "for number in range(64):",
        "    try: kinds.append('socket' if stat.S_ISSOCK(os.fstat(number).st_mode) else 'file')",
        "    except OSError: pass",
        "return pd.DataFrame({'environment': [' '.join(os.environ)], 'session': [os.getsid(0)],",
        "    'open': [' '.join(kinds)], 'loaded': [' '.join(sys.modules)]})",
    )
    async with WorkerPool(LIMITS) as fresh:
        seen = (await train(fresh, script)).tables[0].to_pylist()[0]
    assert "FEATURESTORE_TEST_VALUE" not in seen["environment"]
    assert (
        seen["open"] == "file file file socket file file"
    )  # nothing thrice, the wire, what it reads and writes
    assert seen["session"] != os.getsid(0)
    assert not {"grpc", "google.protobuf", "pydantic"} & set(seen["loaded"].split())


async def test_results_of_hundreds_of_megabytes_pass_through(pool):
    rows = 6_000_000
    big = pa.table({"x": pa.array(range(rows)), "y": pa.nulls(rows, pa.float64())})
    result = await train(pool, etl("self.df['z'] = self.df['x'] + 1", "return self.df"), big, 120)
    assert result.tables[0].nbytes > 130 * 2**20
    assert result.tables[0]["z"][-1].as_py() == rows


async def test_the_loop_stays_free_while_a_script_works(pool):
    slow = asyncio.create_task(train(pool, etl("import time; time.sleep(0.5)", "return self.df")))
    ticks = 0
    while not slow.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 10
    await slow


# What a script may do wrong


async def refused(pool, script, kind=FailedPrecondition, *, contract=None, table=ROWS, deadline_seconds=60):
    with pytest.raises(kind) as caught:
        await pool.run(
            script, [table], input_schema=table.schema, contract=contract, deadline_seconds=deadline_seconds
        )
    return caught.value


async def test_an_exception_is_named_with_type_and_line_in_the_users_file(pool):
    error = await refused(pool, etl("frame = self.df", "frame['nothing']", "return frame"))
    assert error.reason == "ETL_EXCEPTION"
    assert error.details["type"] == "KeyError"
    assert error.details["line"] == "6"
    assert error.details["path"] == "features/etl.py"
    assert "nothing" in error.details["exception"]
    assert "nothing" not in error.message


async def test_a_script_that_exits_has_raised(pool):
    error = await refused(pool, etl("raise SystemExit(3)"))
    assert (error.reason, error.details["type"]) == ("ETL_EXCEPTION", "SystemExit")


async def test_the_next_call_works_after_an_exception_of_the_script(pool):
    script = etl("if self.df['user_id'].iloc[0] == 3: raise ValueError", "return self.df")
    await refused(pool, script, contract=SCHEMA, table=ROWS.slice(3, 1))
    result = await serve(pool, script, [ROWS.slice(0, 1)], SCHEMA)
    assert result.tables[0].num_rows == 1


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("x = 1\nclass Etl(:\n", "2", "not Python"),
        ("x = 1\n", "1", "no class Etl"),
        (
            "\nclass Etl:\n    def extract(self):\n        return 1\n",
            "2",
            "no subclass of an ETL's base class: AbstractEtl, ArrowEtl",
        ),
        ("from etl_abc import AbstractEtl\nclass Etl(AbstractEtl):\n    pass\n", "2", "no extract()"),
        (
            "from etl_abc import AbstractEtl\nclass Etl(AbstractEtl):\n    def extract(self): ...\n    output_types = {'a': 'x'}\n",
            "4",
            "output_types['a']",
        ),
    ],
)
async def test_a_script_without_a_usable_class_says_where(pool, source, line, says):
    error = await refused(pool, code(source))
    assert error.reason == "ETL_SOURCE"
    assert error.details["line"] == line
    assert says in error.message


async def test_a_module_that_raises_when_it_is_loaded_is_named_by_line(pool):
    error = await refused(pool, code("import pandas\nimport no_such_library\n"))
    assert error.reason == "ETL_EXCEPTION"
    assert (error.details["type"], error.details["line"]) == ("ModuleNotFoundError", "2")


@pytest.mark.parametrize(("returned", "found"), [("None", "NoneType"), ("self.df['user_id']", "Series")])
async def test_a_result_that_is_no_frame_is_refused(pool, returned, found):
    error = await refused(pool, etl(f"return {returned}"))
    assert (error.reason, error.details["type"]) == ("ETL_NO_FRAME", found)


async def test_an_output_column_without_an_arrow_type_is_named(pool):
    error = await refused(pool, etl("self.df['odd'] = [object()] * 4", "return self.df"))
    assert (error.reason, error.details["column"]) == ("ETL_OUTPUT_TYPE", "odd")


async def test_an_input_column_without_a_place_in_a_frame_is_named(pool):
    table = pa.table({"when": pa.nulls(1, pa.month_day_nano_interval())})
    error = await refused(pool, etl("return self.df"), table=table)
    assert (error.reason, error.details["column"]) == ("ETL_INPUT_TYPE", "when")


async def test_a_broken_contract_lists_every_column(pool):
    script = etl("return self.df.assign(failed=0.5, more='x').drop(columns='created')")
    error = await refused(pool, script, contract=SCHEMA)
    assert error.reason == "CONTRACT_BROKEN"
    assert set(json.loads(error.details["columns"])) == {"failed", "created", "more"}
    kinds = {each["column"]: each["kind"] for each in json.loads(error.details["differences"])}
    assert kinds == {"failed": "type", "created": "missing", "more": "unexpected"}
    assert all(name in error.message for name in kinds)


async def test_columns_in_another_order_break_the_contract(pool):
    error = await refused(pool, etl("return self.df[self.df.columns[::-1]]"), contract=SCHEMA)
    assert error.reason == "CONTRACT_BROKEN"
    assert "position 4, the contract says 1" in error.message


async def test_the_failing_batch_is_numbered(pool):
    script = etl("if self.df['user_id'].iloc[0] == 3: raise ValueError", "return self.df")
    with pytest.raises(FailedPrecondition) as caught:
        await serve(pool, script, [ROWS.slice(0, 1), ROWS.slice(3, 1)], SCHEMA)
    assert caught.value.details["batch"] == "1"


async def test_undecided_columns_are_reported_and_declared_ones_are_not(pool):
    script = etl("self.df['a'] = None", "self.df['b'] = None", "return self.df")
    assert (await train(pool, script)).undecided == ("a", "b")
    declared = "    output_types = {'a': 'list<double>'}\n    def extract"
    result = await train(pool, code(script.source.replace("    def extract", declared)))
    assert result.undecided == ("b",)
    assert result.schema.field("a").type == pa.list_(pa.float64())


async def test_training_without_rows_runs_and_decides_nothing(pool):
    result = await train(pool, code(BINDING), ROWS.slice(0, 0))
    assert result.undecided == tuple(CONTRACT.names)


async def test_an_output_over_the_limit_is_refused(pool):
    error = await refused(pool, etl("return pd.DataFrame({'x': np.zeros(60_000_000)})"), ResourceExhausted)
    assert error.reason == "ETL_OUTPUT"


# Deadlines and crashes


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


# Where somebody insists: plain processes


async def test_plain_processes_run_scripts_and_are_killed_and_replaced_as_sealed_ones_are():
    async with WorkerPool(LIMITS, Sandbox.UNSAFE) as plain:
        assert (await train(plain, code(BINDING))).tables[0].num_rows == 4
        assert (await serve(plain, code(BINDING), [ROWS.slice(3, 1)])).tables[0].num_rows == 1
        error = await refused(plain, etl("raise KeyError('x')"))
        assert (error.reason, error.details["line"]) == ("ETL_EXCEPTION", "5")
        error = await refused(plain, ENDLESS, DeadlineExceeded, deadline_seconds=8)
        assert error.reason == "ETL_TIMEOUT"
        error = await refused(plain, etl("import os", "os._exit(7)"), Internal)
        assert (error.reason, error.details["exit_code"]) == ("ETL_CRASH", "7")
        big = etl("return pd.DataFrame({'x': np.zeros(60_000_000)})")
        assert (await refused(plain, big, ResourceExhausted)).reason == "ETL_OUTPUT"
        assert (await train(plain, code(BINDING))).tables[0].num_rows == 4


async def test_a_refusal_by_the_system_is_the_scripts_own_exception_in_a_plain_process():
    script = etl("raise PermissionError('no')")
    async with WorkerPool(LIMITS, Sandbox.UNSAFE) as plain:
        assert (await refused(plain, script)).reason == "ETL_EXCEPTION"


async def test_a_forbidden_act_and_too_much_memory_are_named_with_the_scripts_line(pool):
    error = await refused(pool, etl("frame = self.df", "open('/etc/passwd')"), PermissionDenied)
    assert (error.reason, error.details["line"], error.details["path"]) == (
        "ETL_SANDBOX",
        "6",
        "features/etl.py",
    )
    error = await refused(pool, etl("frame = self.df", "bytearray(2**40)"), ResourceExhausted)
    assert (error.reason, error.details["line"]) == ("ETL_MEMORY", "6")
    nested = etl(f"return {'(' * 5000}1{')' * 5000}")
    assert (await refused(pool, nested)).reason == "ETL_SOURCE"


async def test_late_imports_and_threads_work_in_a_sealed_worker(pool):
    script = etl(
        "import sqlite3, xml.dom.minidom, wave, concurrent.futures",
        "from pandas.tseries.holiday import USFederalHolidayCalendar",
        "with concurrent.futures.ThreadPoolExecutor(2) as threads: doubled = list(threads.map(lambda x: 2 * x, range(4)))",
        "count = sqlite3.connect(':memory:').execute('select 42').fetchone()[0]",
        "zoned = pd.Series(pd.to_datetime(['2026-07-01'])).dt.tz_localize('Europe/Berlin')",
        "return pd.DataFrame({'doubled': doubled, 'count': count, 'hour': zoned.dt.tz_convert('UTC').dt.hour[0]})",
    )
    rows = (await train(pool, script)).tables[0].to_pylist()
    assert [row["doubled"] for row in rows] == [0, 2, 4, 6]
    assert (rows[0]["count"], rows[0]["hour"]) == (42, 22)
