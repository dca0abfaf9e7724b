"""A folder of definitions, read and held against each other without a store."""

from __future__ import annotations

import os

import pytest

from featurestore.cli.definitions import read_folder
from featurestore.cli.pinning import as_address, pin_all
from featurestore.model.names import Kind
from tests.support.git_repos import GitRepo

SQL = "SELECT 1 AS a"
ETL = "# query: quotes\n\nclass Etl: ...\n"


def written(folder, files):
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_folder(folder)


def problems(folder, files):
    return [(problem.reason, problem.message) for problem in written(folder, files).problems]


def test_a_definition_is_what_its_front_matter_says(tmp_path):
    text = "-- name: by_user\n-- index_key: user_id, day\n-- description: Quotes\n-- owner: pricing\n\nSELECT 1 AS a"
    found = written(tmp_path, {"queries/q.sql": text, "etls/e.py": "# query: by_user\n# class: Etl\n"})
    assert found.problems == ()
    ((query,), (etl,)) = (found.queries, found.etls)
    assert (query.kind, query.name, query.file, query.path) == (
        Kind.QUERY,
        "by_user",
        "queries/q.sql",
        tmp_path / "queries/q.sql",
    )
    assert (query.index_key, query.description, query.owner) == (("user_id", "day"), "Quotes", "pricing")
    assert query.text == text
    assert (etl.kind, etl.name, etl.query, etl.index_key) == (Kind.ETL, "e", "by_user", ())


def test_the_files_name_is_the_default_name_and_other_files_are_no_definitions(tmp_path):
    found = written(
        tmp_path,
        {
            "queries/quotes.sql": SQL,
            "queries/README.md": "",
            "queries/_draft.sql": "-- not a field",
            "queries/deeper/other.sql": "-- not a field",
            "etls/__init__.py": "",
            "etls/quotes.py": ETL,
        },
    )
    assert found.problems == ()
    assert [each.name for each in (*found.queries, *found.etls)] == ["quotes", "quotes"]  # kinds live apart


def test_an_empty_folder_is_refused(tmp_path):
    ((reason, message),) = problems(tmp_path, {"README.md": ""})
    assert reason == "NO_DEFINITIONS"
    assert str(tmp_path) in message


@pytest.mark.parametrize(
    ("files", "reason", "said"),
    [
        ({"etls/e.py": "class Etl: ...\n"}, "FRONT_MATTER", "etls/e.py line 1, field query: it is missing"),
        (
            {"queries/quotes.sql": SQL, "etls/e.py": "# query: qoutes\n"},
            "UNKNOWN_QUERY",
            "etls/e.py, field query",
        ),
        ({"etls/e.py": ETL}, "UNKNOWN_QUERY", "there are none"),
        (
            {"queries/a.sql": "-- name: b\nSELECT 1", "queries/b.sql": SQL},
            "DUPLICATE_NAME",
            "queries/a.sql and queries/b.sql have one name, b",
        ),
        (
            {"queries/a.sql": "-- query: b\n"},
            "FRONT_MATTER",
            "queries/a.sql line 1, field query: there is no such",
        ),
        ({"queries/a.sql": "-- owner: a\n-- name: 1a\n"}, "BAD_NAME", "queries/a.sql line 2, field name"),
        ({"queries/1a.sql": SQL}, "BAD_NAME", "queries/1a.sql, its file name"),
        ({"queries/a.sql": "-- index_key: a,,b\n"}, "FRONT_MATTER", "line 1, field index_key"),
        ({"queries/a.sql": "-- index_key: a, a\n"}, "FRONT_MATTER", "line 1, field index_key"),
        ({"etls/e.py": "# query: q\n# class: Other\n"}, "FRONT_MATTER", "line 2, field class"),
        ({"queries/a.sql": b"\xff"}, "BAD_FILE", "queries/a.sql can't be read"),
        ({"queries/a.sql/b": ""}, "BAD_FILE", "queries/a.sql can't be read"),
    ],
)
def test_what_is_wrong_is_told_by_file_and_field(files, reason, said, tmp_path):
    ((found, message),) = problems(tmp_path, files)
    assert found == reason
    assert said in message


def test_all_problems_are_told_at_once(tmp_path):
    files = {
        "queries/a.sql": "-- nmae: b\n",
        "queries/b.sql": "-- name: 1\n",
        "etls/e.py": "",
        "etls/f.py": ETL,
    }
    assert [reason for reason, _ in problems(tmp_path, files)] == ["FRONT_MATTER", "BAD_NAME", "FRONT_MATTER"]


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/org/repo", "git+https://github.com/org/repo"),
        ("ssh://git@host:22/org/repo.git", "git+ssh://git@host:22/org/repo.git"),
        ("git@github.com:org/repo.git", "git+ssh://git@github.com/org/repo.git"),
        ("/srv/my repo.git", "git+file:///srv/my%20repo.git"),
        ("file:///srv/repo", "git+file:///srv/repo"),
    ],
)
def test_a_remote_is_written_as_stores_take_it(remote, address):
    assert as_address(remote) == address


def pinned(folder, *, here=False, repository=None, remote=None, changed=False):
    with GitRepo(folder) as repo:
        commit = repo.commit({"sub/queries/quotes.sql": SQL, "sub/etls/e.py": ETL})
        if remote:
            config = repo.repo.get_config()
            config.set((b"remote", b"origin"), b"url", remote.encode())
            config.write_to_path()
        if changed:
            repo.write("sub/etls/e.py", ETL + "# changed\n")
    pins, refused = pin_all(read_folder(folder / "sub").etls, here=here, repository=repository)
    return commit, pins, [problem.reason for problem in refused]


def test_a_store_on_this_machine_gets_the_path(tmp_path):
    _, pins, refused = pinned(tmp_path, here=True)
    assert (pins["etls/e.py"].source, refused) == (os.fspath(tmp_path / "sub/etls/e.py"), [])


def test_a_store_elsewhere_gets_the_origin_with_the_commit_and_no_credentials(tmp_path):
    commit, pins, refused = pinned(tmp_path, remote="https://me:secret@host/org/repo.git")
    assert pins["etls/e.py"].source == f"git+https://host/org/repo.git@{commit}#sub/etls/e.py"
    assert refused == []


def test_the_repository_can_be_named_instead(tmp_path):
    commit, pins, _ = pinned(tmp_path, remote="https://host/a", repository="git+ssh://git@host/b")
    assert pins["etls/e.py"].source == f"git+ssh://git@host/b@{commit}#sub/etls/e.py"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "ETL_NO_ORIGIN"),
        ({"repository": "https://host/repo"}, "ETL_ADDRESS"),
        ({"remote": "git://host/repo"}, "ETL_ADDRESS"),
        ({"here": True, "changed": True}, "ETL_NOT_COMMITTED"),
        ({"remote": "https://host/repo", "changed": True}, "ETL_NOT_COMMITTED"),
    ],
)
def test_a_script_that_no_store_could_find_again_is_refused(arguments, reason, tmp_path):
    _, pins, refused = pinned(tmp_path, **arguments)
    assert (pins, refused) == ({}, [reason])


def test_a_folder_in_no_repository_is_refused(tmp_path):
    found = written(tmp_path, {"queries/quotes.sql": SQL, "etls/e.py": ETL})
    _, refused = pin_all(found.etls, here=True, repository=None)
    assert [problem.reason for problem in refused] == ["ETL_NOT_COMMITTED"]
