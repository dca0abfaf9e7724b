"""Third-party packages in ETL scripts: which may be imported, what is said of the others, whose versions are recorded."""

from dataclasses import replace
from importlib import metadata

import pytest

from featurestore.etl.packages import NotInstalled, allowed
from featurestore.host import settings
from featurestore.model.errors import InvalidArgument
from services.extraction.worker_types import EtlModule, Sandbox
from services.extraction.workers import WorkerPool
from tests.support.peer_calls import ETL, PROVENANCE
from tests.support.worker_scripts import LIMITS, code, etl, refused, train

SETTING = "FEATURESTORE__EXTRACTION__ETL_PACKAGES"


@pytest.fixture(scope="module")
async def listing():
    """Workers whose setting lists two packages, in spellings of its own; what rich requires comes with it."""
    async with WorkerPool(replace(LIMITS, packages=("pyyaml", "Rich"))) as workers:
        yield workers


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (code("import pandas\nimport yaml\n"), "2"),
        (etl("import yaml", "return self.df"), "5"),
        (etl("from yaml.nodes import Node", "return self.df"), "5"),
        (etl("import importlib", "importlib.import_module('yaml')"), "6"),
    ],
    ids=["at the top", "late", "a part of it", "by its name"],
)
async def test_an_installed_package_that_is_not_listed_is_named_with_its_line_and_the_setting(
    pool, script, line
):
    error = await refused(pool, script)
    assert error.reason == "ETL_SOURCE"
    assert (error.details["line"], error.details["path"]) == (line, "features/etl.py")
    assert (error.details["package"], error.details["setting"]) == ("PyYAML", SETTING)
    assert f"add PyYAML to {SETTING}" in error.message


async def test_a_plain_process_refuses_it_too():
    async with WorkerPool(LIMITS, Sandbox.UNSAFE) as plain:
        assert (await refused(plain, etl("import yaml"))).details["package"] == "PyYAML"


async def test_to_a_script_what_is_not_listed_is_not_installed(pool):
    script = etl(
        "from importlib.util import find_spec",
        "try: import yaml",
        "except ImportError: yaml = None",
        "self.df['there'] = yaml is not None or find_spec('scipy') is not None",
        "return self.df",
    )
    result = await train(pool, script)
    assert result.tables[0]["there"].to_pylist() == [False] * 4


async def test_what_is_not_installed_at_all_is_the_scripts_own_mistake(pool):
    assert (await refused(pool, etl("import no_such_library"))).reason == "ETL_EXCEPTION"


async def test_libraries_do_not_find_it_either(pool):
    error = await refused(
        pool, etl("return self.df[['failed']].astype(float).interpolate('cubic')")
    )  # by scipy, if it is there
    assert (error.reason, error.details["type"]) == ("ETL_EXCEPTION", "ImportError")


async def test_a_listed_package_and_what_it_requires_are_imported_and_their_versions_recorded(listing):
    libraries = (await train(listing, etl("import rich.markdown", "return self.df"))).libraries
    assert {"rich", "markdown-it-py", "pygments", "pandas", "python"} <= {name.lower() for name in libraries}
    assert libraries["rich"] == metadata.version("rich")


async def test_only_what_was_imported_is_recorded(listing):
    libraries = (await train(listing, etl("return self.df"))).libraries
    assert set(libraries) == {"python", "pandas", "pyarrow", "numpy"}
    libraries = (await train(listing, etl("import yaml", "return self.df"))).libraries
    assert libraries["PyYAML"] == metadata.version("pyyaml")
    assert "rich" not in libraries


async def test_a_basic_package_that_was_loaded_before_the_script_is_recorded_where_the_script_names_it(pool):
    libraries = (await train(pool, etl("import dateutil.relativedelta", "return self.df"))).libraries
    assert libraries["python-dateutil"] == metadata.version("python-dateutil")


async def test_it_is_where_a_file_beside_the_script_names_it_too(pool):
    helpers = EtlModule.of("helpers.py", "import dateutil.relativedelta\n")
    script = replace(etl("import helpers", "return self.df"), modules=(helpers,))
    assert (await train(pool, script)).libraries["python-dateutil"] == metadata.version("python-dateutil")


async def test_a_worker_can_not_make_up_a_version(listing):
    lie = {"imported": ["yaml", "no_such", "yaml 9"]}
    assert listing._versions(lie) == {"PyYAML": metadata.version("pyyaml")}


def test_a_listed_package_that_is_not_installed_is_named():
    with pytest.raises(NotInstalled, match="no-such-package is not installed"):
        allowed(("no-such-package",))


def test_a_setting_that_lists_it_stops_the_service_from_starting(monkeypatch):
    monkeypatch.setenv(SETTING, "pyyaml, no-such-package")
    with pytest.raises(InvalidArgument, match="no-such-package is not installed") as refused:
        settings.read()
    assert refused.value.details["setting"] == SETTING


def test_the_libraries_of_the_last_save_are_those_that_serving_is_held_against():
    later = replace(PROVENANCE, commit="1" * 40, libraries={"pandas": "4"})
    script = replace(ETL, provenances=(PROVENANCE, later)).script
    assert script.provenance == replace(PROVENANCE, libraries={"pandas": "4"})
