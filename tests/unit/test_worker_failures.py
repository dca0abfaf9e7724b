"""What an ETL script may do wrong, and how it is told: by name and line."""

import json

import pyarrow as pa
import pytest

from featurestore.model.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    PermissionDenied,
    ResourceExhausted,
)
from services.extraction.worker_types import Sandbox
from services.extraction.workers import WorkerPool
from tests.support.worker_scripts import (
    BINDING,
    CONTRACT,
    ENDLESS,
    LIMITS,
    ROWS,
    SCHEMA,
    code,
    etl,
    refused,
    serve,
    train,
)


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
