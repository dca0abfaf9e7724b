"""Fixtures of the unit tests."""

from tests.support.worker_scripts import pool

__all__ = ["pool"]
