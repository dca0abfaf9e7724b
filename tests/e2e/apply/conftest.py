"""What the tests of `featurestore apply` start from."""

import pytest

from tests.support.definitions import FILES, opened
from tests.support.git_repos import GitRepo


@pytest.fixture
def repo(tmp_path):
    """A repository with a query and an ETL of it, committed."""
    with GitRepo(tmp_path / "repo") as made:
        made.commit(FILES)
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A store with payments for tests that save nothing; its folder."""
    folder = tmp_path_factory.mktemp("apply") / "store"
    with opened(folder):
        yield folder


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path / "store"):
        yield tmp_path / "store"
