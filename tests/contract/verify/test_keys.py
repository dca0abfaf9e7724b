"""The keys that Verify takes, and how rows find theirs."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from featurestore.model.query import Column
from featurestore.model.serving import AnswerFormat, Keys
from services.extraction.verify_choice import KeyChoice
from services.extraction.verify_keys import KeyIndex, KeySample, distinct, made_up, rows_of_keys
from tests.contract.verify.tampered import (
    EVENTS,
    SCHEMA,
    form_of,
    verify,
)
from tests.support.realtime_rows import new_id, rows_of


async def test_the_sample_is_of_distinct_keys_and_depends_on_the_seed():
    column = Column("k", pa.int64(), "BIGINT")

    def sample(seed: int) -> list[int]:
        chosen = KeySample([column], 10, seed)
        for start in range(0, 1000, 100):
            values = [n % 300 if n % 11 else None for n in range(start, start + 100)]
            chosen.add(pa.record_batch({"k": pa.array([*values, 7, 7, 7, 7], pa.int64())}))
        return chosen.keys()["k"].to_pylist()

    assert len(set(sample(1))) == 10
    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    often = sum(7 in sample(seed) for seed in range(20))
    assert often < 8  # a key with many rows is no likelier than another


def test_every_row_finds_its_key_among_keys_of_several_columns():
    keys = pa.table({"a": [1, 1, 2], "b": ["x", "y", "x"]})
    rows = pa.table({"a": [2, 1, 2, 1, None, 1, 9], "b": ["x", "y", "y", "y", "x", None, "x"]})
    assert KeyIndex(keys).positions([rows["a"], rows["b"]]).to_pylist() == [2, 1, None, 1, None, None, None]
    assert [table.num_rows for table in rows_of_keys(rows, keys)] == [0, 2, 1]
    assert distinct(pa.concat_tables([keys, keys.slice(1), rows])).to_pylist()[:3] == keys.to_pylist()


@pytest.mark.parametrize(
    ("kind", "engine_type"),
    [
        (pa.bool_(), "BOOLEAN"),
        (pa.int8(), "TINYINT"),
        (pa.uint64(), "UBIGINT"),
        (pa.decimal128(38, 4), "DECIMAL(38,4)"),
        (pa.string(), "VARCHAR"),
        (pa.string(), "UUID"),
        (pa.binary(), "BLOB"),
        (pa.date32(), "DATE"),
        (pa.timestamp("us"), "TIMESTAMP"),
        (pa.timestamp("us", "UTC"), "TIMESTAMP WITH TIME ZONE"),
        (pa.timestamp("s"), "TIMESTAMP_S"),
    ],
)
async def test_a_made_up_key_can_be_asked_for_whatever_its_type(realtime, kind, engine_type):
    column = Column("k", kind, engine_type)
    keys = made_up([column], 5, seed=3)
    assert keys.schema == pa.schema([("k", kind)])
    sql = f"SELECT CAST(NULL AS {engine_type}) AS k"
    asked = Keys(("k",), tuple((value,) for value in keys["k"].to_pylist()))
    answer = await realtime.query("qry_x", await form_of(realtime, sql), asked, AnswerFormat.ARROW)
    assert [key.row_count for key in answer.keys] == [0] * 5
    if pa.types.is_decimal(kind):
        assert all(isinstance(value, Decimal) for value in keys["k"].to_pylist())


async def test_keys_where_things_go_wrong_most_are_always_among_the_checked_ones(extraction, realtime):
    many = {"user_id": [900] * 50, "day": [100] * 50, "kind": ["x"] * 50, "amount": [1.0] * 50}
    nasty = {
        "user_id": [901, 902, 903, 904],
        "day": [200, None, 100, -300],
        "kind": ["x", "x", None, "x"],
        "amount": [1.0, 1.0, 1.0, None],
    }
    await realtime.publish(new_id(), [rows_of("events", rows, schema=SCHEMA) for rows in (many,)])
    await realtime.publish(new_id(), [rows_of("events", nasty, schema=SCHEMA)])
    sql = f"SELECT * FROM {EVENTS} WHERE user_id >= 900 OR (day IS NOT NULL AND kind IS NOT NULL AND amount IS NOT NULL)"
    report = await verify(extraction, realtime, sql=sql, sample=1)
    assert report.consistent
    asked = {key[0] for key in realtime.asked}
    assert {
        900,
        901,
        902,
        903,
        904,
    } <= asked  # most rows; newest day; no day; no kind; no amount, and the oldest day


async def test_the_key_with_fewest_rows_is_chosen_and_ties_and_null_keys_do_no_harm(realtime):
    form = await form_of(realtime, f"SELECT user_id, day FROM {EVENTS}")
    chosen = KeyChoice(form, ("user_id",), 1, seed=1)
    schema = chosen.form.schema
    for batch in (
        [(None, 99, 999, 9, 9), (1, 5, 0, 2, 1), (2, 1, 1000, None, None)],
        [(3, 9, 200, 8, 3), (4, 5, 0, 3, 0)],
    ):
        columns = [
            pa.array(values, field.type)
            for values, field in zip(zip(*batch, strict=True), schema, strict=True)
        ]
        chosen.add(pa.RecordBatch.from_arrays(columns, schema=schema))
    # 3 has most rows and the newest day, 2 the fewest and nothing but nulls, 4 the oldest day.
    assert {2, 3, 4} <= set(chosen.keys()["user_id"].to_pylist()) <= {1, 2, 3, 4}
