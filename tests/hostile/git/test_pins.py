"""What was saved is what runs, whatever becomes of its repository; or it does not run at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from featurestore.model.errors import FailedPrecondition, NotFound, Unavailable
from tests.hostile.git.conftest import address_of, etl
from tests.support.git_repos import GitRepo, git_server


async def test_a_branch_that_moved_does_not_move_what_was_saved(store, repo, server):
    repo.commit({"etl.py": etl(1)})
    run = await store.save(address_of(server))
    repo.commit({"etl.py": etl(2)})
    assert await store.served_twice(run) == [1, 1]
    assert await store.served(await store.save(address_of(server))) == 2


async def test_a_tag_that_was_moved_does_not_move_what_was_saved(store, repo, server):
    repo.ref("refs/tags/v1", repo.commit({"etl.py": etl(1)}))
    run = await store.save(address_of(server, "v1"))
    repo.ref("refs/tags/v1", repo.commit({"etl.py": etl(2)}))
    assert await store.served_twice(run) == [1, 1]


async def test_a_rewritten_history_is_served_from_the_cache_and_never_replaced_by_other_code(
    store, repo, server
):
    repo.commit({"etl.py": etl(1)})
    run = await store.save(address_of(server))
    repo.commit({"etl.py": etl(2)}, orphan=True)
    assert await store.served(run) == 1
    store.forget()
    with pytest.raises(NotFound) as refused:
        await store.served(run)
    assert (refused.value.reason, refused.value.details["what"]) == ("ETL_SOURCE", "ref")


async def test_a_blob_with_other_bytes_than_were_saved_is_refused(store, repo, server):
    repo.commit({"etl.py": etl(1)})
    run = await store.save(address_of(server))
    other = repo.commit({"etl.py": etl(2)})
    moved = replace(run.script, provenance=replace(run.script.provenance, commit=other))
    store.forget()
    with pytest.raises(FailedPrecondition) as refused:
        await store.served(replace(run, script=moved))
    assert (refused.value.reason, refused.value.details["what"]) == ("ETL_SOURCE", "blob")


async def test_a_server_that_is_gone_after_the_save_is_not_missed_unless_the_cache_is_too(store, repo):
    repo.commit({"etl.py": etl(1, "import helpers\n"), "helpers.py": ""})
    with git_server(etl=repo) as server:
        run = await store.save(address_of(server))
    assert await store.served(run) == 1
    store.forget()
    with pytest.raises(Unavailable) as refused:
        await store.served(run)
    assert refused.value.reason == "GIT_UNREACHABLE"


async def test_another_repository_at_the_old_address_is_not_taken_for_it(store, tmp_path):
    with GitRepo(tmp_path / "one") as one, GitRepo(tmp_path / "two") as two:
        one.commit({"etl.py": etl(1)})
        two.commit({"etl.py": etl(2), "other.py": ""})
        with git_server(etl=one) as server:
            run = await store.save(address_of(server))
            repository = run.script.provenance.repository
        with git_server(etl=two) as taken:
            moved = repository.replace(server.url, taken.url)
            script = replace(run.script, provenance=replace(run.script.provenance, repository=moved))
            store.forget()
            with pytest.raises(NotFound):
                await store.served(replace(run, script=script))


async def test_a_neighbour_that_changed_in_the_branch_does_not_change_what_was_saved(store, repo, server):
    repo.commit({"etl.py": etl("helpers.V", "import helpers\n"), "helpers.py": "V = 1\n"})
    run = await store.save(address_of(server))
    repo.commit({"helpers.py": "V = 2\n"})
    again = await store.save(address_of(server))
    assert await store.served_twice(run) == [1, 1]
    assert await store.served_twice(again) == [2, 2]
    assert run.script.blob_sha256 == again.script.blob_sha256
    assert run.script.neighbours != again.script.neighbours


async def test_a_neighbour_with_other_bytes_than_were_saved_is_refused(store, repo, server):
    repo.commit({"etl.py": etl("helpers.V", "import helpers\n"), "helpers.py": "V = 1\n"})
    run = await store.save(address_of(server))
    other = repo.commit({"helpers.py": "V = 2\n"})
    moved = replace(run.script, provenance=replace(run.script.provenance, commit=other))
    store.forget()
    with pytest.raises(FailedPrecondition) as refused:
        await store.served(replace(run, script=moved))
    assert (refused.value.details["what"], refused.value.details["path"]) == ("blob", "helpers.py")


async def test_a_neighbour_that_is_gone_from_its_commit_is_named(store, repo, server):
    repo.commit({"etl.py": etl("helpers.V", "import helpers\n"), "helpers.py": "V = 1\n"})
    run = await store.save(address_of(server))
    other = repo.commit({"etl.py": etl("helpers.V", "import helpers\n")}, orphan=True)
    moved = replace(run.script, provenance=replace(run.script.provenance, commit=other))
    store.forget()
    with pytest.raises(NotFound) as refused:
        await store.served(replace(run, script=moved))
    assert refused.value.details["path"] == "helpers.py"


async def test_what_a_saved_etl_imports_is_decided_once_and_not_when_it_is_loaded(store, repo, server):
    imports = "try:\n    from helpers import V\nexcept ImportError:\n    V = 0\n"
    repo.commit({"etl.py": etl("V", imports), "helpers.py": "V = 1\n"})
    run = await store.save(address_of(server))
    assert await store.served_twice(run) == [1, 1]
    alone = replace(run, script=replace(run.script, neighbours=()))  # as it was saved before there were any
    assert await store.served_twice(alone) == [0, 0]
