"""Fixtures of the end-to-end tests."""

from tests.support.figures import tell

__all__ = ["tell"]
