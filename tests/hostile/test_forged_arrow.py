"""What a worker may hand out instead of its result: broken Arrow, pickles, memory that it keeps a hand on."""

import asyncio
import hashlib
import subprocess
import sys

import pyarrow as pa
import pytest

from featurestore.model.errors import FeatureStoreError, Internal
from services.extraction import checking
from services.extraction.worker_protocol import BadReply
from services.extraction.worker_types import EtlCode, WorkerLimits
from services.extraction.workers import WorkerPool
from tests.hostile.mutations import STREAM, TABLE, mutated, schema_bytes
from tests.support.descendants import descriptors

REPLY = {"batches": [1], "loaded": True}

FORGER = """
import ctypes, json, mmap, os, pickle, socket, struct, time
import numpy as np, pandas as pd, pyarrow as pa
from featurestore.etl import AbstractEtl, control, wire

class Etl(AbstractEtl):
    def extract(self):
        wire_socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=3)
        reply = 5
        def answer(body, header, /, **sizes):
            text = header if isinstance(header, bytes) else json.dumps(header).encode()
            os.pwrite(reply, body + text, 0)
            control.send(wire_socket, {"header": len(text), "body": len(body), **sizes})
            time.sleep(60)
        good = wire.encode_tables([pa.table({"x": ["ab", "cd", "ef"]})], pa.schema([("x", pa.string())]))[1].to_pybytes()
        told = {"batches": [1], "loaded": True, "declared": {"granularity": "frame", "pure": False, "kind": "pandas"}}
        FORGED
"""

FORGED = {
    "no packet of JSON": "wire_socket.send(b'garbage'); time.sleep(60)",
    "an empty packet": "wire_socket.send(b'')\n        time.sleep(60)",
    "a pickle for a packet": "wire_socket.send(pickle.dumps(print)); time.sleep(60)",
    "a packet too long": "wire_socket.send(b' ' * 50_000); time.sleep(60)",
    "a pickle for a header": "answer(good, pickle.dumps(print))",
    "a pickle for a body": "answer(pickle.dumps([print] * 9), told)",
    "a header that is a list": "answer(good, [1])",
    "a header of nothing but brackets": "answer(good, b'[' * 100_000)",
    "no header": "answer(good, b'')",
    "negative sizes": "answer(good, told, body=-8)",
    "sizes beyond the file": "answer(good, told, body=10**6)",
    "sizes beyond all limits": "answer(good, told, body=2**62)",
    "a size that is true": "answer(good, told, header=True)",
    "a size too many": "answer(good, told, more=1)",
    "other counts": "answer(good, {**told, 'batches': [2]})",
    "counts that are true": "answer(good, {**told, 'batches': [True]})",
    "negative counts": "answer(good, {**told, 'batches': [-1]})",
    "counts that are text": "answer(good, {**told, 'batches': '1'})",
    "no counts": "answer(good, {**told, 'batches': None})",
    "no declarations": "answer(good, {'batches': [1], 'loaded': True})",
    "declarations that nobody can make": "answer(good, {**told, 'declared': {**told['declared'], 'kind': ['sql']}})",
    "a failure of no kind": "answer(b'', {'failed': {'kind': 'no such'}})",
    "a failure that is text": "answer(b'', {'failed': 'oops'})",
    "undecided columns that are a number": "answer(good, {**told, 'undecided': 5})",
    "no stream": "answer(b'abc' * 9, told)",
    "half a stream": "answer(good[: len(good) // 2 & ~7], told)",
    "offsets beyond the data": "evil = good.replace(struct.pack('<4i', 0, 2, 4, 6), struct.pack('<4i', 0, 2, 2**30, 6))\n"
    "        assert evil != good; answer(evil, told)",
    "two columns of one name": "t = pa.table([pa.array([1]), pa.array([2])], names=['x', 'x'])\n"
    "        answer(wire.encode_tables([t], t.schema)[1].to_pybytes(), told)",
    "a mapping that it keeps": "text = json.dumps(told).encode(); os.pwrite(reply, good + text, 0)\n"
    "        held = mmap.mmap(reply, len(good + text)); answer(good, told)",
    "an answer before it was asked": "control.send(wire_socket, {'header': 2, 'body': 0}); time.sleep(60)",
    "two answers": "text = json.dumps(told).encode(); os.pwrite(reply, good + text, 0)\n"
    "        for _ in range(2): control.send(wire_socket, {'header': len(text), 'body': len(good) + 1})\n        time.sleep(60)",
}


