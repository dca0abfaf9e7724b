"""The tables under the frozen queries, made by SQL: skewed, with nulls, doubles that are whole eighths."""

from __future__ import annotations

import duckdb

FEW = 20
"""Of a skewed column, the values on which three rows of ten fall: 0 to 19."""


def _draw(salt: int, below: int) -> str:
    """A number of 0 to `below` - 1 that looks drawn at random for row `i`."""
    return f"(hash(i * 31 + {salt}) % {below})::BIGINT"


def _skewed(salt: int, many: int) -> str:
    """As `_draw`, but three rows of ten fall on the first few."""
    return f"CASE WHEN {_draw(salt, 10)} < 3 THEN {_draw(salt + 1, FEW)} ELSE {_draw(salt + 2, many)} END"


def _sometimes_null(value: str, salt: int) -> str:
    return f"CASE WHEN {_draw(salt, 50)} > 0 THEN {value} END"


def _eighths(salt: int, below: int) -> str:
    return f"{_draw(salt, below)} / 8.0::DOUBLE"


def _one_of(salt: int, *words: str) -> str:
    return f"[{', '.join(map(repr, words))}][{_draw(salt, len(words))} + 1]"


def _time(salt: int) -> str:
    """A second of 2024; ties are rare and there."""
    return f"TIMESTAMP '2024-01-01' + to_seconds({_draw(salt, 366 * 24 * 3600)})"


_MERCHANT = "printf('m%05d', {})"
_DEVICE = "printf('d-%06d', {})"
_USER = _sometimes_null(_skewed(1, 8000), 4)
_ANOTHER_USER = _sometimes_null(_skewed(5, 8000), 8)
_CURRENCY = _one_of(33, *(f"C{number:02}" for number in range(20)))

TABLES = {
    "users": (
        8_000,
        {
            "user_id": "i",
            "country": _one_of(10, "DE", "FR", "Es", "it", "PT"),
            "birth_year": f"CAST(1940 + {_draw(11, 65)} AS INTEGER)",
            "creation_date": _time(12),
        },
    ),
    "quotes": (
        50_000,
        {
            "quote_id": "i",
            "user_id": _USER,
            "creation_date": _time(20),
            "price": _eighths(21, 4000),
            "quote_type": _one_of(22, "car", "home", "life"),
            "is_paid": f"{_draw(23, 3)} = 0",
        },
    ),
    "policies": (
        20_000,
        {
            "policy_id": "i",
            "quote_id": "i * 2",
            "user_id": _USER.replace("i *", "(i * 2) *"),  # the quote's
            "purchase_time": _time(26),
            "premium": _sometimes_null(_eighths(27, 4000), 28),
        },
    ),
    "transactions": (
        60_000,
        {
            "transaction_id": "i",
            "user_id": _ANOTHER_USER,
            "merchant_id": _sometimes_null(_MERCHANT.format(_draw(30, 1_000)), 31),
            "ts": _time(32),
            "currency": _CURRENCY,
            "amount": _sometimes_null(_eighths(34, 8000), 35),
            "successful": f"{_draw(36, 8)} > 0",
        },
    ),
    "events": (
        60_000,
        {
            "event_id": "i",
            "user_id": _ANOTHER_USER,
            "device_id": _DEVICE.format(_draw(40, 15_000)),
            # No two at one time: the nearest before a quote is one.
            "ts": "TIMESTAMP '2024-01-01' + to_seconds((i * 7919 % 60_000) * 500 + (i % 7) * 60)",
            "kind": _one_of(41, "view", "view", "view", "click", "click", "buy"),
            "value": _sometimes_null(_eighths(42, 800), 43),
        },
    ),
    "devices": (
        15_000,
        {
            "device_id": _DEVICE.format("i"),
            "user_id": _ANOTHER_USER,
            "os": _one_of(45, "ios", "ios", "android", "android", "emulator"),
            "first_seen": _time(46),
        },
    ),
    "merchants": (
        1_000,
        {
            "merchant_id": _MERCHANT.format("i"),
            "category": _sometimes_null(_one_of(50, "food", "travel", "fashion", "tools"), 51),
            "tags": f"[x FOR x IN ['new', 'local', 'luxury', 'online'] IF hash(x || i) % {3} = 0]",
        },
    ),
    "fx_rates": (
        2_000,
        {
            "currency": "printf('C%02d', i % 20)",
            "ts": "TIMESTAMP '2023-12-20' + to_hours(i // 20 * 90)",
            "rate": _eighths(55, 16),
        },
    ),
    "orders": (
        30_000,
        {
            "order_id": "i",
            "customer_id": _sometimes_null(_skewed(60, 8000), 63),
            "order_date": _time(64),
            "status": _one_of(65, "paid", "open", "cancelled"),
        },
    ),
    "order_items": (
        90_000,
        {
            "order_id": "i // 3",
            "line_no": "CAST(i % 3 AS INTEGER)",
            "product_id": f"CAST({_skewed(70, 2000)} AS INTEGER)",
            "quantity": f"CAST(1 + {_draw(73, 5)} AS INTEGER)",
            "price": _eighths(74, 800),
        },
    ),
    "products": (
        2_000,
        {
            "product_id": "CAST(i AS INTEGER)",
            "category": _sometimes_null(f"printf('cat%02d', {_draw(80, 40)})", 81),
            "list_price": f"1 + {_eighths(82, 800)}",
        },
    ),
    "ratings": (
        40_000,
        {
            "user_id": _USER,
            "product_id": f"CAST({_skewed(90, 2000)} AS INTEGER)",
            "stars": f"CAST(1 + {_draw(93, 5)} AS INTEGER)",
            "ts": _time(94),
        },
    ),
}
"""By name: how many rows, and of each column the expression over the row's number `i`."""


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Make and fill them all."""
    for name, (rows, columns) in TABLES.items():
        made = ", ".join(f"{expression} AS {column}" for column, expression in columns.items())
        connection.execute(f"CREATE TABLE feature_store.{name} AS SELECT {made} FROM range({rows}) AS r(i)")
