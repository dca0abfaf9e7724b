"""A pack is measured before anything of it is kept, and measuring costs no memory."""

import tracemalloc
import zlib

import pytest
from dulwich.errors import GitProtocolError
from hypothesis import given
from hypothesis import strategies as st

from services.extraction.git_pack import PackTooLarge, measure
from tests.support.git_packs import BLOB, OFS_DELTA, REF_DELTA, delta, entry, pack


@given(st.lists(st.binary(max_size=3000), max_size=5))
def test_the_sizes_of_all_objects_are_added_up(contents):
    total = sum(map(len, contents))
    made = pack(*(entry(BLOB, each) for each in contents))
    measure(made, max_objects=5, max_inflated_bytes=total)
    if total:
        with pytest.raises(PackTooLarge, match=f"{total - 1} bytes"):
            measure(made, max_objects=5, max_inflated_bytes=total - 1)


def test_too_many_objects_are_refused_by_their_announced_number_alone():
    with pytest.raises(PackTooLarge, match="4000000000 objects, and 10 are allowed"):
        measure(pack(count=4_000_000_000), max_objects=10, max_inflated_bytes=10)


@pytest.mark.parametrize("kind", [OFS_DELTA, REF_DELTA])
def test_a_delta_counts_as_what_it_makes(kind):
    base = b"\x10" if kind == OFS_DELTA else bytes(20)
    made = pack(entry(BLOB, b"x"), entry(kind, delta(10**12), base=base))
    with pytest.raises(PackTooLarge):
        measure(made, max_objects=5, max_inflated_bytes=10**12)
    measure(made, max_objects=5, max_inflated_bytes=10**12 + 1)


def test_a_bomb_is_refused_by_what_it_announces_or_where_it_grows_beyond_that_in_little_memory():
    bomb = bytes(50_000_000)
    honest, lying = pack(entry(BLOB, bomb)), pack(entry(BLOB, bomb, announced=1000))
    tracemalloc.start()
    with pytest.raises(PackTooLarge):
        measure(honest, max_objects=1, max_inflated_bytes=1_000_000)
    with pytest.raises(GitProtocolError, match="larger than it announces"):
        measure(lying, max_objects=1, max_inflated_bytes=1_000_000)
    measure(honest, max_objects=1, max_inflated_bytes=50_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@given(st.binary(max_size=200), st.integers(min_value=0))
def test_what_is_no_pack_is_refused_and_never_runs_on(noise, cut):
    made = pack(entry(BLOB, b"some text" * 30), entry(OFS_DELTA, delta(9), base=b"\x10"))
    for damaged in (noise, b"PACK" + bytes([0, 0, 0, 2, 0, 0, 0, 1]) + noise, made[: cut % (len(made) - 20)]):
        with pytest.raises((GitProtocolError, PackTooLarge, zlib.error)):
            measure(damaged, max_objects=100, max_inflated_bytes=10**6)
