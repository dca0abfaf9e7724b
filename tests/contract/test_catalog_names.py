"""Names, versions and what is collected, against a slow and obvious twin, over any history of saves."""

import asyncio
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from featurestore.model.names import Kind
from tests.support.catalog_drafts import etl_draft, query_draft
from tests.support.catalogs import opened_catalog

NAMES = st.sampled_from(["", "demo", "demo.v2", "Demo"])
KEYS = st.sampled_from([(), ("user_id",), ("user_id", "total")])
TEXTS = st.integers(0, 3)


class SavesAndReopenings(RuleBasedStateMachine):
    """One catalogue in SQLite, opened again at any time, beside lists and dicts that do the same.

    Contents: a query is its number, an ETL the pair (its query, its script's number).
    """

    def __init__(self):
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory(prefix="catalog-names-")
        self._stack = AsyncExitStack()
        self._ids = {Kind.QUERY: {}, Kind.ETL: {}}  # content -> id, in the order of first saves
        self._versions = defaultdict(list)  # (kind, name) -> contents, version 1 first
        self._index_keys = defaultdict(list)  # query -> keys, each once
        self._open()

    def teardown(self):
        self._runner.run(self._stack.aclose())
        self._runner.close()
        self._folder.cleanup()

    @rule(query=TEXTS, name=NAMES, key=KEYS)
    def save_query(self, query, name, key):
        draft = query_draft(f"SELECT {query} AS a", name=name, index_key=key)
        saved = self._runner.run(self._catalog.save_query(draft))
        self._remember(Kind.QUERY, query, saved.query_id, name)
        self._declare(query, key)
        assert saved.names == self._labels(Kind.QUERY, query)

    @precondition(lambda self: self._ids[Kind.QUERY])
    @rule(data=st.data(), script=TEXTS, name=NAMES, key=KEYS)
    def save_etl(self, data, script, name, key):
        query = data.draw(st.sampled_from(list(self._ids[Kind.QUERY])))
        draft = etl_draft(self._ids[Kind.QUERY][query], script=f"# {script}", name=name, index_key=key)
        saved = self._runner.run(self._catalog.save_etl(draft))
        self._remember(Kind.ETL, (query, script), saved.etl_id, name)
        self._declare(query, key)
        assert saved.names == self._labels(Kind.ETL, (query, script))

    @rule()
    def reopen(self):
        self._runner.run(self._stack.aclose())
        self._open()

    @invariant()
    def every_name_has_the_versions_that_it_was_given(self):
        for kind in Kind:
            for name in ("demo", "demo.v2", "Demo"):
                wanted = tuple(self._ids[kind][content] for content in self._versions[kind, name])
                assert self._runner.run(self._catalog.name_versions(kind, name)) == wanted

    @invariant()
    def the_lists_show_everything_newest_first_with_labels_and_index_keys(self):
        queries, _ = self._runner.run(self._catalog.list_queries(0, ""))
        assert [(query.query_id, query.names, list(query.index_keys)) for query in queries] == [
            (query_id, self._labels(Kind.QUERY, content), self._index_keys[content])
            for content, query_id in reversed(self._ids[Kind.QUERY].items())
        ]
        etls, _ = self._runner.run(self._catalog.list_etls(0, ""))
        assert [(etl.etl_id, etl.names) for etl in etls] == [
            (etl_id, self._labels(Kind.ETL, content))
            for content, etl_id in reversed(self._ids[Kind.ETL].items())
        ]

    def _open(self):
        url = f"sqlite:///{Path(self._folder.name) / 'catalog.sqlite'}"
        self._stack = AsyncExitStack()
        self._catalog = self._runner.run(self._stack.enter_async_context(opened_catalog(url)))

    def _remember(self, kind, content, public_id, name):
        known = self._ids[kind].setdefault(content, public_id)
        assert known == public_id
        assert len(set(self._ids[kind].values())) == len(self._ids[kind])
        versions = self._versions[kind, name]
        if name and versions[-1:] != [content]:
            versions.append(content)

    def _declare(self, query, key):
        if key and key not in self._index_keys[query]:
            self._index_keys[query].append(key)

    def _labels(self, kind, content):
        return tuple(
            name if version == len(versions) else f"{name}@{version}"
            for (of_kind, name), versions in sorted(self._versions.items(), key=lambda item: item[0][1])
            for version, holds in enumerate(versions, 1)
            if of_kind is kind and holds == content
        )


TestSavesAndReopenings = SavesAndReopenings.TestCase
TestSavesAndReopenings.settings = settings(
    max_examples=16,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
