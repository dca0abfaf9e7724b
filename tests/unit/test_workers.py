"""ETL scripts in worker processes: what they get, what they may return, and what stops them."""

import asyncio
import os

import pyarrow as pa

from services.extraction.workers import WorkerPool
from tests.support.worker_scripts import (
    BINDING,
    CONTRACT,
    LIMITS,
    ROWS,
    code,
    etl,
    serve,
    train,
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
