"""Simulated insurance customers: the rows that the demo publishes, one atomic version per customer."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from featurestore.model.errors import FailedPrecondition
from featurestore.model.table import TableDefinition

BIND_SHARE = 0.8
PAY_SHARE = 0.8
PAYMENT_FAILURE_SHARE = 0.5

_SEEDED_NOW = datetime(2025, 1, 1, tzinfo=UTC)
_TIME = pa.timestamp("us", tz="UTC")


def _definition(name: str, event_time: str, *columns: pa.Field) -> TableDefinition:
    return TableDefinition(name, pa.schema(columns), (columns[0].name,), event_time)


def _given(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


TABLES: Mapping[str, TableDefinition] = {
    table.name: table
    for table in (
        _definition(
            "quotes",
            "creation_date",
            _given("quote_id", pa.string()),
            pa.field("user_id", pa.string()),  # null while unbound, as is binding_date
            _given("creation_date", _TIME),
            pa.field("binding_date", _TIME),
            _given("quote_type", pa.string()),
            _given("quote_device", pa.string()),
            _given("is_binded", pa.bool_()),
            _given("is_paid", pa.bool_()),
        ),
        _definition(
            "users",
            "creation_date",
            _given("user_id", pa.string()),
            _given("name", pa.string()),
            _given("address", pa.string()),
            _given("creation_date", _TIME),
        ),
        _definition(
            "transactions",
            "transaction_time",
            _given("transaction_id", pa.string()),
            _given("user_id", pa.string()),
            _given("ref_id", pa.string()),
            _given("ref_type", pa.string()),
            _given("transaction_time", _TIME),
            _given("successful", pa.bool_()),
            _given("card_number", pa.string()),
            _given("card_expiration_date", pa.date32()),
            _given("card_type", pa.string()),
        ),
        _definition(
            "policies",
            "purchase_time",
            _given("policy_id", pa.string()),
            _given("user_id", pa.string()),
            _given("quote_id", pa.string()),
            _given("purchase_time", _TIME),
            _given("policy_type", pa.string()),
            _given("policy_device", pa.string()),
        ),
    )
}
"""What the flows publish into, in the order in which a flow fills it."""


class FlowSimulator:
    """Makes up customers, one after the other.

    Building one takes some 50 ms, as Faker loads its word lists; a flow takes well under 1 ms.
    Not thread-safe.
    """

    def __init__(self, seed: int | None = None) -> None:
        """Prepare a sequence of flows.

        Args:
            seed: the same seed gives the same flows, ids and times included; their times lie in the two
                months before 2025. None gives new customers every time, in the two months before now.

        Raises:
            FailedPrecondition: `DEMO_NOT_INSTALLED`: Faker is missing.
        """
        try:
            from faker import Faker  # noqa: PLC0415 - an optional extra
        except ImportError as missing:
            raise FailedPrecondition(
                "DEMO_NOT_INSTALLED",
                "the simulated customers need Faker, which is not installed where the gateway runs: "
                "run pip install 'featurestore[demo]' there",
            ) from missing
        # As text, since Random takes the absolute value of a number: -1 would give what 1 gives.
        self._random = random.Random(None if seed is None else str(seed))  # noqa: S311 - invented data
        self._faker = Faker()
        self._faker.seed_instance(self._random.getrandbits(64))
        self._now = datetime.now(UTC) if seed is None else _SEEDED_NOW

    def next_flow(self) -> dict[str, pa.Table]:
        """One customer: a quote, and what became of it.

        8 of 10 quotes bind to a new user; 8 of 10 of these users pay: one or more payments, about half of
        which fail, the last of which succeeds and buys the policy. No time lies in the future.

        Returns:
            By name, each table of `TABLES` that the customer reached, with one row (transactions: one or
            more) of exactly that table's schema. To be published as one version.
        """
        quote: dict[str, Any] = {
            "quote_id": self._new_id(),
            "creation_date": self._now - self._up_to(timedelta(days=30)) - timedelta(days=30),
            "quote_type": self._random.choice(("rent", "owner")),
            "quote_device": self._random.choice(("web", "mobile")),
            "is_binded": self._random.random() < BIND_SHARE,
            "is_paid": False,
        }
        rows: dict[str, list[dict[str, Any]]] = {"quotes": [quote]}
        if quote["is_binded"]:
            user = {
                "user_id": self._new_id(),
                "name": self._faker.name(),
                "address": self._faker.address().replace("\n", ", "),
                "creation_date": quote["creation_date"] + self._up_to(timedelta(days=7)),
            }
            quote["user_id"] = user["user_id"]
            quote["binding_date"] = user["creation_date"]
            rows["users"] = [user]
            if self._random.random() < PAY_SHARE:
                quote["is_paid"] = True
                rows["transactions"], policy = self._payments(quote)
                rows["policies"] = [policy]
        return {name: pa.Table.from_pylist(rows[name], TABLES[name].schema) for name in rows}

    def _payments(self, quote: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The payments for a quote, in time, and the policy that the last one bought."""
        policy = {
            "policy_id": self._new_id(),
            "user_id": quote["user_id"],
            "quote_id": quote["quote_id"],
            "policy_type": quote["quote_type"],
            "policy_device": quote["quote_device"],
        }
        payments: list[dict[str, Any]] = []
        time = quote["binding_date"]
        while "purchase_time" not in policy:
            time += self._up_to(timedelta(minutes=30))
            successful = self._random.random() >= PAYMENT_FAILURE_SHARE
            if successful:
                policy["purchase_time"] = time
            card = self._faker.credit_card_number()
            payments.append(
                {
                    "transaction_id": self._new_id(),
                    "user_id": quote["user_id"],
                    # A payment that failed was for the quote; there is no policy yet.
                    "ref_id": policy["policy_id"] if successful else quote["quote_id"],
                    "ref_type": "policy" if successful else "quote",
                    "transaction_time": time,
                    "successful": successful,
                    "card_number": card[:4] + "*" * (len(card) - 8) + card[-4:],
                    "card_expiration_date": date(time.year + self._random.randint(1, 5), time.month, 1),
                    "card_type": self._random.choice(("debit", "credit")),
                }
            )
        return payments, policy

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _up_to(self, longest: timedelta) -> timedelta:
        return longest * self._random.random()
