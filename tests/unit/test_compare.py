"""Rows as a multiset, by value: what Verify calls equal."""

from __future__ import annotations

import math
import random
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.engine.compare import Floats, compare, differences


def table(**columns: list[object]) -> pa.Table:
    return pa.table(columns)


def test_the_same_rows_in_another_order_are_equal():
    left = table(a=[1, 2, 2, None], b=["x", "y", "y", None])
    right = table(a=[2, None, 1, 2], b=["y", None, "x", "y"])
    assert differences(left, right) == []


def test_how_often_a_row_comes_counts():
    found = differences(table(a=[1, 1, 2]), table(a=[1, 2, 2]))
    assert [(d.column, d.trained, d.served) for d in found] == [("a", "1", "2")]


def test_a_missing_row_and_an_extra_row_are_named_whole():
    missing = differences(table(a=[1, 2], b=["x", "y"]), table(a=[1], b=["x"]))
    assert [(d.column, d.served) for d in missing] == [("", "")]
    assert "2" in missing[0].trained
    assert "y" in missing[0].trained
    extra = differences(table(a=pa.array([], pa.int64())), table(a=[7]))
    assert [(d.column, d.trained) for d in extra] == [("", "")]
    assert "7" in extra[0].served


def test_floats_agree_within_a_billionth_and_not_beyond():
    assert differences(table(a=[1.0]), table(a=[1.0 + 5e-10])) == []
    assert len(differences(table(a=[1.0]), table(a=[1.0 + 5e-9]))) == 1
    assert differences(table(a=[-1e300]), table(a=[-1e300 * (1 + 5e-10)])) == []


def test_a_tiny_number_is_not_zero():
    assert len(differences(table(a=[0.0]), table(a=[1e-300]))) == 1


def test_nan_is_null_and_null_is_nan_but_neither_is_a_number():
    nan = pa.array([math.nan, None, math.nan], pa.float64())
    assert differences(pa.table({"a": nan}), table(a=[None, math.nan, None])) == []
    assert len(differences(table(a=[0.0]), pa.table({"a": pa.array([None], pa.float64())}))) == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_infinities_are_equal_to_themselves_only(sign):
    assert differences(table(a=[sign * math.inf], b=[1.0]), table(a=[sign * math.inf], b=[1.0 + 1e-12])) == []
    assert len(differences(table(a=[sign * math.inf]), table(a=[-sign * math.inf]))) == 1
    assert len(differences(table(a=[sign * math.inf]), table(a=[sign * 1e308]))) == 1


def test_integers_and_decimals_are_equal_exactly_or_not_at_all():
    assert len(differences(table(a=[2**60]), table(a=[2**60 + 1]))) == 1
    left, right = table(a=[Decimal("1.000000000001")]), table(a=[Decimal("1.000000000002")])
    assert len(differences(left, right)) == 1


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.duration("us"), pa.time64("us")]
)
def test_times_are_equal_to_their_last_unit(kind):
    left, right = (
        pa.table({"a": pa.array([number, None], pa.int64()).cast(kind)}) for number in (7_001, 7_002)
    )
    assert differences(left, left) == []
    assert len(differences(left, right)) == 1


def test_dates_that_python_does_not_know_are_compared_too():
    far = pa.table({"a": pa.array([2**60], pa.int64()).cast(pa.timestamp("us"))})
    assert differences(far, far) == []


def test_last_bit_noise_that_reorders_rows_does_not_pair_them_wrongly():
    # Sorted by all floats the noise in `a` would put (1+e, 5) after (1, 7).
    noise = 1.0 + 2e-16
    assert differences(table(a=[1.0, 1.0], b=[5.0, 7.0]), table(a=[noise, 1.0], b=[5.0 + 1e-13, 7.0])) == []


def test_floats_inside_lists_and_structs_are_compared_as_floats():
    left = table(a=[[1.0, None], None], s=[{"x": 1.0, "y": "k"}, {"x": None, "y": None}])
    right = table(
        a=[None, [1.0 + 1e-12, math.nan]], s=[{"x": math.nan, "y": None}, {"x": 1.0 - 1e-12, "y": "k"}]
    )
    assert differences(left, right) == []
    wrong = right.set_column(0, "a", pa.array([None, [1.1, None]]))
    assert [d.column for d in differences(left, wrong)] == ["a"]


