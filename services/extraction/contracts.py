"""Contracts: what an ETL's result must be, and the errors that say where it is not."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from featurestore.etl.contract import Difference, differences
from featurestore.model.errors import FailedPrecondition


def check(schema: pa.Schema, contract: pa.Schema) -> None:
    """Compare names, types and order; nullability and metadata don't count.

    Raises:
        FailedPrecondition: `CONTRACT_BROKEN` with every column that differs.
    """
    found = differences(schema, contract)
    if found:
        raise broken(found)


def broken(found: Sequence[Difference], **details: str) -> FailedPrecondition:
    """The error that lists every column that differs from the contract.

    Its details hold `columns`, the names as a JSON list, and `differences`, a JSON list of objects with `column`,
    `kind` (missing, unexpected, type or order), `expected` and `found`.
    """
    return FailedPrecondition(
        "CONTRACT_BROKEN",
        f"the ETL's result is not what its contract says: {'; '.join(map(str, found))}",
        columns=json.dumps(list(dict.fromkeys(difference.column for difference in found))),
        differences=json.dumps([difference.as_dict() for difference in found]),
        **details,
    )


def require_decided(undecided: Sequence[str]) -> None:
    """Refuse to save a training result whose rows don't decide every column's type.

    Raises:
        FailedPrecondition: `CONTRACT_UNDECIDED` naming the columns.
    """
    if undecided:
        names = ", ".join(repr(name) for name in undecided)
        raise FailedPrecondition(
            "CONTRACT_UNDECIDED",
            f"the training rows don't decide the type of {names}: there are no rows, or only nulls in an object "
            "column; train on rows that have values, or declare the Arrow types in the ETL's output_types",
            columns=json.dumps(list(undecided)),
        )
