"""What scripts declare of themselves: told without rows, told with results, and refused by line where it can't be."""

import hashlib

import pyarrow as pa
import pytest

from featurestore.etl.declarations import Declarations
from featurestore.model.errors import FailedPrecondition
from services.extraction import checking
from services.extraction.worker_protocol import BadReply
from services.extraction.worker_types import EtlCode, Sandbox, WorkerLimits
from services.extraction.workers import WorkerPool

ROWS = pa.table({"x": [1]})


@pytest.fixture(scope="module", params=[Sandbox.SEALED, Sandbox.UNSAFE])
async def pool(request):
    async with WorkerPool(WorkerLimits(workers=2), request.param) as pool:
        yield pool


def etl(*attributes, extract="return self.df"):
    lines = [
        "from etl_abc import AbstractEtl",
        "class Etl(AbstractEtl):",
        *(f"    {each}" for each in attributes),
    ]
    source = "\n".join([*lines, "    def extract(self):", f"        {extract}", ""])
    return EtlCode(source, "etl.py", hashlib.sha256(source.encode()).hexdigest())


async def test_an_etl_that_says_nothing_of_itself_works_on_frames_and_is_not_pure(pool):
    assert await pool.declared(etl()) == Declarations("frame", pure=False, kind="pandas")


@pytest.mark.parametrize("granularity", ["rows", "key", "frame"])
async def test_what_a_script_declares_is_told_without_a_row(pool, granularity):
    script = etl(f"granularity = {granularity!r}", "pure = True", extract="raise RuntimeError")
    assert await pool.declared(script) == Declarations(granularity, pure=True)


async def test_what_a_script_declares_is_told_with_its_result(pool):
    script = etl("granularity = 'rows'")
    result = await pool.run(script, [ROWS], input_schema=ROWS.schema, contract=None, deadline_seconds=30)
    assert result.declared == Declarations("rows") == await pool.declared(script)


async def test_a_script_that_says_something_else_each_time_is_held_to_its_first_word():
    script = etl(
        "granularity = __import__('random').choice(['rows', 'key'])",
        extract="return self.df.assign(said=self.granularity)",
    )
    async with WorkerPool(WorkerLimits(calls_per_worker=1)) as forgetful:
        first, said = await forgetful.declared(script), set()
        for _ in range(40):
            result = await forgetful.run(
                script, [ROWS], input_schema=ROWS.schema, contract=None, deadline_seconds=30
            )
            assert result.declared == first
            said.update(result.tables[0]["said"].to_pylist())
            if said == {"rows", "key"}:
                break
        assert said == {"rows", "key"}


async def test_asking_again_starts_no_worker():
    async with WorkerPool(WorkerLimits(workers=2)) as fresh:
        await fresh.declared(etl())
        await fresh.close()
        assert await fresh.declared(etl()) == Declarations()


@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        ("granularity = 'column'", 'granularity must be "rows", "key" or "frame"'),
        ("granularity: str = ['rows']", 'granularity must be "rows", "key" or "frame"'),
        ("pure = 1", "pure must be True or False"),
        ("output_types = 'int64'", "output_types must be a dict"),
        ("output_types = {1: 'int64'}", "names of columns"),
        ("output_types = {'a': 'int65'}", "output_types['a']"),
    ],
)
async def test_a_declaration_that_can_not_be_is_refused_with_its_line(pool, attribute, says):
    with pytest.raises(FailedPrecondition) as caught:
        await pool.declared(etl("note = 'a line more'", attribute))
    assert caught.value.reason == "ETL_SOURCE"
    assert caught.value.details["line"] == "4"
    assert says in caught.value.message
    assert "at line 4 of etl.py" in caught.value.message


@pytest.mark.parametrize(
    "forged",
    [
        None,
        [],
        {},
        {"granularity": "rows", "pure": True},
        {"granularity": "rows", "pure": 1, "kind": "pandas"},
        {"granularity": "all", "pure": True, "kind": "pandas"},
        {"granularity": "rows", "pure": True, "kind": "spark"},
        {"granularity": "rows", "pure": True, "kind": "pandas", "more": 1},
    ],
)
def test_forged_declarations_are_a_bad_reply(forged):
    with pytest.raises(BadReply):
        checking.declarations(forged)


def test_declarations_survive_the_wire():
    for declared in (Declarations(), Declarations("key", pure=True, kind="sql")):
        assert checking.declarations(declared.as_dict()) == declared
