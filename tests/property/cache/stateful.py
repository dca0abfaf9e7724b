"""A store with a cache, step by step beside the plain form: what a query shows for a key is what training would show."""

import asyncio
import datetime as dt
import shutil
import tempfile
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from featurestore.engine.outputs import finish
from featurestore.engine.wrapping import training_sql
from featurestore.model.errors import FailedPrecondition, FeatureStoreError
from featurestore.model.query import QueryForm
from featurestore.model.serving import AnswerFormat, Keys
from featurestore.model.table import TableDefinition
from tests.support.realtime_rows import keys_of, new_id, opened, rows_of

KINDS = {
    "bigint": (pa.int64(), [-1, 0, 2**62]),
    "varchar": (pa.string(), ["", "a", "A"]),
    "date": (pa.date32(), [dt.date(1969, 12, 31), dt.date(2024, 2, 29), dt.date(2024, 3, 1)]),
    "timestamp": (
        pa.timestamp("us"),
        [dt.datetime(1969, 12, 31, 23, 59), dt.datetime(2024, 2, 29, 0, 0, 0, 1), dt.datetime(2024, 2, 29)],  # noqa: DTZ001
    ),
    "timestamp with time zone": (
        pa.timestamp("us", "UTC"),
        [dt.datetime(2024, 2, 29, hour, tzinfo=dt.UTC) for hour in (0, 1, 23)],
    ),
    "decimal": (pa.decimal128(12, 2), [Decimal("-0.01"), Decimal("0.00"), Decimal("1234567890.10")]),
}
QUERIES = {
    "primary key": (("id",), "SELECT id, k, v FROM feature_store.facts"),
    "another column": (("k",), "SELECT k, id, v FROM feature_store.facts"),
    "two columns": (
        ("k", "other"),
        "SELECT k, other, count(*) AS n FROM feature_store.facts GROUP BY k, other",
    ),
    "join": (
        ("k",),
        """SELECT d.k, d.name, f.id, f.v
        FROM feature_store.dims d LEFT JOIN feature_store.facts f ON f.k = d.k""",
    ),
    "itself on two columns": (
        ("k",),
        """SELECT a.k, a.id, b.id AS b_id, b.v AS b_v
        FROM feature_store.facts a LEFT JOIN feature_store.facts b ON b.other = a.k""",
    ),
    "two of itself, put together": (
        ("k",),
        """SELECT k, 'k' AS side, sum(v) AS v FROM feature_store.facts GROUP BY k
        UNION ALL SELECT other, 'other', sum(v) FROM feature_store.facts GROUP BY other""",
    ),
    "chain by a column of the type": (
        ("id",),
        """SELECT f.id, f.v, d.name
        FROM feature_store.facts f LEFT JOIN feature_store.dims d ON d.k = f.other""",
    ),
    "chain to a table without a key": (
        ("k",),
        """SELECT f.k, f.id, n.text
        FROM feature_store.facts f JOIN feature_store.notes n ON n.fact_id = f.id""",
    ),
    "chain of two": (
        ("k",),
        """SELECT d.k, d.name, f.id, n.text
        FROM feature_store.dims d JOIN feature_store.facts f ON f.k = d.k
        LEFT JOIN feature_store.notes n ON n.fact_id = f.id""",
    ),
    "a table read whole": (
        ("k",),
        "SELECT k, name, (SELECT sum(v) FROM feature_store.facts) AS everything FROM feature_store.dims",
    ),
    "a window over all": (
        ("id",),
        "SELECT id, v, sum(v) OVER () AS everything FROM feature_store.facts",
    ),
    "by text": (("text",), "SELECT text, fact_id FROM feature_store.notes"),
}
"""By name, an index key and a query."""
IDS = range(4)
ids = st.sampled_from(IDS)
places = st.integers(0, 2)
notes = st.tuples(ids, st.sampled_from("xy"))
facts = st.tuples(ids, st.none() | places, st.none() | places, st.integers(0, 9))
dims = st.tuples(places, st.sampled_from("pq"))
formats = st.sampled_from([AnswerFormat.ARROW, AnswerFormat.ARROW, AnswerFormat.ROWS])


