"""Publishers, deleters and readers on the same few keys, all at once."""

import asyncio
import random
import time
from dataclasses import dataclass

import pyarrow as pa

from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys
from featurestore.model.warming import Warmed
from tests.property.cache.acknowledged import Acknowledged
from tests.support.realtime_rows import keys_of, new_id, opened, rows_of

ROWS = {"users": 6, "items": 18, "parts": 18, "rates": 2}
"""By table, how many rows it has at most; ids from 0."""
_KEY_OF = {"users": "user_id", "items": "item_id", "parts": "part_id", "rates": "rate_id"}
_WRITERS = 3
_READERS = 6


@dataclass(frozen=True)
class Query:
    """A query, the key that it is asked by, how many values that has, and what its answers are held against."""

    key: str
    values: int
    sql: str
    check: object


def _by_primary_key(key, rows, look):
    look("users", shown(rows, "user_id", "n"), lambda user_id, _: user_id == key)


def _by_another_column(key, rows, look):
    look("items", shown(rows, "item_id", "n"), lambda _, item: item["owner"] == key)


def _joined(key, rows, look):
    _by_primary_key(key, rows, look)
    if rows:
        look("items", shown(rows, "item_id", "item_n"), lambda _, item: item["owner"] == key)


def _chained(key, rows, look):
    _by_another_column(key, rows, look)
    items = {row["item_id"] for row in rows}
    look("parts", shown(rows, "part_id", "part_n"), lambda _, part: part["item_id"] in items)


def _chained_by_a_column_that_changes(key, rows, look):
    look("items", shown(rows, "item_id", "n"), lambda item_id, _: item_id == key)
    if rows:
        other = rows[0]["other"]
        look("users", shown(rows, "user_id", "user_n"), lambda user_id, _: user_id == other)


def _with_a_whole_table(key, rows, look):
    _by_primary_key(key, rows, look)
    if rows:
        look("rates", shown(rows, "rate_id", "rate_n"), lambda *_: True)


def _with_itself(key, rows, look):
    _by_another_column(key, rows, look)
    if rows:
        look("items", shown(rows, "b_id", "b_n"), lambda _, item: item["other"] == key)


QUERIES = [
    Query("user_id", ROWS["users"], "SELECT user_id, n FROM feature_store.users", _by_primary_key),
    Query("owner", ROWS["users"], "SELECT owner, item_id, n FROM feature_store.items", _by_another_column),
    Query(
        "user_id",
        ROWS["users"],
        "SELECT u.user_id, u.n, i.item_id, i.n AS item_n FROM feature_store.users u "
        "LEFT JOIN feature_store.items i ON i.owner = u.user_id",
        _joined,
    ),
    Query(
        "owner",
        ROWS["users"],
        "SELECT i.owner, i.item_id, i.n, p.part_id, p.n AS part_n FROM feature_store.items i "
        "LEFT JOIN feature_store.parts p ON p.item_id = i.item_id",
        _chained,
    ),
    Query(
        "item_id",
        ROWS["items"],
        "SELECT i.item_id, i.n, i.other, u.user_id, u.n AS user_n FROM feature_store.items i "
        "LEFT JOIN feature_store.users u ON u.user_id = i.other",
        _chained_by_a_column_that_changes,
    ),
    Query(
        "user_id",
        ROWS["users"],
        "SELECT u.user_id, u.n, r.rate_id, r.n AS rate_n FROM feature_store.users u "
        "LEFT JOIN feature_store.rates r ON true",
        _with_a_whole_table,
    ),
    Query(
        "owner",
        ROWS["users"],
        "SELECT a.owner, a.item_id, a.n, b.item_id AS b_id, b.n AS b_n FROM feature_store.items a "
        "LEFT JOIN feature_store.items b ON b.other = a.owner",
        _with_itself,
    ),
]


def shown(rows, id_column, number_column):
    return {(row[id_column], row[number_column]) for row in rows if row[id_column] is not None}


