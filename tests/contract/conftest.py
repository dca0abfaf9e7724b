"""Fixtures of the contract tests."""

from tests.support.catalogs import catalog, mongo, url
from tests.support.figures import tell
from tests.support.told_service import remote, service

__all__ = ["catalog", "mongo", "remote", "service", "tell", "url"]
