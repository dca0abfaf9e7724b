"""Feast's own job, the same for both: one table, six features, as many users as asked for, and who is asked for."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa

TABLE = "profile"
SQL = "SELECT user_id, balance, score, tries, visits, region, paid FROM feature_store.profile"
ETL = """\
from etl_abc import AbstractEtl


class Etl(AbstractEtl):
    def extract(self):
        result = self.df[["user_id"]].copy()
        result["tries_per_visit"] = self.df["tries"] / (self.df["visits"] + 1)
        result["weighted"] = self.df["balance"] * self.df["score"]
        result["rich"] = self.df["balance"] > 500
        return result
"""
"""What is made of the features on demand; Feast's twins are in `feast/prepare.py`."""
_SEED = 3
_REGIONS = ("north", "east", "south", "west")
_START_US = 1_577_836_800 * 10**6
_ZIPF = 1.1


def rows(users: int) -> pa.Table:
    """Six features a user: two doubles, two integers, a text and a boolean."""
    draw = np.random.default_rng(_SEED)
    return pa.table(
        {
            "user_id": np.arange(users),
            "balance": draw.integers(0, 8_000, users) / 8,
            "score": draw.integers(0, 800, users) / 8,
            "tries": draw.integers(0, 100, users),
            "visits": draw.integers(0, 10_000, users),
            "region": pa.array(_REGIONS).take(pa.array(draw.integers(0, len(_REGIONS), users))),
            "paid": pa.array(draw.random(users) < 0.5),
        }
    )


def timed(table: pa.Table) -> pa.Table:
    """The same rows with the time that Feast wants of each."""
    times = pa.array(np.full(len(table), _START_US)).cast(pa.timestamp("us", "UTC"))
    return table.append_column("event_timestamp", times)


def row(user: int, draw: random.Random) -> Mapping[str, object]:
    """New values for a user."""
    return {
        "user_id": user,
        "balance": draw.randrange(8_000) / 8,
        "score": draw.randrange(800) / 8,
        "tries": draw.randrange(100),
        "visits": draw.randrange(10_000),
        "region": draw.choice(_REGIONS),
        "paid": draw.random() < 0.5,
    }


def evenly(users: int, count: int, seed: int) -> Callable[[], Sequence[int]]:
    """Draws so many keys at a time, each as likely as any."""
    draw = random.Random(seed)  # noqa: S311 - test data
    return lambda: [draw.randrange(users) for _ in range(count)]


def zipf(users: int, seed: int) -> Iterator[int]:
    """Draws one key at a time: the n-th of a fixed shuffled order with a chance of n ** -1.1."""
    weights = list(accumulate(np.arange(1, users + 1) ** -_ZIPF))
    order = np.random.default_rng(_SEED).permutation(users).tolist()
    draw = random.Random(seed)  # noqa: S311 - test data
    while True:
        yield from draw.choices(order, cum_weights=weights, k=1_000)
