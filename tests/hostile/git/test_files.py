"""Which commit, which file, and what may stand beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.git.conftest import address_of, etl
from tests.support.git_repos import EXECUTABLE, SUBMODULE, SYMLINK

IMPORTS = etl("helpers.V", "import helpers\n")


async def test_a_branch_a_tag_an_annotated_tag_and_a_commit_each_lead_to_their_code(store, repo, server):
    old = repo.commit({"etl.py": (EXECUTABLE, etl(1))})
    repo.ref("refs/tags/light", old)
    repo.annotated_tag("heavy", repo.annotated_tag("inner", old))
    repo.commit({"etl.py": etl(2)})
    refs = {"": 2, "main": 2, "light": 1, "heavy": 1, old: 1}
    assert {ref: await store.served(await store.save(address_of(server, ref))) for ref in refs} == refs


@pytest.mark.parametrize(
    "ref",
    ["gone", "HEAD~1", "main:etl.py", "--upload-pack=touch", "refs/../../etc", "0" * 40, "@{-1}", "a..b"],
)
async def test_a_ref_that_is_none_is_refused(store, repo, server, ref):
    repo.commit({"etl.py": etl(1)})
    assert (await store.refused(address_of(server, ref))).reason in {"ETL_ADDRESS", "ETL_SOURCE"}


async def test_a_repository_without_a_commit_is_told_apart_from_a_missing_one(store, server):
    empty = await store.refused(address_of(server))
    assert (empty.details["what"], "no branches and tags yet" in empty.message) == ("ref", True)
    missing = await store.refused(address_of(server).replace("etl.git", "gone.git"))
    assert missing.details["what"] == "repository"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("link.py", "a symbolic link"),
        ("linked/x.py", "a symbolic link"),
        ("outside.py", "a symbolic link"),
        ("vendored", "a submodule"),
        ("vendored/x.py", "a submodule"),
        ("folder", "a folder"),
        ("huge.py", "larger than the 2000 bytes"),
        ("binary.py", "not UTF-8"),
    ],
)
async def test_what_is_no_regular_file_of_text_is_refused(store, repo, server, path, why):
    repo.commit(
        {
            "folder/x.py": etl(1),
            "link.py": (SYMLINK, "folder/x.py"),
            "linked": (SYMLINK, "folder"),
            "outside.py": (SYMLINK, "/etc/passwd"),
            "vendored": (SUBMODULE, "1" * 40),
            "huge.py": "#" * 2001,
            "binary.py": b"\xff",
        }
    )
    refused = await store.refused(address_of(server, "main", path))
    assert refused.reason == "ETL_SOURCE"
    assert why in refused.message or "2001 bytes, 2000 are allowed" in refused.message


@pytest.mark.parametrize("path", ["../etl.py", "/etc/passwd", "a/../../etl.py", "a/%2e%2e/etl.py", ".git/config", "a\\b.py", "e%00.py"])  # fmt: skip
async def test_a_path_leads_nowhere_but_into_the_commit(store, repo, server, path):
    repo.commit({"etl.py": etl(1)})
    assert (await store.refused(address_of(server, "main", path))).reason in {"ETL_ADDRESS", "ETL_SOURCE"}


async def test_files_beside_and_below_a_script_come_along_and_nothing_else_does(store, repo, server):
    script = etl("helpers.V + ages.V + deep.V", "import helpers\nfrom features import ages, deep\n")
    repo.commit(
        {
            "team/etl.py": script,
            "team/helpers.py": "V = 1\n",
            "team/features/__init__.py": "",
            "team/features/ages.py": "from . import deep\nV = 10\n",
            "team/features/deep/__init__.py": "import helpers\nV = 100 * helpers.V\n",
            "team/other.py": "",
            "above.py": "",
        }
    )
    run = await store.save(address_of(server, "main", "team/etl.py"))
    assert await store.served(run) == 111
    assert [path for path, _ in run.script.neighbours] == [
        "features/__init__.py",
        "features/ages.py",
        "features/deep/__init__.py",
        "helpers.py",
    ]


@pytest.mark.parametrize(
    "imports",
    [
        "import above",
        "from .. import above",
        "from . import above",
        "import sibling.x",
        "import helpers.missing",
    ],
)
async def test_a_file_elsewhere_in_the_repository_or_a_missing_one_can_not_be_imported(
    store, repo, server, imports
):
    repo.commit(
        {"team/etl.py": etl(1, f"{imports}\n"), "team/helpers.py": "", "above.py": "", "sibling/x.py": ""}
    )
    refused = await store.refused(address_of(server, "main", "team/etl.py"))
    assert (refused.reason, refused.details["line"]) == ("ETL_EXCEPTION", "2")
    assert refused.details["type"] in {"ModuleNotFoundError", "ImportError"}


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"helpers.py": (SYMLINK, "/etc/passwd")}, "a symbolic link"),
        ({"helpers": (SYMLINK, "real"), "real/__init__.py": ""}, "a symbolic link"),
        ({"helpers": (SUBMODULE, "1" * 40)}, "a submodule"),
        ({"helpers.py": "#" * 2001}, "2000"),
        ({"helpers.py": b"\xff"}, "not UTF-8"),
        ({"helpers.py": "import json\n", "json.py": "V = 1\n"}, "Python's own"),
        ({"helpers.py": "import pandas\n", "pandas/__init__.py": ""}, "an installed package"),
        (
            {"helpers.py": "import m0\n", **{f"m{n}.py": f"import m{n + 1}\n" for n in range(70)}},
            "more than 64",
        ),
    ],
    ids=[
        "link",
        "linked folder",
        "submodule",
        "huge",
        "binary",
        "shadows Python",
        "shadows pandas",
        "too many",
    ],
)
async def test_a_neighbour_is_held_to_what_a_script_is_held_to(store, repo, server, files, why):
    repo.commit({"etl.py": IMPORTS, **files})
    refused = await store.refused(address_of(server))
    assert refused.reason in {"ETL_SOURCE", "GIT_TOO_LARGE"}
    assert why in refused.message


async def test_what_lies_beside_a_script_unasked_is_no_hindrance(store, repo, server):
    repo.commit(
        {
            "etl.py": etl(1),
            "pandas": "a file",
            "json.py": "raise SystemExit",
            "etl_abc.py": "raise SystemExit",
        }
    )
    run = await store.save(address_of(server))
    assert (await store.served(run), run.script.neighbours) == (1, ())


async def test_a_neighbour_can_reach_no_more_than_its_script(store, repo, server):
    victim = Path("/etc/passwd")
    repo.commit({"etl.py": IMPORTS, "helpers.py": f"V = open({str(victim)!r}).read()\n"})
    refused = await store.refused(address_of(server))
    assert (refused.reason, refused.details["path"]) == ("ETL_SANDBOX", "helpers.py")
