"""A pack is measured before anything of it is kept, and measuring costs no memory."""

import tracemalloc
import zlib
from hashlib import sha1

import pytest
from dulwich.errors import GitProtocolError
from hypothesis import given
from hypothesis import strategies as st

from services.extraction.git_pack import PackTooLarge, measure

BLOB, OFS_DELTA, REF_DELTA = 3, 6, 7


def number(value):
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def entry(kind, content, *, announced=None, base=b""):
    size = len(content) if announced is None else announced
    first = kind << 4 | size & 15 | (0x80 if size > 15 else 0)
    return bytes([first]) + (number(size >> 4) if size > 15 else b"") + base + zlib.compress(content)


def pack(*entries, count=None):
    body = (
        b"PACK" + (2).to_bytes(4) + (len(entries) if count is None else count).to_bytes(4) + b"".join(entries)
    )
    return body + sha1(body).digest()  # noqa: S324 - git's own


def delta(result_bytes, source_bytes=1):
    return number(source_bytes) + number(result_bytes) + b"\x00" * 3


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
