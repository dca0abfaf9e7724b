"""Random histories of publishes, deletes and definitions against an oracle of plain dicts."""

import asyncio
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.model.errors import FeatureStoreError
from featurestore.model.query import QueryForm
from featurestore.model.serving import Keys
from featurestore.model.table import TableDefinition
from services.realtime import anew, compaction
from tests.support.realtime_rows import new_id, opened, rows_of, table_rows

NAMES = ("keyed", "pairs", "plain")
KEYS = {"keyed": ("a",), "pairs": ("a", "b"), "plain": ()}

small = st.integers(0, 3)
small_or_rarely_null = st.integers(0, 40).map(lambda n: None if n == 40 else n % 4)
rows = st.lists(st.tuples(small_or_rarely_null, st.sampled_from("xy"), st.integers(0, 9)), max_size=6)
names = st.sampled_from(NAMES)
publishes = st.tuples(st.just("publish"), st.dictionaries(names, rows, min_size=1))
deletes = st.tuples(
    st.just("delete"), names, st.lists(st.tuples(small, st.sampled_from("xy")), min_size=1, max_size=3)
)
definitions = st.one_of(
    st.tuples(st.just("drop"), names),
    st.tuples(st.just("alter"), names, st.sampled_from("pq")),
)
steps = st.sampled_from([publishes] * 5 + [deletes] * 4 + [definitions]).flatmap(lambda kind: kind)
histories = st.lists(st.lists(steps, min_size=1, max_size=8), max_size=4)
"""Groups of steps: the steps of one group are sent at once."""


class Oracle:
    """What the store should hold: per table its columns, and its rows by key, or a list of them without one."""

    def __init__(self):
        self.columns = {}
        self.rows = {}

    def publish(self, tables):
        if any(a is None for name, new in tables.items() if KEYS[name] for a, _, _ in new):
            return False
        for name, new in tables.items():
            columns = self.columns.setdefault(name, ["a", "b", "v"])
            held = self.rows.setdefault(name, {})
            for row in new:
                full = row + (None,) * (len(columns) - 3)
                held[row[: len(KEYS[name])] if KEYS[name] else len(held)] = full
        return True

    def delete(self, name, keys):
        if name not in self.columns or not KEYS[name]:
            return False
        for key in keys:
            self.rows[name].pop(key[: len(KEYS[name])], None)
        return True

    def drop(self, name):
        if name not in self.columns:
            return False
        del self.columns[name], self.rows[name]
        return True

    def alter(self, name, column):
        columns = self.columns.setdefault(name, ["a", "b", "v"])
        held = self.rows.setdefault(name, {})
        if column in columns[3:] and len(columns) > 4:
            return False  # a definition without the other column that was added
        if column not in columns:
            if len(columns) > 3:
                return False
            columns.append(column)
            self.rows[name] = {key: (*row, None) for key, row in held.items()}
        return True

    def shown(self):
        return {name: sorted(held.values(), key=repr) for name, held in self.rows.items()}


SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.string()), ("v", pa.int64())])


async def take(realtime, step):
    match step:
        case ("publish", tables):
            wanted = [
                rows_of(
                    name, {c: [row[n] for row in new] for n, c in enumerate("abv")}, KEYS[name], schema=SCHEMA
                )
                for name, new in tables.items()
            ]
            await realtime.publish(new_id(), wanted)
        case ("delete", name, keys):
            await realtime.delete(
                new_id(), name, Keys((), tuple(key[: len(KEYS[name]) or 1] for key in keys))
            )
        case ("drop", name):
            await realtime.drop_table(name)
        case ("alter", name, column):
            schema = SCHEMA.append(pa.field(column, pa.float64()))
            await realtime.create_table(TableDefinition(name, schema, KEYS[name]))


async def shown(realtime):
    tables = [info.definition.name for info in await realtime.list_tables()]
    return {name: sorted(await table_rows(realtime, name), key=repr) for name in tables}


async def send(realtime, oracle, group):
    """Send the steps of a group at once and compare what is taken and what is refused."""
    expected = [getattr(oracle, step[0])(*step[1:]) for step in group]
    # Tasks start in the order in which they were made, so they are enqueued in the group's order.
    found = await asyncio.gather(*(take(realtime, step) for step in group), return_exceptions=True)
    assert all(each is None or isinstance(each, FeatureStoreError) for each in found), found
    assert [each is None for each in found] == expected, (group, found)


async def have_indexes(realtime):
    for name in [info.definition.name for info in await realtime.list_tables()]:
        sql = f"SELECT a, b, v FROM feature_store.{name}"
        form = QueryForm(sql, await realtime.describe(sql))
        await realtime.declare(f"qry_{name}", form, ("b",))


async def run(before, behind, *, indexed=False):
    oracle = Oracle()
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder), readers=1) as realtime:
            for group in before:
                await send(realtime, oracle, group)
                if indexed:
                    await have_indexes(realtime)
            assert await shown(realtime) == oracle.shown()
            version = await realtime.version()
        async with opened(Path(folder), readers=1) as realtime:
            assert await shown(realtime) == oracle.shown()
            assert await realtime.version() == version
            for group in behind:
                await send(realtime, oracle, group)
            assert await shown(realtime) == oracle.shown()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(histories, histories)
def test_any_history_shows_the_oracles_rows_before_and_after_a_restart(before, behind):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compaction, "LEAST_DEAD", 1)  # tables are written anew all the time
        asyncio.run(run(before, behind))


def test_so_does_one_in_which_tables_are_written_anew_for_their_changes():
    written = []

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(histories, histories)
    def look(before, behind):
        asyncio.run(run(before, behind, indexed=True))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(anew, "LEAST_CHANGED", 1)
        write = anew.write
        patched.setattr(anew, "write", lambda *given: written.append(given[1].name) or write(*given))
        look()
    assert len(written) > 30
