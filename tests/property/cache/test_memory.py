"""What a cache takes is what it was given."""

import json
import subprocess
import sys

import pytest

from tests.support.figures import MIB, tell

__all__ = ["tell"]


def filled(limit, count):
    program = [sys.executable, "-m", "tests.property.cache.filling", str(limit), str(count)]
    return json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


def test_a_full_cache_takes_what_it_was_given_within_a_tenth():
    found = filled(32 * MIB, 60_000)
    assert found["entries"] > 10_000
    assert found["size"] <= 32 * MIB
    assert 0.9 * 32 * MIB < found["grown"] < 1.1 * 32 * MIB, found


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_cache_takes_what_it_was_given_within_a_tenth_after_ten_million_keys(tell):
    limit = 256 * MIB
    found = filled(limit, 10_000_000)
    tell(
        f"a cache of {limit / MIB:.0f} MiB after 10,000,000 distinct keys: grown by {found['grown'] / MIB:.1f} MiB, "
        f"{found['entries']} answers"
    )
    assert 0.9 * limit < found["grown"] < 1.1 * limit, found
