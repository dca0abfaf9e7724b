"""Fixtures of the contract tests."""

from tests.support.figures import tell
from tests.support.told_service import remote, service

__all__ = ["remote", "service", "tell"]
