"""A key carried from one table to the next by times, which Python holds less well than the engine."""

import datetime as dt

import pyarrow as pa
import pytest

from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys, Verdict
from tests.support.realtime_rows import new_id, opened, rows_of

SQL = """
SELECT f.flight_id, w.wind FROM feature_store.flights f JOIN feature_store.weather w ON w.hour = f.hour
"""
ROWS = 20_000
NOON = int(dt.datetime(2013, 1, 1, 12, tzinfo=dt.UTC).timestamp())


@pytest.mark.parametrize(
    ("kind", "unit", "nanos"),
    [
        (pa.timestamp("us", "UTC"), "us", 0),
        (pa.timestamp("us"), "us", 0),
        (pa.timestamp("s"), "s", 0),
        (pa.timestamp("ns"), "ns", 0),
        (pa.timestamp("ns"), "ns", 7),
    ],
    ids=["zoned", "us", "s", "ns", "finer than Python's"],
)
async def test_a_key_reaches_a_table_that_is_joined_by_time(tmp_path, kind, unit, nanos):
    per_second = {"s": 1, "us": 10**6, "ns": 10**9}[unit]
    hours = pa.array([(NOON + 3600 * n) * per_second + nanos for n in range(ROWS)], pa.int64()).cast(kind)
    flights = {"flight_id": list(range(ROWS)), "hour": hours}
    weather = {"hour": hours, "wind": [n / 8 for n in range(ROWS)]}
    async with opened(tmp_path) as realtime:
        await realtime.publish(
            new_id(),
            [rows_of("flights", flights, ("flight_id",)), rows_of("weather", weather, ("hour",))],
        )
        form = QueryForm(SQL, await realtime.describe(SQL))
        asked = Keys(("flight_id",), ((7,), (19_999,), (20_000,)))
        answer = await realtime.query("qry_x", form, asked, AnswerFormat.ARROW)
        with pa.ipc.open_stream(answer.payload) as reader:
            assert [batch["wind"].to_pylist() for batch in reader] == [[7 / 8], [19_999 / 8], []]
        told = await realtime.explain("qry_x", form, ("flight_id",))
        assert told.verdict is (Verdict.INDEXED if nanos == 0 else Verdict.PARTLY_INDEXED)
