"""ETL scripts in worker processes: what they get, what they may return, and what stops them."""

import asyncio
import hashlib
import json
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore.model.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    ResourceExhausted,
    Unavailable,
)
from services.extraction.worker_types import EtlCode, WorkerLimits
from services.extraction.workers import WorkerPool

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
        "import os, sys",
        "return pd.DataFrame({'environment': [' '.join(os.environ)], 'session': [os.getsid(0)],",
        "    'sockets': [sum('socket' in os.readlink(f'/proc/self/fd/{fd}') for fd in range(3, 50)",
        "                    if os.path.lexists(f'/proc/self/fd/{fd}'))],",
        "    'loaded': [' '.join(sys.modules)]})",
    )
    async with WorkerPool(LIMITS) as fresh:
        seen = (await train(fresh, script)).tables[0].to_pylist()[0]
    assert "FEATURESTORE_TEST_VALUE" not in seen["environment"]
    assert seen["sockets"] == 2  # the wire, for reading and for writing
    assert seen["session"] != os.getsid(0)
    assert not {"grpc", "duckdb", "google.protobuf", "pydantic"} & set(seen["loaded"].split())


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


async def test_a_worker_survives_the_exceptions_of_its_script(pool):
    script = etl("if self.df['user_id'].iloc[0] == 3: raise ValueError", "return self.df")
    await refused(pool, script, contract=SCHEMA, table=ROWS.slice(3, 1))
    result = await serve(pool, script, [ROWS.slice(0, 1)], SCHEMA)
    assert result.tables[0].num_rows == 1


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("x = 1\nclass Etl(:\n", "2", "not Python"),
        ("x = 1\n", "1", "no class Etl"),
        ("class Etl:\n    def extract(self):\n        return 1\n", "2", "no subclass of AbstractEtl"),
        ("from etl_abc import AbstractEtl\nclass Etl(AbstractEtl):\n    pass\n", "1", "no extract()"),
        (
            "from etl_abc import AbstractEtl\nclass Etl(AbstractEtl):\n    def extract(self): ...\n    output_types = {'a': 'x'}\n",
            "3",
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


@pytest.mark.parametrize(
    "forged",
    [
        "b'garbage' * 10",
        "wire.PREFIX.pack(5, 0) + b'[1,2]'",
        "wire.PREFIX.pack(2**31, 0)",
        "wire.PREFIX.pack(2, 2**62) + b'{}'",
        "wire.pack({'batches': [1]}, 3) + b'abc'",
        "wire.pack({'batches': [1], 'failed': {'kind': 'no such'}}, 0)",
        "wire.pack({'batches': [True]}, 0)",
        "wire.pack({}, 0)",
        "wire.pack({'batches': [1]}, len(evil)) + evil",
    ],
)
async def test_a_forged_reply_is_a_bad_result_and_the_service_goes_on(pool, forged):
    script = etl(
        "import os, struct, time, pyarrow as pa",
        "from featurestore.etl import wire",
        "text = pa.table({'x': ['ab', 'cd', 'ef']})",
        "stream = wire.encode_tables([text], text.schema)[1].to_pybytes()",
        "evil = stream.replace(struct.pack('<4i', 0, 2, 4, 6), struct.pack('<4i', 0, 2, 2**30, 6))",
        "assert evil != stream",
        "sockets = [fd for fd in range(3, 50) if os.path.lexists(f'/proc/self/fd/{fd}')",
        "           and 'socket' in os.readlink(f'/proc/self/fd/{fd}')]",
        f"os.write(sockets[0], {forged})",
        "time.sleep(60)",
    )
    error = await refused(pool, script, Internal, deadline_seconds=20)
    assert error.reason == "ETL_BAD_RESULT"
    assert (script.blob_sha256, script.path, script.class_name) not in pool._idle  # never asked again


async def gone(pid):
    """Wait until the process has ended; one that nobody collects stays as Z."""
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}").exists() and state_of(pid) != "Z":  # noqa: ASYNC110, ASYNC240 - a stranger's end
            await asyncio.sleep(0.02)


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


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


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def children():
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


async def started(pid_file):
    """The pid that a script wrote there, as soon as it is there."""
    while not (pid_file.exists() and pid_file.read_text().endswith(".")):  # noqa: ASYNC110 - another process's file
        await asyncio.sleep(0.02)
    return pid_file.read_text().rstrip(".")


def endless(pid_file):
    """A script that says who it is and never ends."""
    return etl(
        "import os",
        f"with open({str(pid_file)!r}, 'w') as file: file.write(f'{{os.getpid()}}.')",
        "while True: pass",
    )


async def test_kills_and_closing_leave_no_process_and_no_descriptor(tmp_path):
    before, families = descriptors(), children()
    async with WorkerPool(WorkerLimits(workers=2, workers_per_etl=2)) as small:
        await train(small, code(BINDING))
        for _ in range(3):
            with pytest.raises((DeadlineExceeded, Unavailable)):
                await train(small, ENDLESS, deadline_seconds=0.3)
        abandoned = asyncio.create_task(train(small, endless(tmp_path / "first")))
        await started(tmp_path / "first")
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        cut_off = asyncio.create_task(train(small, endless(tmp_path / "second")))
        await started(tmp_path / "second")
    with pytest.raises(Unavailable):
        await cut_off
    assert descriptors() <= before
    assert children() <= families


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
from services.extraction.workers import EtlCode, WorkerPool

async def main():
    table = pa.table({"x": [1]})
    async with WorkerPool() as pool:
        await pool.run(
            EtlCode(sys.argv[1], "etl.py", "0"), [table],
            input_schema=table.schema, contract=None, deadline_seconds=60,
        )

asyncio.run(main())
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a busy worker does not notice its service's end"
)
async def test_a_worker_in_an_endless_loop_dies_with_its_service(tmp_path):
    pid_file = tmp_path / "pid"
    script = endless(pid_file)
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVICE, script.source)
    pid = await started(pid_file)
    service.kill()
    await service.wait()
    await gone(pid)


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
