"""What a publish may be, before any of it is decoded."""

from __future__ import annotations

from collections.abc import Sequence

from featurestore.model.errors import InvalidArgument, ResourceExhausted
from featurestore.model.table import TableRows

MAX_PUBLISH_BYTES = 64 * 2**20
MAX_PUBLISH_ID = 128


def check_publish_id(publish_id: str) -> None:
    """Hold a publish id to its rule.

    Raises:
        InvalidArgument: `PUBLISH_ID`.
    """
    if not 1 <= len(publish_id) <= MAX_PUBLISH_ID:
        raise InvalidArgument(
            "PUBLISH_ID",
            f"publish_id has {len(publish_id)} characters: make one of 1 to {MAX_PUBLISH_ID} characters per publish, "
            "such as a random UUID, and repeat it only to repeat the same publish",
            field="publish_id",
        )


def check_publish_size(tables: Sequence[TableRows]) -> None:
    """Hold a publish to its limits.

    Raises:
        InvalidArgument: `BAD_TABLE` when no table, or one twice, is given.
        ResourceExhausted: `PUBLISH_TOO_LARGE`.
    """
    names = [rows.table.lower() for rows in tables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        what = f"table {twice[0]} is given twice in one publish" if twice else "a publish names no table"
        raise InvalidArgument(
            "BAD_TABLE", f"{what}: give each table once, with all of its rows", field="tables"
        )
    size = sum(len(rows.arrow_stream) for rows in tables)
    if size > MAX_PUBLISH_BYTES:
        raise ResourceExhausted(
            "PUBLISH_TOO_LARGE",
            f"the publish has {size:,} bytes of Arrow, more than {MAX_PUBLISH_BYTES:,}: split it; "
            "several tables can be one version only below that",
            bytes=size,
            limit=MAX_PUBLISH_BYTES,
        )
