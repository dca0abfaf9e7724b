"""Which files beside a script it imports: the same that Python's own module finder would follow."""

from __future__ import annotations

import modulefinder
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.etl import imports
from featurestore.etl.imports import Unusable, check_names, module_of, neighbours, on_disk

ABSOLUTE = [
    "import a", "import b", "import p", "import p.a", "import p.q.c as c", "import r, p.q", "from p import a",
    "from p import *", "from p.q import c, nothing", "from r import a as x", "import json, missing",
    "def f():\n    import b", "try:\n    import r.a\nexcept ImportError:\n    pass",
]  # fmt: skip
IN_P = [*ABSOLUTE, "from . import a", "from .a import x", "from .q import c", "from .q.c import x"]
IN_P_Q = [*ABSOLUTE, "from . import c", "from .. import a", "from ..a import x", "from ..q.c import x"]
STATEMENTS = {
    "etl.py": ABSOLUTE,
    "a.py": ABSOLUTE,
    "b.py": ABSOLUTE,
    "p/__init__.py": IN_P,
    "p/a.py": IN_P,
    "p/q/__init__.py": IN_P_Q,
    "p/q/c.py": IN_P_Q,
    "r/__init__.py": ABSOLUTE,
    "r/a.py": ABSOLUTE,
}
# Two at the most, so that what is found differs; all files are there and no folder is without its __init__.py, for there
# the finder of the standard library has ways of its own.
folders = st.fixed_dictionaries(
    {
        path: st.lists(st.sampled_from(statements), max_size=2).map("\n".join)
        for path, statements in STATEMENTS.items()
    }
)


def found(source: str, **files: str) -> list[str]:
    """The neighbours among files that are given as `folder__file`."""
    there = {name.replace("__", "/") + ".py": text for name, text in files.items()}
    return sorted(neighbours(source, there.get))


@settings(max_examples=150)
@given(folders)
def test_the_files_found_are_those_that_pythons_own_finder_follows(files):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(os.path.realpath(name))
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)
        finder = modulefinder.ModuleFinder(path=[str(folder)])
        finder.run_script(str(folder / "etl.py"))
        followed = {
            Path(module.__file__).relative_to(folder).as_posix()
            for module in finder.modules.values()
            if module.__file__ and module.__name__ != "__main__"
        }
        assert neighbours(files["etl.py"], on_disk(folder / "etl.py")) == {
            path: files[path] for path in followed
        }


def test_a_folder_needs_no_init_file():
    assert found("from features import ages", features__ages="import other", other="") == [
        "features/ages.py",
        "other.py",
    ]


def test_a_package_comes_before_a_module_of_its_name():
    there = {"a.py": "", "a/__init__.py": ""}
    assert list(neighbours("import a", there.get)) == ["a/__init__.py"]


def test_what_the_workers_provide_is_never_looked_for():
    assert (
        found("from etl_abc import AbstractEtl\nimport etl_abc.x", etl_abc="", etl_abc__AbstractEtl="") == []
    )


@pytest.mark.parametrize("broken", ["def", "\0", "(" * 5000, "import b\n  import c"])
def test_a_file_that_is_no_python_goes_along_and_leads_nowhere(broken):
    assert found("import a", a=broken, b="", c="") == ["a.py"]
    assert found(broken, a="", b="", c="") == []


def test_circles_are_followed_once():
    assert found("import a", a="import b", b="import a, etl", etl="import a") == ["a.py", "b.py", "etl.py"]


def test_more_than_the_limit_is_refused():
    many = {f"m{n}.py": f"import m{n + 1}" for n in range(imports.MOST_FILES + 1)}
    with pytest.raises(Unusable, match="more than 64 files"):
        neighbours("import m0", many.get)
    del many[f"m{imports.MOST_FILES}.py"]
    assert neighbours("import m0", many.get) == many
    with pytest.raises(Unusable, match="2097152 bytes"):
        neighbours("import a", {"a.py": "#" * (imports.MOST_BYTES + 1)}.get)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("json.py", "a module of Python's own, json: rename it"),
        ("json/x.py", "a module of Python's own, json"),
        ("pandas/__init__.py", "an installed package, pandas: rename it"),
        ("featurestore.py", "an installed package, featurestore"),
        ("etl_script.py", "Python's own"),
        ("__main__.py", "Python's own"),
        ("../x.py", "no path of a module"),
        ("/x.py", "no path of a module"),
        ("a//x.py", "no path of a module"),
        ("a\\x.py", "no path of a module"),
        ("a-b.py", "no path of a module"),
        ("a.txt", "no path of a module"),
        ("", "no path of a module"),
    ],
)
def test_a_name_that_is_taken_or_is_none_is_refused(path, why):
    with pytest.raises(Unusable, match=why):
        check_names(["helpers.py", path])


def test_free_names_are_allowed():
    check_names(["helpers.py", "features/__init__.py", "features/json.py", "größe.py"])


def test_a_file_behind_a_symbolic_link_is_refused_and_so_is_what_is_not_utf_8(tmp_path):
    (tmp_path / "real.py").write_text("")
    (tmp_path / "link.py").symlink_to("real.py")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.py").write_text("")
    (tmp_path / "linked").symlink_to("folder")
    (tmp_path / "latin.py").write_bytes(b"# \xe9")
    for source in ("import link", "import linked.x"):
        with pytest.raises(Unusable, match="symbolic link"):
            neighbours(source, on_disk(tmp_path / "etl.py"))
    with pytest.raises(Unusable, match=r"latin\.py .* is not UTF-8 \(byte 2\)"):
        neighbours("import latin", on_disk(tmp_path / "etl.py"))


def test_beside_a_script_is_where_a_link_to_it_leads(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "helpers.py").write_text("# it")
    (tmp_path / "real" / "etl.py").write_text("")
    (tmp_path / "link.py").symlink_to("real/etl.py")
    assert neighbours("import helpers", on_disk(tmp_path / "link.py")) == {"helpers.py": "# it"}


def test_a_path_is_a_module():
    assert [module_of(path) for path in ("a.py", "a/b.py", "a/__init__.py", "a/b/__init__.py")] == [
        ("a", False),
        ("a.b", False),
        ("a", True),
        ("a.b", True),
    ]
