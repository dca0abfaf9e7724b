"""Fixtures of the contract tests."""

from tests.support.figures import tell

__all__ = ["tell"]