@pytest.fixture(scope="module")
async def pool():
    async with WorkerPool(WorkerLimits(workers=2, memory_bytes=2**28, output_bytes=2**20)) as pool:
        yield pool


async def run(pool, source):
    code = EtlCode(source, "forger.py", hashlib.sha256(source.encode()).hexdigest())
    rows = pa.table({"x": [1]})
    return await pool.run(code, [rows], input_schema=rows.schema, contract=None, deadline_seconds=20)


async def test_an_honest_forger_is_believed(pool):
    # It sleeps on, else the worker's own answer may be written over this one before that is sealed.
    result = await run(pool, FORGER.replace("FORGED", "answer(good, told)"))
    assert result.tables[0]["x"].to_pylist() == ["ab", "cd", "ef"]


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_a_forged_answer_is_a_bad_result_and_its_worker_ends(pool, forged):
    before, source = descriptors(), FORGER.replace("FORGED", forged)
    with pytest.raises(Internal) as caught:
        await run(pool, source)
    assert caught.value.reason == ("ETL_CRASH" if "send(b'')" in forged else "ETL_BAD_RESULT")
    assert hashlib.sha256(source.encode()).hexdigest() not in {
        key[0] for key in pool._idle
    }  # never asked again
    await asyncio.sleep(0.05)
    assert descriptors() <= before + 2  # a spare's


def read(seed):
    """`refused` or `read`; anything else ends the test, and a crash ends the process."""
    stream = pa.py_buffer(mutated(seed))
    try:
        tables, _ = checking.checked(REPLY, stream, 1, None)
        repr(tables[0].to_pylist())  # what was taken is fit for use
    except (BadReply, FeatureStoreError):
        return "refused"
    return "read"


def past_the_header(seed):
    stream = mutated(seed)
    if stream[: schema_bytes()] != STREAM[: schema_bytes()]:
        return False
    try:
        with pa.ipc.open_stream(stream) as reader:
            reader.read_next_batch()
    except (pa.ArrowException, OSError, StopIteration):
        return False
    return True


def mutated_streams_are_read_or_refused(count):
    outcomes = [read(seed) for seed in range(count)]
    deep = sum(past_the_header(seed) for seed in range(count))
    sys.stdout.write(
        f"\n    {count} mutated streams: {outcomes.count('refused')} refused, {deep} got past the header\n"
    )
    assert outcomes.count("refused") > count / 10
    assert deep >= 0.3 * count


def test_hundreds_of_mutated_streams_are_read_or_refused():
    mutated_streams_are_read_or_refused(400)


@pytest.mark.slow
def test_ten_thousand_mutated_streams_are_read_or_refused():
    mutated_streams_are_read_or_refused(10_000)


UNCHECKED = """
import sys, pyarrow as pa
from tests.support.descendants import descriptors
from tests.hostile.mutations import mutated
for seed in range(int(sys.argv[1]), int(sys.argv[2])):
    try:
        with pa.ipc.open_stream(mutated(seed)) as reader:
            for batch in reader:
                repr(batch.to_pylist())
                batch.take(pa.array(range(batch.num_rows)))
    except Exception:
        pass
"""


def test_read_without_validation_at_least_one_of_them_crashes_the_reader():
    crashes = 0
    for first in range(0, 2000, 100):
        done = subprocess.run(
            [sys.executable, "-c", UNCHECKED, str(first), str(first + 100)], capture_output=True, check=False
        )
        crashes += done.returncode < 0
        if crashes:
            break
    assert crashes


def test_an_honest_stream_is_read_as_it_was_written():
    tables, _ = checking.checked(REPLY, pa.py_buffer(STREAM), 1, None)
    assert tables[0].to_pylist() == TABLE.to_pylist()
