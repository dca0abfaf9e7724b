"""Serving an ETL with other library versions than it was saved with: served all the same, and said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from featurestore.model.errors import FailedPrecondition
from featurestore.model.etl import EtlSource
from featurestore.model.serving import EtlRun, LibraryDifference
from services.extraction.etl_runs import library_differences
from services.extraction.extraction import ExtractionService
from services.extraction.worker_types import WorkerLimits
from services.realtime.realtime import RealtimeService
from tests.contract.test_extraction_etls import FILE_TOO, form_of, saved, serve
from tests.support.git_repos import GitRepo
from tests.support.realtime_rows import new_id, opened, rows_of

WITH_YAML = """
import yaml
from featurestore.etl import AbstractEtl

class Etl(AbstractEtl):
    def extract(self):
        return self.df.assign(more=yaml.safe_load("1.5"))
"""


def extracting(folder: Path, realtime: RealtimeService, *packages: str) -> ExtractionService:
    limits = WorkerLimits(serving_seconds=10, packages=packages)
    return ExtractionService(folder, realtime, git=FILE_TOO, workers=limits)


@pytest.fixture
async def realtime(tmp_path) -> AsyncIterator[RealtimeService]:
    async with opened(tmp_path / "realtime") as service:
        rows = {"user_id": [1, 2, 3], "amount": [0.5, 1.5, 2.5]}
        await service.publish(new_id(), [rows_of("events", rows)])
        yield service


@pytest.fixture
async def extraction(tmp_path, realtime) -> AsyncIterator[ExtractionService]:
    async with extracting(tmp_path / "extraction", realtime, "pyyaml") as service:
        yield service


@pytest.fixture
async def run(tmp_path, realtime, extraction) -> EtlRun:
    with GitRepo(tmp_path / "repository") as repository:
        repository.commit({"etl.py": WITH_YAML})
        return await saved(extraction, realtime, EtlSource(address=f"{repository.url}#etl.py"))


def saved_with(run: EtlRun, **versions: str | None) -> EtlRun:
    """The run, as if it had been saved with these versions; None for a library that was not imported then."""
    recorded = run.script.provenance.libraries | versions
    libraries = {name: version for name, version in recorded.items() if version is not None}
    provenance = replace(run.script.provenance, libraries=libraries)
    return replace(run, script=replace(run.script, provenance=provenance))


async def test_a_save_records_what_the_script_imported_and_serving_with_the_same_says_nothing(
    extraction, realtime, run
):
    assert {"PyYAML", "pandas", "python"} <= run.script.provenance.libraries.keys()
    answer = await serve(extraction, realtime, run, 1, 2)
    assert answer.info.library_differences == ()


async def test_serving_with_other_versions_says_which(extraction, realtime, run):
    here = run.script.provenance.libraries
    other = saved_with(run, pandas="2.0.0", PyYAML=None)
    answer = await serve(extraction, realtime, other, 1)
    assert answer.info.library_differences == (
        LibraryDifference("PyYAML", "", here["PyYAML"]),
        LibraryDifference("pandas", "2.0.0", here["pandas"]),
    )
    unknown = replace(
        run, script=replace(run.script, provenance=replace(run.script.provenance, libraries={}))
    )
    assert (await serve(extraction, realtime, unknown, 1)).info.library_differences == ()
    assert (await serve(extraction, realtime, other, 99)).info.library_differences == ()  # nothing ran


async def test_verify_says_so_too(extraction, realtime, run):
    form = await form_of(realtime)
    same = await extraction.verify("qry_x", form, run, ("user_id",), 10)
    assert (same.consistent, same.remarks) == (True, ())
    other = await extraction.verify("qry_x", form, saved_with(run, pandas="2.0.0"), ("user_id",), 10)
    assert other.consistent
    (remark,) = other.remarks
    assert f"pandas {run.script.provenance.libraries['pandas']} (saved with 2.0.0)" in remark


async def test_where_the_package_is_not_listed_any_more_serving_names_it_and_the_setting(
    tmp_path, realtime, run
):
    async with extracting(tmp_path / "bare", realtime) as bare:
        with pytest.raises(FailedPrecondition, match="ETL_PACKAGES") as refused:
            await serve(bare, realtime, run, 1)
    assert (refused.value.reason, refused.value.details["package"]) == ("ETL_SOURCE", "PyYAML")


@pytest.mark.parametrize(
    ("saved_libraries", "served", "names"),
    [
        ({"a": "1", "b": "2"}, {"a": "1", "b": "2"}, []),
        ({"a": "1", "b": "2"}, {"a": "1"}, []),
        ({"a": "1"}, {"a": "1", "b": "2"}, ["b"]),
        ({"a": "1", "b": "2"}, {"a": "2", "b": "3"}, ["a", "b"]),
        ({}, {"a": "1"}, []),
        ({"a": "1"}, {}, []),
    ],
)
def test_what_ran_is_held_against_what_was_recorded(saved_libraries, served, names):
    assert [each.name for each in library_differences(saved_libraries, served)] == names
