"""Cutting Arrow's messages for Flight: whatever the message, protobuf and pyarrow read the same in it as before."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.api.flight import flight_pb2 as pb
from featurestore.model import schema
from featurestore.model.errors import Internal
from gateway.flight.framing import flight_data

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The first draw loads the alphabet of all texts."""

COLUMNS = st.one_of(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)).map(lambda v: (v, pa.int64())),
    st.lists(st.none() | st.booleans()).map(lambda v: (v, pa.bool_())),
    st.lists(st.none() | st.floats(allow_nan=False)).map(lambda v: (v, pa.float64())),
    st.lists(st.none() | st.text()).map(lambda v: (v, pa.string())),
    st.lists(st.none() | st.binary(max_size=300)).map(lambda v: (v, pa.binary())),
    st.lists(st.none() | st.lists(st.none() | st.integers(0, 9))).map(lambda v: (v, pa.list_(pa.int8()))),
    st.lists(st.none()).map(lambda v: (v, pa.null())),
)


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    """A batch of columns that are cut to one length."""
    columns = [(values, kind) for values, kind in draw(st.lists(COLUMNS, max_size=6))]
    rows = min((len(values) for values, _ in columns), default=0)
    names = draw(st.lists(st.text(), min_size=len(columns), max_size=len(columns)))
    arrays = [pa.array(values[:rows], kind) for values, kind in columns]
    return pa.RecordBatch.from_arrays(arrays, names)


def rejoined(sent: bytes) -> tuple[pb.FlightData, bytes]:
    """What a client reads, and the message that it is again for Arrow."""
    data = pb.FlightData.FromString(sent)
    prefix = b"\xff\xff\xff\xff" + len(data.data_header).to_bytes(4, "little")
    return data, prefix + data.data_header + data.data_body


@RELAXED
@given(batches())
def test_a_batch_is_cut_where_pyarrow_cuts_it(batch: pa.RecordBatch) -> None:
    message = bytes(batch.serialize())
    read = pa.ipc.read_message(pa.BufferReader(message))

    data, again = rejoined(flight_data(message))

    assert again == message
    # pyarrow's metadata may have lost the padding that the size in the prefix counts.
    assert data.data_header.startswith(read.metadata.to_pybytes())
    assert data.data_body == read.body.to_pybytes()
    assert pa.ipc.read_record_batch(pa.py_buffer(again), batch.schema).equals(batch)


@RELAXED
@given(batches())
def test_the_bytes_are_those_that_protobuf_writes(batch: pa.RecordBatch) -> None:
    for message in (bytes(batch.serialize()), schema.to_bytes(batch.schema)):
        sent = flight_data(message)
        assert pb.FlightData.FromString(sent).SerializeToString(deterministic=True) == sent


@RELAXED
@given(st.lists(batches(), min_size=1, max_size=1), st.integers(0, 3))
def test_a_stream_cut_and_joined_again_is_the_same_table(one: list[pa.RecordBatch], times: int) -> None:
    table = pa.Table.from_batches(one * times, one[0].schema)
    messages = [schema.to_bytes(table.schema), *(bytes(b.serialize()) for b in table.to_batches())]
    stream = b"".join(rejoined(flight_data(message))[1] for message in messages)
    assert pa.ipc.open_stream(io.BytesIO(stream)).read_all().equals(table)


@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384, 2**21 - 1, 2**21, 5_000_000])
def test_lengths_of_every_width_are_written(size: int) -> None:
    message = b"\xff\xff\xff\xff" + (8).to_bytes(4, "little") + b"metadata" + b"b" * size
    data, again = rejoined(flight_data(message))
    assert (data.data_header, len(data.data_body)) == (b"metadata", size)
    assert again == message


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\x00\x00\x00\x00",  # the end of a stream
        b"\xff\xff\xff\xff\x09\x00\x00\x00metadata",
        b"\xff\xff\xff\xff\xff\xff\xff\xffmetadata",
        b"\x08\x00\x00\x00metadatabody",  # of Arrow before 0.15
    ],
)
def test_what_is_no_message_is_told_and_not_sent(message: bytes) -> None:
    with pytest.raises(Internal) as caught:
        flight_data(message)
    assert caught.value.reason == "BAD_BATCH"
