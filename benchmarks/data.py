"""The demo's four tables in any size, drawn with numpy: doubles are k/8, skew is that of real customers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

import featurestore
from featurestore.cli.datasets import insurance

SQL = (Path(insurance.__file__).parent / "query.sql").read_text()
"""The demo's query over all four."""

QUERIES = {
    "demo": SQL,
    "filtered": """
        SELECT q.quote_id, q.user_id, q.quote_type, u.creation_date AS user_since, p.policy_id, t.failed
        FROM feature_store.quotes q
        LEFT JOIN feature_store.users u ON u.user_id = q.user_id
        LEFT JOIN feature_store.policies p ON p.quote_id = q.quote_id AND p.user_id = q.user_id
        LEFT JOIN (
            SELECT user_id, count(*) AS failed FROM feature_store.transactions WHERE NOT successful GROUP BY user_id
        ) t ON t.user_id = q.user_id
        WHERE q.quote_type = 'rent'
    """,
    "newest": """
        SELECT q.quote_id, q.user_id, last.amount AS last_amount, last.successful
        FROM feature_store.quotes q
        LEFT JOIN LATERAL (
            SELECT amount, successful FROM feature_store.transactions t WHERE t.user_id = q.user_id
            ORDER BY transaction_id DESC LIMIT 1
        ) last ON true
    """,
    "twice": """
        WITH paid AS (
            SELECT user_id, count(*) AS tries, count(*) FILTER (WHERE NOT successful) AS failed
            FROM feature_store.transactions GROUP BY user_id
        )
        SELECT q.quote_id, q.user_id, mine.tries, bad.failed
        FROM feature_store.quotes q
        LEFT JOIN paid mine ON mine.user_id = q.user_id
        LEFT JOIN paid bad ON bad.user_id = q.user_id AND bad.failed > 0
    """,
}
"""More that people write: filters beside the key, the newest row of a key, an aggregate that is joined twice."""

KEYS = {
    "users": "user_id",
    "quotes": "quote_id",
    "policies": "policy_id",
    "transactions": "transaction_id",
}
_SEED = 7
_DAY_US = 86_400 * 10**6
_START_US = 1_577_836_800 * 10**6


def customers(users: int) -> dict[str, pa.Table]:
    """As many users and quotes, half as many policies, twice as many transactions; up to 100 rows a user."""
    draw = np.random.default_rng(_SEED)
    days = draw.integers(0, 1_000, users)
    owner = draw.integers(0, users, users)
    policies = draw.permutation(users)[: users // 2]
    payer = np.minimum(draw.zipf(1.5, 2 * users) - 1, 99) * (users // 100) + draw.integers(
        0, users // 100, 2 * users
    )
    return {
        "users": pa.table(
            {"user_id": np.arange(users), "name": _texts("n", users), "creation_date": _times(days)}
        ),
        "quotes": pa.table(
            {
                "quote_id": np.arange(users),
                "user_id": owner,
                "creation_date": _times(days),
                "binding_date": _times(days + 1),
                "quote_type": _chosen(draw, ["rent", "owner"], users),
                "quote_device": _chosen(draw, ["web", "mobile"], users),
                "is_paid": pa.array(draw.random(users) < 0.5),
            }
        ),
        "policies": pa.table(
            {
                "policy_id": np.arange(len(policies)),
                "user_id": owner[policies],
                "quote_id": policies,
                "purchase_time": _times(days[policies] + 2),
            }
        ),
        "transactions": pa.table(
            {
                "transaction_id": np.arange(2 * users),
                "user_id": payer,
                "amount": draw.integers(0, 8_000, 2 * users) / 8,
                "successful": pa.array(draw.random(2 * users) < 0.5),
            }
        ),
    }


def load(store: featurestore.Store, users: int) -> dict[str, pa.Table]:
    """Publish them; returns what was published."""
    tables = customers(users)
    for name, rows in tables.items():
        store.publish(name, rows, primary_key=KEYS[name])
    return tables


def _times(days: np.ndarray) -> pa.Array:
    return pa.array(_START_US + days * _DAY_US).cast(pa.timestamp("us", "UTC"))


def _texts(prefix: str, count: int) -> pa.Array:
    return pa.array([f"{prefix}{n}" for n in range(count)])


def _chosen(draw: np.random.Generator, options: list[str], count: int) -> pa.Array:
    return pa.array(options).take(pa.array(draw.integers(0, len(options), count)))
