"""Files beside a script in a real worker: imported from memory, the pinned ones, with errors in their own lines."""

import hashlib

import pyarrow as pa
import pytest

from featurestore.model.errors import FailedPrecondition, PermissionDenied
from services.extraction.worker_types import EtlCode, EtlModule, Sandbox
from services.extraction.workers import WorkerPool

ROWS = pa.table({"n": [1, 2, 3]})
SECONDS = 60


@pytest.fixture(scope="module")
async def pool():
    async with WorkerPool() as made:
        yield made


def code(head, body, files):
    """A script whose `extract` returns `body` as column `x`, with files beside it: path -> text."""
    source = (
        f"import pandas as pd\nfrom etl_abc import AbstractEtl\n{head}\n"
        f"class Etl(AbstractEtl):\n    def extract(self):\n        return pd.DataFrame({{'x': {body}}})\n"
    )
    modules = tuple(EtlModule.of(path, text) for path, text in files.items())
    return EtlCode(source, "team/etl.py", hashlib.sha256(source.encode()).hexdigest(), modules=modules)


async def column(pool, script):
    result = await pool.run(script, [ROWS], input_schema=ROWS.schema, contract=None, deadline_seconds=SECONDS)
    return result.tables[0]["x"].to_pylist()


async def refused(pool, script, error=FailedPrecondition):
    with pytest.raises(error) as raised:
        await column(pool, script)
    return raised.value


async def test_every_way_to_import_a_file_beside_or_below_works(pool):
    script = code(
        "import helpers\nfrom features import ages, SIX\nimport features.deep.er as er\nfrom loose import thing\n",
        "[helpers.ONE, ages.two(), er.THREE, ages.FOUR, thing.FIVE, SIX]",
        {
            "helpers.py": "ONE = 1",
            "features/__init__.py": "from .ages import SIX",
            "features/ages.py": "import helpers\nfrom . import four\nFOUR = four.FOUR\nSIX = 6\n\ndef two():\n    return helpers.ONE * 2",
            "features/four.py": "FOUR = 4",
            "features/deep/__init__.py": "",
            "features/deep/er.py": "from ..ages import two\nTHREE = two() + 1",
            "loose/thing.py": "FIVE = 5",
        },
    )
    assert await column(pool, script) == [1, 2, 3, 4, 5, 6]


async def test_a_plain_worker_imports_them_in_the_same_way():
    async with WorkerPool(None, Sandbox.UNSAFE) as plain:
        script = code("from features import ages", "[ages.V]", {"features/ages.py": "V = 7"})
        assert await column(plain, script) == [7]


async def test_what_classes_and_inspection_look_up_is_there(pool):
    helpers = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n@dataclass\nclass Point:\n    x: str\n\n"
        "def one():\n    return 1\n"
    )
    shown = "[helpers.Point('1').x, helpers.__file__, sys.modules['helpers'].__name__, inspect.getsource(helpers.one)]"
    found = await column(pool, code("import inspect, sys\nimport helpers", shown, {"helpers.py": helpers}))
    assert found == ["1", "team/helpers.py", "helpers", "def one():\n    return 1\n"]


async def test_another_text_beside_the_same_script_is_other_code_even_while_the_first_is_warm(pool):
    for value in (1, 2, 1, 3, 2):
        script = code("import helpers", "[helpers.ONE]", {"helpers.py": f"ONE = {value}"})
        assert await column(pool, script) == [value]


@pytest.mark.parametrize(
    ("head", "body", "files", "reason", "path", "line"),
    [
        (
            "import helpers",
            "helpers.f(self.df)",
            {"helpers.py": "\n\ndef f(df):\n    return df['nothing']\n"},
            "ETL_EXCEPTION",
            "team/helpers.py",
            4,
        ),
        (
            "import helpers\ndef boom(x):\n    raise KeyError(x)",
            "helpers.f(boom)",
            {"helpers.py": "def f(g):\n    return [g(1)]\n"},
            "ETL_EXCEPTION",
            "team/etl.py",
            5,
        ),
        ("import helpers", "[1]", {"helpers.py": "x = 1\ndef def\n"}, "ETL_SOURCE", "team/helpers.py", 2),
        ("import p.a", "[1]", {"p/a.py": "\nimport others"}, "ETL_EXCEPTION", "team/p/a.py", 2),
        ("import p.a", "[1]", {"p/a.py": "\nimport yaml"}, "ETL_SOURCE", "team/p/a.py", 2),
        ("from . import a", "[1]", {"a.py": ""}, "ETL_EXCEPTION", "team/etl.py", 3),
        ("import p.a", "[1]", {"p/a.py": "from .. import b", "b.py": ""}, "ETL_EXCEPTION", "team/p/a.py", 1),
    ],
    ids=[
        "raises",
        "is called back",
        "is no Python",
        "imports what is missing",
        "imports what is not listed",
        "script in a package",
        "too far up",
    ],
)
async def test_what_goes_wrong_is_told_with_the_file_and_line_where_it_does(
    pool, head, body, files, reason, path, line
):
    with pytest.raises(FailedPrecondition) as refused:
        await column(pool, code(head, body, files))
    assert (refused.value.reason, refused.value.details["path"], refused.value.details["line"]) == (
        reason,
        path,
        str(line),
    )
    assert f"line {line}" in refused.value.message
    assert path in refused.value.message


async def test_a_neighbour_is_sealed_as_its_script_is(pool):
    with pytest.raises(PermissionDenied) as refused:
        await column(pool, code("import helpers", "[1]", {"helpers.py": "\nopen('/etc/passwd')\n"}))
    assert (refused.value.reason, refused.value.details["path"], refused.value.details["line"]) == (
        "ETL_SANDBOX",
        "team/helpers.py",
        "2",
    )
