"""A pack is measured before anything of it is kept: how many objects, and how large they become.

A few kilobytes can stand for gigabytes, by compression and by deltas. So every object's announced size is added up, and
its compressed bytes are read once, thrown away as they come, to see that it is no larger than announced.
"""

from __future__ import annotations

import mmap
import zlib
from hashlib import sha1
from typing import TypeAlias

from dulwich.errors import GitProtocolError

Bytes: TypeAlias = bytes | mmap.mmap

_OFS_DELTA, _REF_DELTA = 6, 7
_SHA_BYTES = 20
_HEADER_BYTES = 12
_NUMBER_BYTES = 10  # of the longest number
_FIRST_PIECE, _PIECE = 2**9, 2**16


class PackTooLarge(Exception):
    """The pack is over a limit; the text says over which."""


def measure(pack: Bytes, *, max_objects: int, max_inflated_bytes: int) -> None:
    """Read a pack, in constant memory beside it.

    Raises:
        PackTooLarge: it holds more.
        GitProtocolError: it is no pack, or a damaged one.
        zlib.error: its compressed bytes are damaged.
    """
    if len(pack) < _HEADER_BYTES or pack[:4] != b"PACK":
        raise GitProtocolError("what it sends is no pack")
    count = int.from_bytes(pack[8:_HEADER_BYTES])
    if count > max_objects:
        raise PackTooLarge(f"{count} objects, and {max_objects} are allowed")
    with memoryview(pack) as content, content[:-_SHA_BYTES] as summed:
        if sha1(summed).digest() != pack[-_SHA_BYTES:]:  # noqa: S324 - git's own
            raise GitProtocolError("its pack has another checksum than it says")
    at, left = _HEADER_BYTES, max_inflated_bytes
    for _ in range(count):
        kind = _byte(pack, at) >> 4 & 7
        size, at = _object_size(pack, at)
        if kind == _OFS_DELTA:
            at = _number(pack, at)[1]
        elif kind == _REF_DELTA:
            at += _SHA_BYTES
        largest = size
        if size <= left:
            start, at = _inflate(pack, at, size)
            if kind in (_OFS_DELTA, _REF_DELTA):
                largest = max(size, _result_size(start))
        left -= largest
        if left < 0:
            raise PackTooLarge(f"objects of more than the {max_inflated_bytes} bytes that are allowed")
    if at != len(pack) - _SHA_BYTES:
        raise GitProtocolError("its pack goes on after its last object")


def _byte(data: Bytes, at: int) -> int:
    if at >= len(data):
        raise GitProtocolError("its pack ends too early")
    return data[at]


def _number(data: Bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    number = 0
    for place in range(_NUMBER_BYTES):
        byte = _byte(data, at + place)
        number |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return number, at + place + 1
    raise GitProtocolError("a number in its pack has no end")


def _object_size(data: Bytes, at: int) -> tuple[int, int]:
    """An object's size, of which the first four bits stand beside its kind, and where its header ends."""
    first = _byte(data, at)
    if not first & 0x80:
        return first & 15, at + 1
    rest, at = _number(data, at + 1)
    return rest << 4 | first & 15, at


def _inflate(data: Bytes, at: int, size: int) -> tuple[bytes, int]:
    """Pass over one object; its first bytes, and where it ends."""
    inflating = zlib.decompressobj()
    start, done, step = b"", 0, _FIRST_PIECE
    while not inflating.eof:
        piece = inflating.unconsumed_tail
        if not piece:
            piece = data[at : at + step]
            at, step = at + len(piece), _PIECE
            if not piece:
                raise GitProtocolError("its pack ends too early")
        found = inflating.decompress(piece, _PIECE)
        done += len(found)
        if done > size:
            raise GitProtocolError("an object of its pack is larger than it announces")
        if len(start) < 2 * _NUMBER_BYTES:
            start += found[: 2 * _NUMBER_BYTES]
    if done != size:
        raise GitProtocolError("an object of its pack is smaller than it announces")
    return start, at - len(inflating.unused_data)


def _result_size(delta: bytes) -> int:
    """The size of what a delta makes: the second number in it."""
    return _number(delta, _number(delta, 0)[1])[0]
