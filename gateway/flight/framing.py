"""From Arrow's framing of a message to Flight's: the same bytes, cut in two and put behind protobuf tags.

Written by hand, since protobuf would copy a batch three times where one copy will do, and since nothing of a batch has to
be understood for it.
"""

from __future__ import annotations

import struct

from featurestore.model.errors import Internal

_PREFIX = struct.Struct("<Ii")
"""Of an encapsulated IPC message: the continuation marker, and the size of the metadata with its padding."""
_CONTINUATION = 0xFFFF_FFFF

# Field number << 3 | 2, for bytes.
_HEADER_TAG = b"\x12"  # 2
_BODY_TAG = b"\xc2\x3e"  # 1000, as a varint


def flight_data(message: bytes) -> bytes:
    """An encapsulated Arrow IPC message as a serialised `FlightData`, byte for byte as protobuf writes it.

    Copies the payload once. An empty body is left out, as protobuf leaves out what is empty.

    Args:
        message: the continuation marker, the metadata's size (int32, little-endian), the metadata, the body.

    Raises:
        Internal: `BAD_BATCH`: it is not one; a bug of ours, or a peer of another version.
    """
    if len(message) < _PREFIX.size:
        raise _bad(f"has {len(message)} bytes")
    marker, size = _PREFIX.unpack_from(message)
    body_at = _PREFIX.size + size
    if marker != _CONTINUATION or size <= 0 or body_at > len(message):
        raise _bad(f"begins with {message[: _PREFIX.size].hex()} and has {len(message)} bytes")
    whole = memoryview(message)
    parts: list[bytes | memoryview] = [_HEADER_TAG, _varint(size), whole[_PREFIX.size : body_at]]
    if body_at < len(message):
        parts += _BODY_TAG, _varint(len(message) - body_at), whole[body_at:]
    return b"".join(parts)


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _bad(found: str) -> Internal:
    return Internal(
        "BAD_BATCH",
        f"a part of the result is no Arrow IPC message: it {found}; do all services run the same version?",
    )
