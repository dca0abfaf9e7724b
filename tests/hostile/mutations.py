"""Arrow streams, broken at random: most behind the schema message, where the reader trusts more."""

import random
import struct

import pyarrow as pa

from featurestore.etl import wire


def honest():
    """A stream with every kind of buffer: offsets, validity, dictionaries, nesting."""
    table = pa.table(
        {
            "i": pa.array([1, None, 3, 4] * 25, pa.int64()),
            "s": pa.array(["alpha", "be", None, "gamma"] * 25),
            "l": pa.array([[1, 2], [], None, [3]] * 25, pa.list_(pa.int32())),
            "d": pa.array(["x", "y", None, "x"] * 25).dictionary_encode(),
            "t": pa.array([{"a": 1, "b": "u"}, None, {"a": 2, "b": "v"}, {"a": None, "b": None}] * 25),
            "v": pa.array([b"\0\1", None, b"", b"\xff" * 9] * 25, pa.large_binary()),
        }
    )
    return table, wire.encode_tables([table], table.schema)[1].to_pybytes()


TABLE, STREAM = honest()


def schema_bytes(stream=STREAM):
    """How long the schema message is: what comes behind it are batches."""
    marker, length = struct.unpack_from("<Ii", stream)
    assert marker == 0xFFFFFFFF
    return 8 + length


def mutated(seed):
    """A stream broken by this seed: 4 of 5 behind the schema message, in numbers more than in single bits."""
    choose = random.Random(seed)
    stream = bytearray(STREAM)
    first = schema_bytes() if choose.random() < 0.8 else 0
    for _ in range(choose.choice((1, 1, 1, 2, 4, 16))):
        at = choose.randrange(first, len(stream) - 8)
        match choose.randrange(6):
            case 0:
                stream[at] ^= 1 << choose.randrange(8)
            case 1:
                stream[at] = choose.randrange(256)
            case 2:
                struct.pack_into(
                    "<i", stream, at & ~3, choose.choice((-1, 2**31 - 1, -(2**31), 2**30, 65536))
                )
            case 3:
                struct.pack_into("<q", stream, at & ~7, choose.choice((-1, 2**62, -(2**63), 2**32, 2**20)))
            case 4:
                piece = stream[at : at + choose.randrange(1, 64)]
                to = choose.randrange(first, len(stream) - len(piece))
                stream[to : to + len(piece)] = piece
            case 5 if choose.random() < 0.3:
                del stream[at : at + choose.randrange(1, 200)]
            case _:
                struct.pack_into("<i", stream, at & ~3, choose.randrange(0, 10_000))
    return bytes(stream)
