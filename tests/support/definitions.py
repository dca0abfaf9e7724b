"""A small folder of definitions, a store with the rows that it reads, and `featurestore apply` on both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import featurestore
from tests.support.command_line import Ran, run
from tests.support.git_repos import GitRepo

AGREED = re.compile(r"verified (.+) by user_id: (\d+) of \2 keys agree")
"""The verdict on one definition of which all keys agree: it, and how many, those without rows included."""
PAYMENTS = [
    {"payment_id": 1, "user_id": "ann", "amount": 12.5},
    {"payment_id": 2, "user_id": "ann", "amount": 80.0},
    {"payment_id": 3, "user_id": "bob", "amount": 7.25},
]
QUERY = """\
-- index_key: user_id
-- description: What each user paid
-- owner: payments team

SELECT user_id, count(*) AS payments, sum(amount) AS paid
FROM feature_store.payments
GROUP BY user_id
"""
ETL = """\
# name: shares
# query: paid
# index_key: user_id

from etl_abc import AbstractEtl


class Etl(AbstractEtl):
    def extract(self):
        features = self.df[["user_id"]].copy()
        features["each"] = self.df["paid"] / self.df["payments"]
        return features
"""
FILES = {"defs/queries/paid.sql": QUERY, "defs/etls/shares.py": ETL}


@contextmanager
def opened(folder: Path) -> Iterator[featurestore.Store]:
    """A local store with payments."""
    with featurestore.local(folder) as client:
        client.publish("payments", PAYMENTS, primary_key="payment_id")
        yield client


def apply(repo: GitRepo, *options: object) -> Ran:
    """Apply the repository's folder `defs`."""
    return run("apply", repo.folder / "defs", *options)


def told(ran: Ran, key: str) -> dict[str, Any]:
    """The JSON objects of one sort, by name."""
    return {row["name"] if key != "verified" else row[key]: row for row in ran.rows if key in row}


def ids(ran: Ran) -> dict[str, str]:
    """What was saved."""
    return {name: row["saved"] for name, row in told(ran, "saved").items()}