class Race:
    """One run on a service, until so many reads were held against what was acknowledged, or the time is over."""

    def __init__(self, realtime, reads, seconds, seed=0, pause=0.004, warmed=False):
        self.reads = 0
        self.from_cache = 0
        self._wanted = reads
        self._until = time.monotonic() + seconds
        self._realtime = realtime
        self._draw = random.Random(seed)
        self._pause = pause
        self._known = Acknowledged()
        self._warmed = warmed
        self.warmed = Warmed()

    async def run(self):
        """Raises StaleAnswerError at the first such answer."""
        await self._publish([(table, n) for table, count in ROWS.items() for n in range(count)])
        self._forms = [QueryForm(each.sql, await self._realtime.describe(each.sql)) for each in QUERIES]
        if self._warmed:
            for number in range(len(QUERIES)):
                await self._warm(number, keep=True)
        work = [self._write(n) for n in range(_WRITERS)] + [self._read() for _ in range(_READERS)]
        work += [self._warm_again()] if self._warmed else []
        tasks = [asyncio.ensure_future(each) for each in work]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def over(self):
        return self.reads >= self._wanted or time.monotonic() > self._until

    async def _read(self):
        while not self.over:
            await self._ask(self._draw.randrange(len(QUERIES)))
            await asyncio.sleep(0)

    async def _ask(self, number, value=None):
        query = QUERIES[number]
        value = self._draw.randrange(query.values) if value is None else value
        since = self._known.now()
        keys = Keys((query.key,), ((value,),))
        answer = await self._realtime.query(f"qry_{number}", self._forms[number], keys, AnswerFormat.ARROW)
        with pa.ipc.open_stream(answer.payload) as reader:
            rows = reader.read_all().to_pylist()
        query.check(value, rows, lambda table, *more: self._known.check(since, table, *more))
        self.reads += 1
        self.from_cache += answer.info.from_cache

    async def _warm_again(self):
        while not self.over:
            await self._warm(self._draw.randrange(len(QUERIES)))
            await asyncio.sleep(2 * self._pause)

    async def _warm(self, number, keep=None):
        self.warmed += await self._realtime.warm(
            f"qry_{number}",
            self._forms[number],
            (QUERIES[number].key,),
            None,
            keep=keep,
            answer_format=AnswerFormat.ARROW,
        )

    async def _write(self, writer):
        owned = [(table, n) for table, count in ROWS.items() for n in range(count) if n % _WRITERS == writer]
        while not self.over:
            rows = self._draw.sample(owned, self._draw.choice([1, 1, 1, 2, 4]))
            if self._draw.random() < 0.2:
                table = rows[0][0]
                await self._delete(table, [n for other, n in rows if other == table])
            else:
                await self._publish(rows)
            await asyncio.sleep(self._draw.uniform(0, 2 * self._pause))

    def _drawn(self, table):
        match table:
            case "items":
                users = ROWS["users"]
                return {"owner": self._draw.randrange(users), "other": self._draw.randrange(users)}
            case "parts":
                return {"item_id": self._draw.randrange(ROWS["items"])}
            case _:
                return {}

    async def _publish(self, rows):
        by_table, written, touched = {}, [], set()
        for table, n in rows:
            columns = self._drawn(table)
            number = self._known.submit(table, n, columns)
            written.append((table, n, number))
            by_table.setdefault(table, []).append({_KEY_OF[table]: n, "n": number, **columns})
            touched |= self._touched(table, n)
        await self._realtime.publish(
            new_id(),
            [
                rows_of(table, {name: [row[name] for row in some] for name in some[0]}, (_KEY_OF[table],))
                for table, some in by_table.items()
            ],
        )
        await self._acknowledged(written, touched)

    async def _delete(self, table, ids):
        touched = {each for n in ids for each in self._touched(table, n)}
        written = [(table, n, self._known.submit(table, n, None)) for n in ids]
        await self._realtime.delete(new_id(), table, keys_of(**{_KEY_OF[table]: ids}))
        await self._acknowledged(written, touched)

    def _touched(self, table, n):
        """Some questions whose answers change with the row: (number of a query, value)."""
        match table:
            case "items":
                latest = self._known.latest(table, n) or {"owner": 0, "other": 0}
                return {(1, latest["owner"]), (4, n), (6, latest["owner"]), (6, latest["other"])}
            case "users":
                return {(0, n), (2, n)}
            case "rates":
                return {(5, self._draw.randrange(ROWS["users"]))}
            case _:
                return set()

    async def _acknowledged(self, written, touched):
        """Ask at once what the writes changed, as a writer does that reads its own writes."""
        for each in written:
            self._known.acknowledge(*each)
        if hasattr(self, "_forms"):
            for number, value in touched:
                await self._ask(number, value)


async def raced(folder, reads, seconds, cache_bytes=2**28, **options):
    """Run a race in a service of its own; returns it and how the cache did."""
    async with opened(folder, cache_bytes=cache_bytes) as realtime:
        race = Race(realtime, reads, seconds, **options)
        await race.run()
        return race, realtime._cache.status()
