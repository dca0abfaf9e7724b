"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from featurestore.host import settings

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("featurestore", "services", "gateway")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "api" not in path.relative_to(ROOT).parts
]


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).exists()]


def test_no_hand_written_file_outgrows_one_room():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > 450} == {}


def test_the_settings_page_is_what_the_code_says():
    assert (ROOT / "docs" / "settings.md").read_text() == settings.page(), "run `make docs`"


def test_no_setting_ends_in_port():
    assert [name for name, _ in settings.names() if name.endswith("PORT")] == []


@pytest.mark.parametrize("module", ["pickle", "dill", "cloudpickle", "marshal", "shelve"])
def test_nothing_is_pickled(module):
    users = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(alias.name == module for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == module)
    ]
    assert users == []


def test_only_the_host_and_the_command_line_read_the_environment():
    readers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if re.search(r"os\.(environ|getenv)", path.read_text())
        and path.relative_to(ROOT).parts[1] not in {"host", "cli"}
    }
    assert readers == set()


def test_lock_files_carry_hashes_and_no_registry_address():
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links|file:", text), lock.name


def test_the_readme_s_links_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), target
