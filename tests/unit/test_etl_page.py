"""docs/etls.md: each of its scripts runs as printed."""

import datetime as dt
import re
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore.etl.declarations import Declarations
from featurestore.etl.script import Script

PAGE = (Path(__file__).parents[2] / "docs" / "etls.md").read_text()
SOURCES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
DAY = 86_400_000_000
ROWS = pa.table(
    {
        "user_id": ["ann", "ann", "bob"],
        "creation_date": pa.array([5 * DAY, 2 * DAY, DAY], pa.timestamp("us")),
        "binding_date": pa.array([9 * DAY, None, 2 * DAY], pa.timestamp("us")),
        "premium": [99.5, 120.0, None],
    }
)


def script(source):
    return Script(source, "etl.py", "Etl", {}, sealed=False)


@pytest.fixture(scope="module")
def kinds():
    *kinds, _ = map(script, SOURCES)
    return kinds


def test_the_four_kinds_on_the_page_are_one_transformation(kinds):
    assert [each.declared.kind for each in kinds] == ["pandas", "arrow", "polars", "sql"]
    made = [each.run(ROWS, None) for each in kinds]
    assert made[0][0]["creation_to_binding"].to_pylist() == [dt.timedelta(days=4), None, dt.timedelta(days=1)]
    assert made[0][0]["yearly"].to_pylist() == [1194.0, 1440.0, None]
    for features, undecided in made:
        assert features.equals(made[0][0])
        assert undecided == ()


def test_what_works_on_rows_alone_may_be_cut_anywhere(kinds):
    for each in kinds[1:]:
        assert each.declared == Declarations("rows", pure=True, kind=each.declared.kind)
        whole, _ = each.run(ROWS, None)
        pieces = [each.run(ROWS.slice(start, 1), whole.schema)[0] for start in range(3)]
        assert pa.concat_tables(pieces).to_pylist() == whole.to_pylist()


def test_what_works_on_a_key_is_run_per_key():
    made = script(SOURCES[-1])
    assert made.declared == Declarations("key", pure=True)
    contract = made.run(ROWS, None)[0].schema
    of_ann, _ = made.run(ROWS.slice(0, 2), contract)
    assert of_ann["since_last"].to_pylist() == [None, dt.timedelta(days=3)]
    assert made.run(ROWS.slice(2), contract)[0]["since_last"].to_pylist() == [None]
    assert made.run(ROWS, contract)[0]["since_last"].to_pylist()[1] is not None
