"""A clock that stands still: whoever asks Python for the time is told the same, whenever it was imported."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import datetime, json, time, uuid
from datetime import date, datetime as named
from time import time as taken_before
import pandas as pd
from featurestore.etl.frozen_clock import freeze

named.now(), date.today(), pd.Timestamp.now()  # whatever is kept of the real ones must not stay
freeze(1_000_000_000.25)
from time import time as taken_after

UTC = datetime.timezone.utc
found = [
    named.now(UTC), named.fromtimestamp(taken_after(), UTC), named.fromtimestamp(time.time_ns() / 1e9, UTC),
    named.fromtimestamp(time.clock_gettime(time.CLOCK_REALTIME), UTC), named.now().astimezone(UTC),
    named.today().astimezone(UTC), named.utcnow().replace(tzinfo=UTC), pd.Timestamp.now(UTC), pd.Timestamp.utcnow(),
    pd.Timestamp("now", tz="UTC"), pd.Timestamp.today("UTC"), pd.to_datetime("now", utc=True),
    pd.to_datetime(pd.Series(["now"]), utc=True)[0],
]
print(json.dumps({
    "moments": [each.isoformat() for each in found],
    "days": [date.today().isoformat(), time.strftime("%Y-%m-%d"), time.strftime("%Y-%m-%d", time.gmtime())],
    "texts": [time.ctime(), time.asctime()],
    "moves": time.monotonic() != time.monotonic() or time.perf_counter() != time.perf_counter(),
    "is_a": isinstance(named.now(), named) and type(named.now()) is named,
    "given": time.strftime("%Y", time.gmtime(0)),
    "early": taken_before() > 1_700_000_000,
}))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, object]:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(PROGRAM)],
        env={"TZ": "UTC"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout)


def test_everybody_is_told_the_same_time(told):
    assert {moment[:22] for moment in told["moments"]} == {"2001-09-09T01:46:40.25"}
    assert set(told["days"]) == {"2001-09-09"}
    assert set(told["texts"]) == {"Sun Sep  9 01:46:40 2001"}


def test_a_moment_is_of_the_type_it_always_is_and_what_is_given_is_not_replaced(told):
    assert told["is_a"] is True
    assert told["given"] == "1970"
    assert told["moves"] is True


def test_what_was_taken_by_name_before_goes_on_which_is_why_it_is_called_before_the_script_is_loaded(told):
    assert told["early"] is True
