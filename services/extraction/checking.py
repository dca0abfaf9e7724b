"""What a worker answered, looked at with distrust: bytes that a script may have forged become tables, or a refusal."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from featurestore.etl import wire
from featurestore.etl.declarations import Declarations
from featurestore.model.schema import plain
from services.extraction import contracts
from services.extraction.worker_protocol import BadReply

_LONGEST_NAME = 10_000


def checked(
    reply: dict[str, Any], stream: pa.Buffer, expected: int, contract: pa.Schema | None
) -> tuple[list[pa.Table], pa.Schema]:
    """The tables of a reply, validated in full: a script may have forged them.

    Args:
        expected: how many tables there must be.

    Raises:
        BadReply: it has others, or the bytes are no valid Arrow.
        FailedPrecondition: `CONTRACT_BROKEN`.
    """
    counts = reply.get("batches")
    if not (isinstance(counts, list) and len(counts) == expected and all(type(n) is int for n in counts)):
        raise BadReply("it does not announce one result per input")
    try:
        tables = wire.decode_tables(counts, stream)
        for table in tables:
            table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise BadReply("its bytes are no valid Arrow stream") from error
    schema = plain(tables[0].schema)
    if len(set(schema.names)) != len(schema.names):
        raise BadReply("two columns have the same name")
    if contract is not None:
        contracts.check(schema, contract)
    return [
        table if table.schema.equals(schema, check_metadata=True) else table.cast(schema) for table in tables
    ], schema


def names(found: object) -> tuple[str, ...]:
    """A list of names.

    Raises:
        BadReply: it is none.
    """
    if not (
        isinstance(found, list)
        and all(isinstance(each, str) and len(each) <= _LONGEST_NAME for each in found)
    ):
        raise BadReply("what it lists are no names")
    return tuple(found)


def declarations(found: object) -> Declarations:
    """What a script declares of itself, which is its own word whatever it says.

    Raises:
        BadReply: it is none of what can be declared.
    """
    try:
        return Declarations.from_dict(found)
    except ValueError as error:
        raise BadReply("its declarations can't be read") from error
