"""Uncached reads of the four-table query: ours beside the echo, the narrowed text on a bare cursor, the naive forms."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pyarrow as pa

import featurestore
from benchmarks import blocks, data
from benchmarks.blocks import Rounds
from benchmarks.echo import Echo
from featurestore.api.common.v1 import common_pb2
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.api.gateway.v1.gateway_pb2_grpc import FeatureStoreServiceStub
from featurestore.engine.apply import Tables, index
from featurestore.engine.column_types import duckdb_type
from featurestore.engine.describe import describe
from featurestore.engine.key_values import convert_keys
from featurestore.engine.planner import Plan, plan
from featurestore.engine.planner.text import planned_sql
from featurestore.engine.profile import connect
from featurestore.engine.sql_check import parse
from featurestore.engine.tables import create_sql, qualified
from featurestore.engine.wrapping import serving_sql
from featurestore.host.folder import StoreFolder
from featurestore.model.query import QueryForm
from featurestore.model.serving import Keys
from featurestore.model.table import TableDefinition

INDEX_KEY = "user_id"
_SEED = 11
_WATCHMAN_SECONDS = 15
"""It rests four times as long as it works, so it is done with the first twenty answers by then."""
_FORMAT = common_pb2.ANSWER_FORMAT_ARROW


@dataclass(frozen=True)
class Sizes:
    """How often each thing is called in a block."""

    ours: int
    bare: int
    naive: int


class Bare:
    """The same data with the same indexes in a bare DuckDB of this process."""

    def __init__(self, tables: dict[str, pa.Table]) -> None:
        """Load it."""
        self.cursor = connect(threads=2, memory_limit="8GB")
        definitions: Tables = {
            name: TableDefinition(name, rows.schema, (data.KEYS[name],)) for name, rows in tables.items()
        }
        for name, rows in tables.items():
            self.cursor.execute(create_sql(definitions[name]))
            self.cursor.register("incoming", rows)
            self.cursor.execute(f"INSERT INTO {qualified(name)} SELECT * FROM incoming")
            self.cursor.unregister("incoming")
        index(self.cursor, definitions)
        checked = parse(data.SQL)
        self.form = QueryForm(checked.sql, describe(self.cursor, checked.sql))
        types = {
            name: {field.name: duckdb_type(field.type) for field in each.schema}
            for name, each in definitions.items()
        }
        self.plan: Plan = plan(self.form, [INDEX_KEY], types)
        for each in self.plan.occurrences:
            for narrowing in each.narrowed:
                if data.KEYS[each.table] != narrowing.column:
                    self.cursor.execute(
                        f"CREATE INDEX IF NOT EXISTS {each.table}_{narrowing.column} "
                        f"ON {qualified(each.table)} ({narrowing.column})"
                    )

    def narrowed(self, keys: Keys) -> pa.Table:
        """The text that realtime runs."""
        sql = planned_sql(self.form, self.plan, convert_keys(self.form, keys), {})
        return self.cursor.execute(sql).to_arrow_table()

    def literal(self, keys: Keys) -> pa.Table:
        """The naive form: wrapped as it is, the keys as literals."""
        return self.cursor.execute(serving_sql(self.form, convert_keys(self.form, keys))).to_arrow_table()

    def parameter(self, keys: Keys) -> pa.Table:
        """The naive form: wrapped as it is, the key as a parameter."""
        sql = f"SELECT * FROM (\n{self.form.sql}\n) AS t WHERE t.{INDEX_KEY} = $1"
        return self.cursor.execute(sql, list(keys.tuples[0])).to_arrow_table()


class Ours:
    """A local store's query, called by the generated stub, as a backend would."""

    def __init__(self, query_id: str, channel: grpc.Channel) -> None:
        """Use a store that is open."""
        self._stub = FeatureStoreServiceStub(channel)
        self._query_id = query_id

    def request(self, keys: Keys) -> pb.QueryRealtimeRequest:
        """What is sent."""
        return pb.QueryRealtimeRequest(
            query=self._query_id,
            format=_FORMAT,
            keys=common_pb2.Keys(
                columns=keys.columns,
                tuples=[
                    common_pb2.KeyTuple(values=[common_pb2.Value(int64_value=value)])
                    for (value,) in keys.tuples
                ],
            ),
        )

    def __call__(self, keys: Keys) -> pb.QueryRealtimeResponse:
        """One call."""
        return self._stub.QueryRealtime(self.request(keys), timeout=60)


@contextmanager
def served(folder: Path, users: int) -> Iterator[tuple[Ours, dict[str, pa.Table]]]:
    """A local store with so many users, its query declared, and the watchman done with the first answers."""
    path = folder / f"store-{users}"
    with featurestore.local(path) as store:
        tables = data.load(store, users)
        saved = store.query_train(data.SQL, save=True, index_key=INDEX_KEY)
        if saved.explanation is None or saved.explanation.verdict != "indexed":
            raise RuntimeError(f"the query is not served by indexes: {saved.explanation}")
        with grpc.insecure_channel(f"unix:{StoreFolder(path).socket}") as channel:
            ours = Ours(saved.query_id, channel)
            asked = _drawn(users, 1)
            for _ in range(25):
                ours(asked())
            time.sleep(_WATCHMAN_SECONDS)
            yield ours, tables


def measure(folder: Path, echo: Echo, users: int, counts: dict[int, Sizes]) -> dict[int, Rounds]:
    """Rounds of `echo`, `bare`, `ours`, `literal` and `parameter`, by number of keys."""
    with served(folder, users) as (ours, tables):
        bare = Bare(tables)
        return {count: _rounds(echo, bare, ours, users, count, sizes) for count, sizes in counts.items()}


def growth(folder: Path, small: int, large: int, calls: int) -> Rounds:
    """Rounds of one key, `small` and `large`, in stores of so many users."""
    with served(folder, small) as (few, _), served(folder, large) as (many, _):
        from_few, from_many = _drawn(small, 1), _drawn(large, 1)
        return blocks.rounds(
            {"small": (lambda: few(from_few()), calls), "large": (lambda: many(from_many()), calls)}
        )


def many_keys(folder: Path, users: int, calls: int) -> Rounds:
    """Rounds of `100` keys and `1000` keys."""
    with served(folder, users) as (ours, _):
        hundred, thousand = _drawn(users, 100), _drawn(users, 1_000)
        return blocks.rounds(
            {"100": (lambda: ours(hundred()), calls), "1000": (lambda: ours(thousand()), max(3, calls // 5))}
        )


def _drawn(users: int, count: int) -> Callable[[], Keys]:
    draw = random.Random(_SEED)  # noqa: S311 - test data
    return lambda: Keys((INDEX_KEY,), tuple((draw.randrange(users),) for _ in range(count)))


def _rounds(echo: Echo, bare: Bare, ours: Ours, users: int, count: int, sizes: Sizes) -> Rounds:
    keys = _drawn(users, count)

    def call(run: Callable[[Keys], object]) -> Callable[[], object]:
        return lambda: run(keys())

    echo.answers(ours(keys()).ByteSize())
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "echo": (call(lambda asked: echo.stub.QueryRealtime(ours.request(asked), timeout=60)), sizes.ours),
        "ours": (call(ours), sizes.ours),
        "bare": (call(bare.narrowed), sizes.bare),
        "literal": (call(bare.literal), sizes.naive),
    }
    if count == 1:
        calls["parameter"] = (call(bare.parameter), sizes.naive)
    return blocks.rounds(calls)
