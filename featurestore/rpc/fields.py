"""Reading fields that others filled in: absent, unknown and invalid are three different errors.

Each names the field as `Message.field`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TypeVar

import pyarrow as pa
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from featurestore.model import frames, schema
from featurestore.model.errors import InvalidArgument

_E = TypeVar("_E", bound=Enum)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ARROW_ERRORS = (pa.ArrowException, OSError, MemoryError, KeyError, ValueError)


def name_of(message: Message, field: str) -> str:
    """How errors call a field of this message."""
    return f"{message.DESCRIPTOR.name}.{field}"


def missing(field: str) -> InvalidArgument:
    """The error for a field that is needed and was not given."""
    return InvalidArgument("MISSING_FIELD", f"{field} is not set; it is needed here", field=field)


def invalid(field: str, problem: str, **details: object) -> InvalidArgument:
    """The error for a field whose content can't be right, whatever the state of the store."""
    return InvalidArgument("BAD_FIELD", f"{field} {problem}", field=field, **details)


def require(message: Message, *fields: str) -> None:
    """Check that these sub-messages or oneofs are set.

    Raises:
        InvalidArgument: `MISSING_FIELD`.
    """
    for field in fields:
        if not message.HasField(field):
            raise missing(name_of(message, field))


def enum_from_proto(number: int, meanings: dict[int, _E], field: str) -> _E:
    """The meaning of an enum's number.

    Raises:
        InvalidArgument: `MISSING_FIELD` when it is unspecified, `BAD_FIELD` for a number that this version
            does not know.
    """
    found = meanings.get(number)
    if found is not None:
        return found
    if number == 0:
        raise missing(field)
    raise invalid(field, f"is {number}, which this version does not know", value=number)


def arrow_schema_from_proto(message: Message, field: str) -> pa.Schema:
    """The schema in a bytes field that holds an encapsulated Arrow IPC schema message.

    Raises:
        InvalidArgument: `MISSING_FIELD` when it is empty, `BAD_ARROW` when it can't be read.
    """
    encoded: bytes = getattr(message, field)
    if not encoded:
        raise missing(name_of(message, field))
    try:
        return schema.from_bytes(encoded)
    except _ARROW_ERRORS as error:
        raise _bad_arrow(name_of(message, field), "an Arrow IPC schema message", error) from None


def table_from_stream(stream: bytes, field: str) -> pa.Table:
    """The table in an Arrow IPC stream that a caller sent: checked in full, since bad offsets crash the reader.

    Raises:
        InvalidArgument: `MISSING_FIELD` when it is empty, `BAD_ARROW` when it can't be read or is inconsistent.
    """
    if not stream:
        raise missing(field)
    try:
        table = frames.table_from_stream(stream)
        table.validate(full=True)
    except _ARROW_ERRORS as error:
        raise _bad_arrow(field, "an Arrow IPC stream", error) from None
    return table


def timestamp_to_proto(moment: datetime) -> Timestamp:
    """A moment on the wire; without a zone it is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = aware - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def timestamp_from_proto(message: Message, field: str) -> datetime:
    """A required timestamp field in UTC; what is finer than a microsecond is dropped.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_FIELD` outside the years 1 to 9999.
    """
    require(message, field)
    stamp: Timestamp = getattr(message, field)
    try:
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1_000)
    except OverflowError:
        raise invalid(name_of(message, field), "is outside the years 1 to 9999") from None


def _bad_arrow(field: str, wanted: str, error: BaseException) -> InvalidArgument:
    return InvalidArgument(
        "BAD_ARROW",
        f"{field} is not {wanted}, or is damaged: {str(error)[:300]}",
        field=field,
    )
