"""Index keys and their values."""

from __future__ import annotations

from datetime import date

from tests.conformance.cases import (
    INVALID,
    Case,
    served,
)

CASES = [
    served("UNKNOWN_KEY_COLUMN", "nobody", key="nobody", index_value=1),
    served("KEY_TYPE", "amount", key="amount", index_value=1),
    served("KEY_VALUE", "user_id", index_value="1.5"),
    served("KEY_VALUE", "user_id", index_value=" 1"),
    served("KEY_VALUE", "user_id", index_value="0x1"),
    served("KEY_VALUE", "user_id", index_value=1.5),
    served("KEY_VALUE", "user_id", index_value=True),
    served("KEY_VALUE", "user_id", index_value=2**63),
    served("KEY_VALUE", "user_id", index_value=date(2026, 1, 1)),
    served("KEY_NULL", "user_id", index_value=None),
    served("KEY_NULL", "user_id", index_values=[1, None]),
    served("KEYS_EMPTY", "at least one", index_values=[]),
    served("KEYS_TOO_MANY", "10000", index_values=list(range(10_001))),
    Case(
        "QueryRealtime",
        INVALID,
        "KEY_WIDTH",
        lambda w: w.store.query_realtime(w.query, index_key=["user_id", "order_id"], index_value=(1,)),
        "user_id, order_id",
    ),
    Case(
        "Explain",
        INVALID,
        "UNKNOWN_KEY_COLUMN",
        lambda w: w.store.explain(w.query, index_key="nobody"),
        "nobody",
        lambda w: ["explain", w.query, "--index-key", "nobody"],
    ),
    Case(
        "Verify",
        INVALID,
        "UNKNOWN_KEY_COLUMN",
        lambda w: w.store.verify(w.query, index_key="nobody"),
        "nobody",
        lambda w: ["verify", w.query, "--index-key", "nobody"],
    ),
]
