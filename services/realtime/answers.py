"""Rows of a query, split by the keys that were asked for and encoded in that order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.model.errors import ResourceExhausted
from featurestore.model.serving import Answer, AnswerFormat, AnswerInfo, KeyAnswer, Outcome
from featurestore.rpc.rows import encode_columns, encode_rows_alone

MANY_KEYS_BYTES = 3 * 2**20
"""What the answer for more than one key may have; below the default message limit of gRPC, in any language."""
ONE_KEY_BYTES = 64 * 2**20


_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def split(rows: pa.RecordBatch, asked: pa.Table) -> list[pa.RecordBatch]:
    """The rows of each asked key, in the order asked, duplicates kept; within a key in the order of `rows`.

    Args:
        rows: only rows of asked keys.
        asked: one row per asked key; its columns have the names and types of those in `rows`.
    """
    if asked.num_columns == 1:
        wanted, known = asked.column(0).combine_chunks(), rows.column(asked.column_names[0])
        if len(known.unique()) == len(known):  # no key has several rows
            places = pc.index_in(wanted, known)
            found = rows.take(places.drop_null())
            at = itertools.count()
            return _or_empty(
                [None if place is None else found.slice(next(at), 1) for place in places.to_pylist()],
                rows.schema,
            )
    row_codes, asked_codes = _codes(rows, asked)
    grouped = rows.take(pc.sort_indices(row_codes))  # a stable sort
    counts = pc.value_counts(row_codes)
    length_of = dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))
    start_of: dict[int, int] = {}
    start = 0
    for code in sorted(length_of):
        start_of[code] = start
        start += length_of[code]
    return _or_empty(
        [
            grouped.slice(start_of[code], length_of[code]) if code in length_of else None
            for code in asked_codes.to_pylist()
        ],
        rows.schema,
    )


def _or_empty(batches: list[pa.RecordBatch | None], schema: pa.Schema) -> list[pa.RecordBatch]:
    # Not a slice of no rows: Arrow writes such a one with all offsets of the strings that it was cut from.
    found = [batch for batch in batches if batch is not None]
    if len(found) == len(batches):
        return found
    empty = no_rows(schema)
    return [empty if batch is None else batch for batch in batches]


def no_rows(schema: pa.Schema) -> pa.RecordBatch:
    """A batch without rows."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


class Part(Protocol):
    """What is answered for one key.

    Attributes:
        message: its rows alone, encoded: an Arrow record-batch message, or a RowSet without columns.
    """

    message: bytes
    row_count: int


@dataclass(slots=True)
class Encoded:
    """A part that was made just now."""

    message: bytes
    row_count: int


def encoded(batches: Sequence[pa.RecordBatch], answer_format: AnswerFormat) -> list[Encoded]:
    """The rows of each key, encoded; all batches have one schema."""
    messages = encode_rows_alone(batches) if answer_format is AnswerFormat.ROWS else _arrow_messages(batches)
    return [Encoded(message, batch.num_rows) for message, batch in zip(messages, batches, strict=True)]


def joined(
    parts: Sequence[Part], around: tuple[bytes, bytes], answer_format: AnswerFormat, info: AnswerInfo
) -> Answer:
    """The answer that these parts make, in their order.

    Args:
        around: of the answer's schema and format.

    Raises:
        ResourceExhausted: `ANSWER_TOO_LARGE`, naming in `fits` how many keys to ask for in one call.
    """
    before, behind = around
    payload = b"".join([before, *[part.message for part in parts], behind])
    limit = ONE_KEY_BYTES if len(parts) == 1 else MANY_KEYS_BYTES
    if len(payload) > limit:
        raise too_large(len(payload), len(parts), _fitting([len(part.message) for part in parts]))
    answers = [
        KeyAnswer(Outcome.FOUND if part.row_count else Outcome.ABSENT, part.row_count) for part in parts
    ]
    return Answer(tuple(answers), answer_format, payload, info)


def _arrow_messages(batches: Sequence[pa.RecordBatch]) -> list[bytes]:
    """Each batch as a message. One by one they would each have an output of their own, which costs as much again."""
    if len(batches) == 1:
        return [bytes(batches[0].serialize())]
    output = pa.BufferOutputStream()
    ends = []
    with pa.ipc.new_stream(output, batches[0].schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
            ends.append(output.tell())
    written = memoryview(output.getvalue())
    starts = (batches[0].schema.serialize().size, *ends)
    return [bytes(written[start:end]) for start, end in zip(starts, ends, strict=False)]


def around(schema: pa.Schema, answer_format: AnswerFormat) -> tuple[bytes, bytes]:
    """What comes before and behind the messages of an answer."""
    if answer_format is AnswerFormat.ROWS:
        return encode_columns(schema), b""
    return bytes(schema.serialize()), _END_OF_STREAM


def too_large(size: int, key_count: int, fits: int) -> ResourceExhausted:
    """The verdict on an answer above its limit."""
    what_to_do = f"ask for at most {fits} in one call" if key_count > 1 else "let the query return less"
    return ResourceExhausted(
        "ANSWER_TOO_LARGE",
        f"the answer for {key_count} keys has {size} bytes or more; {what_to_do}",
        size=size,
        keys=key_count,
        fits=fits,
    )


def _codes(rows: pa.RecordBatch, asked: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Integers that are equal where the keys are, below the number of asked keys to the power of the columns.

    They are renumbered after each column but the first, so they never leave 64 bits.
    """
    row_codes = asked_codes = None
    for name in asked.column_names:
        wanted = asked.column(name).combine_chunks()
        known = wanted.unique()
        of_rows, of_asked = pc.index_in(rows.column(name), known), pc.index_in(wanted, known)
        if row_codes is None:
            row_codes, asked_codes = of_rows, of_asked
            continue
        row_codes = _combined(row_codes, len(known), of_rows)
        asked_codes = _combined(asked_codes, len(known), of_asked)
        numbers = asked_codes.unique()
        row_codes, asked_codes = pc.index_in(row_codes, numbers), pc.index_in(asked_codes, numbers)
    return row_codes, asked_codes


def _combined(codes: pa.Array, width: int, digit: pa.Array) -> pa.Array:
    return pc.add(pc.multiply(codes.cast(pa.int64()), width), digit.cast(pa.int64()))


def _fitting(sizes: list[int]) -> int:
    """How many neighbouring keys fit into one answer wherever the list of keys is cut."""
    count = len(sizes)
    room = MANY_KEYS_BYTES * 9 // 10  # the schema, and sizes that are estimates
    while count > 1 and any(sum(sizes[at : at + count]) > room for at in range(0, len(sizes), count)):
        count = count * 3 // 4
    return count