class CachedBesidePlain(RuleBasedStateMachine):
    """One client, so that the data stand still between steps."""

    counts: Counter
    """Of keys asked for, by whether they came from the cache; of the steps that changed something."""

    @initialize(kind=st.sampled_from(sorted(KINDS)))
    def start(self, kind):
        self._type, self._values = KINDS[kind]
        self._folder = Path(tempfile.mkdtemp())
        self._runner = asyncio.Runner()
        self._extra = {name: [] for name in self._schemas()}
        self._realtime = None
        self._open()
        for name in self._extra:
            self._create(name)
        self._forms = {
            name: QueryForm(sql, self._run(self._realtime.describe(sql)))
            for name, (_, sql) in QUERIES.items()
        }

    def teardown(self):
        if hasattr(self, "_runner"):
            self._close()
            self._runner.close()
            shutil.rmtree(self._folder)

    def _schemas(self):
        number = pa.int64()
        return {
            "facts": ([("id", number), ("k", self._type), ("other", self._type), ("v", number)], ("id",)),
            "dims": ([("k", self._type), ("name", pa.string())], ("k",)),
            "notes": ([("fact_id", number), ("text", pa.string())], ()),
        }

    def _run(self, work):
        return self._runner.run(work)

    def _open(self):
        self._realtime = self._run(opened(self._folder, readers=1).__aenter__())

    def _close(self):
        if self._realtime is not None:
            self._run(self._realtime.__aexit__(None, None, None))

    def _create(self, name):
        columns, key = self._schemas()[name]
        schema = pa.schema([*columns, *((extra, pa.int64()) for extra in self._extra[name])])
        self._run(self._realtime.create_table(TableDefinition(name, schema, key)))
        self.counts["defined"] += 1

    def _value(self, place):
        return None if place is None else self._values[place]

    def _rows(self, name, rows):
        columns, key = self._schemas()[name]
        by_name = {column: [row[at] for row in rows] for at, (column, _) in enumerate(columns)}
        return rows_of(name, by_name, key or None, schema=pa.schema(columns))

    @rule(
        some=st.lists(facts, min_size=1, max_size=3),
        more=st.lists(dims, max_size=2),
        texts=st.lists(notes, max_size=2),
    )
    def publish(self, some, more, texts):
        tables = [self._rows("facts", [(n, self._value(k), self._value(o), v) for n, k, o, v in some])]
        if more:
            tables.append(self._rows("dims", [(self._value(k), name) for k, name in more]))
        if texts:
            tables.append(self._rows("notes", texts))
        self._run(self._realtime.publish(new_id(), tables))
        self.counts["published"] += 1

    @rule(n=ids, k=places, other=places, settled=st.booleans())
    def move(self, n, k, other, settled):
        """A row goes to another key, alone; what is kept up may be computed again before anybody asks."""
        self._run(
            self._realtime.publish(
                new_id(), [self._rows("facts", [(n, self._value(k), self._value(other), 1)])]
            )
        )
        if settled:
            self._run(asyncio.sleep(0.03))
        self.counts["moved"] += 1

    @rule(some=st.lists(ids, min_size=1, max_size=2))
    def delete_facts(self, some):
        self._run(self._realtime.delete(new_id(), "facts", keys_of(id=some)))
        self.counts["deleted"] += 1

    @rule(place=places)
    def delete_dims(self, place):
        self._run(self._realtime.delete(new_id(), "dims", Keys(("k",), ((self._values[place],),))))
        self.counts["deleted"] += 1

    @rule(name=st.sampled_from(["facts", "dims", "notes"]))
    def alter(self, name):
        if len(self._extra[name]) < 2:
            self._extra[name] = [*self._extra[name], f"extra_{len(self._extra[name])}"]
            self._create(name)

    @rule(
        name=st.sampled_from(["facts", "dims", "notes"]),
        question=st.sampled_from(sorted(QUERIES)),
        place=places,
    )
    def drop_and_create_again(self, name, question, place):
        self._run(self._realtime.drop_table(name))
        if f"feature_store.{name}" in QUERIES[question][1]:
            try:
                self._asked(question, ((place, place),), AnswerFormat.ARROW)
            except FailedPrecondition as refusal:
                assert refusal.reason == "QUERY_SCHEMA_CHANGED"  # noqa: PT017 - other errors go through
            except FeatureStoreError as refusal:
                raise AssertionError from refusal
            else:
                raise AssertionError("a query of a table that is not there was answered")
        self._extra[name] = []
        self._create(name)

    @rule()
    def restart(self):
        self._close()
        self._open()
        self.counts["restarted"] += 1

    @rule(
        question=st.sampled_from(sorted(QUERIES)),
        keys=st.lists(st.tuples(places, places), min_size=1, max_size=3),
        answer_format=formats,
    )
    def read(self, question, keys, answer_format):
        self._compare(question, self._plain(question), keys, answer_format)

    @invariant()
    def everything_is_as_plain(self):
        for question in QUERIES:
            plain = self._plain(question)
            for key in [(0, 0), (1, 1), (2, 2), (2, 0)]:
                self._compare(question, plain, [key], AnswerFormat.ARROW)

    @rule(
        question=st.sampled_from(sorted(QUERIES)),
        keys=st.none() | st.lists(st.tuples(places, places), min_size=1, max_size=3),
        keep=st.sampled_from([None, None, True, False]),
        answer_format=formats,
    )
    def warm(self, question, keys, keep, answer_format):
        index_key, _ = QUERIES[question]
        asked = None if keys is None else Keys(index_key, self._tuples(question, keys))
        before = len(set(self._tuples(question, keys))) if keys else self._distinct(question)
        done = self._run(
            self._realtime.warm(
                question, self._forms[question], index_key, asked, keep=keep, answer_format=answer_format
            )
        )
        if keys or keep is not False:
            assert done.kept + done.already_there == before, question
        assert (done.no_room, done.overtaken) == (0, 0)
        self.counts["warmed"] += done.kept

    def _distinct(self, question):
        index_key, _ = QUERIES[question]
        shown = {tuple(row[name] for name in index_key) for row in self._plain(question)}
        return sum(None not in key for key in shown)

    def _tuples(self, question, keys):
        index_key, _ = QUERIES[question]
        return tuple(
            tuple(self._key(column, place) for column, place in zip(index_key, key, strict=False))
            for key in keys
        )

    def _key(self, column, place):
        if column == "id":
            return place
        return "xyz"[place] if column == "text" else self._values[place]

    def _asked(self, question, keys, answer_format):
        index_key, _ = QUERIES[question]
        tuples = self._tuples(question, keys)
        asked = self._realtime.query(question, self._forms[question], Keys(index_key, tuples), answer_format)
        return tuples, self._run(asked)

    def _compare(self, question, plain, keys, answer_format):
        index_key, _ = QUERIES[question]
        tuples, answer = self._asked(question, keys, answer_format)
        self.counts[answer.info.from_cache] += 1
        of_key = [
            sorted(
                (tuple(row.values()) for row in plain if tuple(row[name] for name in index_key) == key),
                key=repr,
            )
            for key in tuples
        ]
        assert [each.row_count for each in answer.keys] == [len(rows) for rows in of_key], question
        if answer_format is AnswerFormat.ARROW:
            with pa.ipc.open_stream(answer.payload) as reader:
                batches = [[tuple(row.values()) for row in batch.to_pylist()] for batch in reader]
            assert [sorted(batch, key=repr) for batch in batches] == of_key, question

    def _plain(self, question):
        form = self._forms[question]

        def work(cursor):
            return finish(cursor.execute(training_sql(form)).to_arrow_table(), form).to_pylist()

        return self._run(self._realtime._readers.run(work))
