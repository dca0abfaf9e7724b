"""Publishing rows whose keys are in the cache of many queries, beside publishing the same while the cache is empty."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from benchmarks.blocks import Rounds
from benchmarks.results import Figure, Part, at_most
from featurestore.model import frames
from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys
from featurestore.model.table import TableRows
from services.realtime.realtime import RealtimeService

_QUERIES = 20
_COLUMNS = ("user_id", "merchant_id", "device_id")
_ROWS_PER_KEY = 2
_AT_ONCE = 1_000
_BAR = 1.5
_REST_SECONDS = 1.0
"""After reading, for what works behind reads."""


@dataclass(frozen=True)
class Size:
    """How many rows a publish has, how many of them make a block, and how many blocks there are."""

    rows: int
    calls: int
    blocks: int


def _sql(number: int) -> str:
    """A query that reads the table on one, two or three columns; each is another one to the store."""
    roles = (
        f"SELECT {column} AS user_id, '{column}' AS role, count(*) AS n, sum(amount + {number}) AS total "
        f"FROM feature_store.payments GROUP BY {column}"
        for column in _COLUMNS[: 1 + number % len(_COLUMNS)]
    )
    return "\nUNION ALL\n".join(roles)


class _Store:
    """A realtime service with the table, as whoever publishes to it sees it."""

    def __init__(self, realtime: RealtimeService, keys: int) -> None:
        self._realtime = realtime
        self._keys = keys
        self._draw = random.Random(5)  # noqa: S311 - nobody has to guess it
        self._columns: dict[int, tuple[int, ...]] = {}
        self._forms: list[QueryForm] = []

    async def set_up(self) -> None:
        ids = range(self._keys * _ROWS_PER_KEY)
        for start in range(0, len(ids), 10_000):
            await self._publish(ids[start : start + 10_000])
        for number in range(_QUERIES):
            sql = _sql(number)
            form = QueryForm(sql, await self._realtime.describe(sql))
            await self._realtime.declare(f"qry_{number}", form, ("user_id",))
            self._forms.append(form)

    async def read(self, keys: list[int]) -> None:
        """Have the answers of all queries for these keys kept."""
        for number, form in enumerate(self._forms):
            for start in range(0, len(keys), _AT_ONCE):
                asked = Keys(("user_id",), tuple((key,) for key in keys[start : start + _AT_ONCE]))
                await self._realtime.query(f"qry_{number}", form, asked, AnswerFormat.ARROW)

    async def publish(self, rows: int) -> tuple[float, list[int]]:
        """How long a publish of so many rows takes, in ms, and the keys whose answers it changed."""
        ids = self._draw.sample(range(self._keys * _ROWS_PER_KEY), rows)
        before = {key for n in ids for key in self._columns[n]}
        took = await self._publish(ids)
        return took, sorted(before | {key for n in ids for key in self._columns[n]})

    async def _publish(self, ids: list[int] | range) -> float:
        self._columns |= {n: tuple(self._draw.randrange(self._keys) for _ in _COLUMNS) for n in ids}
        columns: dict[str, list[int] | list[float]] = {
            "payment_id": list(ids),
            **{column: [self._columns[n][at] for n in ids] for at, column in enumerate(_COLUMNS)},
            "amount": [self._draw.randrange(800) / 8 for _ in ids],
        }
        stream = frames.table_to_stream(pa.table(columns))
        start = time.perf_counter()
        await self._realtime.publish(uuid.uuid4().hex, [TableRows("payments", stream, ("payment_id",), None)])
        return (time.perf_counter() - start) * 1_000


async def measured(
    folder: Path, keys: int, sizes: list[Size]
) -> tuple[int, dict[Size, tuple[Rounds, float]]]:
    """Rounds of `kept` and `empty`, and how many answers a publish dropped; and how many were kept before."""
    found: dict[Size, tuple[Rounds, float]] = {}
    async with (
        RealtimeService(folder / "kept", cache_bytes=2**30) as realtime,
        RealtimeService(folder / "empty", cache_bytes=2**30) as other,
    ):
        cache = realtime._cache  # noqa: SLF001 - what it holds is what is measured
        stores = {"kept": _Store(realtime, keys), "empty": _Store(other, keys)}
        for store in stores.values():
            await store.set_up()
        await stores["kept"].read(list(range(keys)))
        entries = cache.status().entries
        for size in sizes:
            dropped = cache.status().invalidated
            medians: dict[str, list[float]] = {name: [] for name in stores}
            for _ in range(size.blocks):
                for name, store in stores.items():
                    published = [await store.publish(size.rows) for _ in range(size.calls)]
                    medians[name].append(statistics.median(took for took, _ in published))
                    if name == "kept":
                        await store.read(sorted({key for _, changed in published for key in changed}))
                        await asyncio.sleep(_REST_SECONDS)
            dropped = cache.status().invalidated - dropped
            found[size] = Rounds(medians), dropped / (size.blocks * size.calls)
    return entries, found


def part(folder: Path, keys: int, blocks: int) -> Part:
    """Publishes of one row and of a hundred.

    Args:
        keys: of each query, all kept.
    """
    entries, found = asyncio.run(measured(folder, keys, [Size(1, 40, blocks), Size(100, 5, blocks)]))
    rows, figures = [], []
    for size, (rounds, dropped) in found.items():
        what = f"publish of {size.rows} row{'s'[: size.rows - 1]}"
        ratio = rounds.each(lambda kept, empty: kept / empty, "kept", "empty")
        rows.append(at_most(f"{what} with {entries:,} kept answers / with an empty cache", ratio, _BAR))
        group = f"{what}, {dropped:.0f} kept answers dropped each"
        figures += [Figure(group, name, "ms", rounds.of(name)) for name in ("kept", "empty")]
    return Part(rows, figures)