def test_the_report_pairs_the_likest_rows_and_names_the_column():
    left = table(k=[1, 2, 3], v=["a", "b", "c"], w=[1.0, 2.0, 3.0])
    right = table(k=[3, 2, 1], v=["c", "B", "a"], w=[3.0, 2.0, 1.0])
    found = differences(left, right)
    assert [(d.column, d.trained, d.served) for d in found] == [("v", "b", "B")]


def test_a_null_is_printed_as_null_and_a_long_value_is_cut():
    found = differences(table(a=["x" * 5000]), table(a=pa.array([None], pa.string())))
    assert found[0].served == "null"
    assert len(found[0].trained) < 300


def test_two_empty_tables_are_equal():
    empty = pa.table({"a": pa.array([], pa.int64())})
    assert differences(empty, empty) == []


def test_many_rows_whose_sums_differ_in_their_last_bits_are_paired_quickly():
    chance = random.Random(7)
    values = [chance.random() for _ in range(10_000)]
    noisy = [v * (1 + 3e-16) for v in values]
    chance.shuffle(noisy)
    assert differences(table(a=values, b=[0.1] * 10_000), table(a=noisy, b=[0.1 + 1e-16] * 10_000)) == []
    noisy[5] += 1.0
    assert len(differences(table(a=values), table(a=noisy))) == 1


def test_to_the_last_bit_a_float_is_equal_to_itself_only_and_a_zero_has_a_sign():
    apart = table(a=[1.0, 0.0, 5.0], k=[1, 2, 3]), table(a=[1.0 + 2**-52, -0.0, 5.0], k=[1, 2, 3])
    assert compare(*apart).mismatches == []
    found = compare(*apart, exact=True).mismatches
    assert [(each.column, each.trained, each.served) for each in found] == [
        ("a", "1.0", "1.0000000000000002"),
        ("a", "0.0", "-0.0"),
    ]
    nothing = pa.table({"a": pa.array([None, math.nan], pa.float64())})
    assert (
        compare(nothing, pa.table({"a": pa.array([math.nan, None], pa.float64())}), exact=True).mismatches
        == []
    )


@pytest.mark.parametrize("exact", [False, True])
def test_how_near_floats_are_is_told_whether_they_are_equal_or_not(exact):
    left = table(k=[1, 2, 3, 4], a=[1.0, 2.0, math.inf, None], b=[[8.0], [8.0], [8.0], [8.0]])
    right = table(k=[1, 2, 3, 4], a=[1.0, 2.0 * (1 + 2**-40), math.inf, None], b=[[8.0], [8.0], [8.0], [6.0]])
    found = compare(left, right, exact=exact)
    assert {each.column for each in found.mismatches} == ({"a", "b"} if exact else {"b"})
    assert (found.floats.values, found.floats.bitwise) == (6, 4)
    assert found.floats.largest_error == 0.25


def test_the_error_of_numbers_far_apart_is_finite():
    floats = Floats()
    floats.pair(1.7e308, -1.7e308)
    floats.pair(math.inf, 1.0)
    assert (floats.values, floats.bitwise, floats.largest_error) == (1, 0, 2.0)


FLOATS = st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-52, math.inf, math.nan, None])
ROWS = st.lists(st.tuples(st.sampled_from([1, 2, None]), FLOATS), max_size=6)


@given(ROWS, ROWS)
def test_to_the_last_bit_two_tables_are_equal_if_and_only_if_their_sorted_rows_print_the_same(left, right):
    def as_table(rows: list[tuple[int | None, float | None]]) -> pa.Table:
        keys, floats = zip(*rows, strict=True) if rows else ((), ())
        return pa.table({"k": pa.array(keys, pa.int64()), "x": pa.array(floats, pa.float64())})

    def oracle(rows: list[tuple[int | None, float | None]]) -> list[str]:
        return sorted(f"{key} {None if x is None or math.isnan(x) else x.hex()}" for key, x in rows)

    found = compare(as_table(left), as_table(right), exact=True)
    assert (not found.mismatches) == (oracle(left) == oracle(right))
    assert found.floats.bitwise <= found.floats.values
