"""Rows by the million, for proofs of what many rows do."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

import featurestore

PIECE_ROWS = 250_000


def payments(first: int, rows: int) -> pa.Table:
    """8 columns, 80 bytes a row or so, hardly compressible; the same for the same `first`."""
    draw = np.random.default_rng(first)
    return pa.table(
        {
            "payment_id": np.arange(first, first + rows),
            "user_id": draw.integers(0, 2**40, rows),
            "paid_at": pa.array(draw.integers(0, 2**50, rows), pa.int64()).cast(pa.timestamp("us")),
            "amount": draw.random(rows),
            "balance": draw.random(rows),
            "items": draw.integers(0, 2**40, rows),
            "reference": pa.array(draw.integers(10**11, 10**12, rows)).cast(pa.string()),
            "merchant": pa.array(draw.integers(10**7, 10**8, rows)).cast(pa.string()),
        }
    )


def publish(store: featurestore.Store, rows: int, primary_key: str | None = None) -> None:
    """Publish so many payments in pieces, and wait until the warehouse has all of them."""
    for first in range(0, rows, PIECE_ROWS):
        piece = payments(first, min(PIECE_ROWS, rows - first))
        store.publish("payments", piece, primary_key=primary_key)
    assert count(store) == rows


def count(store: featurestore.Store) -> int:
    """How many there are, in training."""
    counted = store.query_train("SELECT count(*) AS n FROM feature_store.payments").to_arrow()
    return int(counted.column("n")[0].as_py())
