"""Writes docs/planner-corpora.md: `python -m tests.property.corpora.table > docs/planner-corpora.md`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from featurestore.engine.planner import Plan
from tests.property.corpora.frozen_queries import FROZEN
from tests.property.corpora.oracle import keys_of
from tests.property.corpora.reads import reads, said
from tests.property.corpora.stores import Store, corpus_store, frozen_store
from tests.property.corpora.tpc import SCALE, TPC_DS, TPC_H

INDEXED, PARTLY, SCAN = "indexed", "partly", "scan"
VERDICTS = (INDEXED, PARTLY, SCAN)

HEAD = f"""# The planner on queries that others wrote

Made by `python -m tests.property.corpora.table > docs/planner-corpora.md`; not edited by hand.

A pair is a query and one of its output columns as the index key. It is **indexed** when every table that the query
reads is narrowed to the asked key, **partly** when some are, **scan** when none is. The first three columns of counts are
what the planner says. The last three are what DuckDB did for one rare key, by its own profile, with an index on each
column that a plan narrows on: it reads a table whole for keys with more than 2,048 rows and 0.1 %, and where all of its
rows are wanted, as of TPC-DS's one store; it finds an index for some tables that the planner leaves alone. A fetch of
chained values counts as a read of its table. Pairs that show no rows at this scale are not read.

That the planned query shows the plain query's rows is proved for all of these pairs in `tests/property/corpora`: there
was no difference.

TPC-H and TPC-DS are at scale {SCALE}; the LIMIT at a query's end is taken away, as it leaves to chance which of equal
rows it keeps. No query of the three was refused at save. Columns that can't be a key (doubles, intervals) are left out.
"""

SUMMARY = """
| | queries | pairs | planned: indexed | partly | scan | read: indexed | partly | scan |
| --- | --: | --: | --: | --: | --: | --: | --: | --: |"""


@dataclass(frozen=True, slots=True)
class Pair:
    """What became of one query and index key.

    Attributes:
        planned: the verdict by the planner's word.
        read: by the engine's profile; None where the query shows no rows.
        stops: the rules that stopped it.
    """

    query: str
    key: str
    planned: str
    read: str | None
    stops: tuple[str, ...]


def judged(store: Store, name: str, index_key: tuple[str, ...]) -> Pair:
    """Plan and run one pair for the rarest key that the query shows."""
    made = store.plan(name, index_key)
    counted = store.trained(name).counted(index_key)
    planned = _verdict(bool(each.narrowed) for each in made.occurrences)
    read = _read(store, name, made, counted[-1][0]) if counted else None
    stops = {said(each).removeprefix("whole ") for each in made.occurrences if not each.narrowed}
    return Pair(name, ", ".join(index_key), planned, read, tuple(sorted(stops)))


def _read(store: Store, name: str, made: Plan, key: tuple[object, ...]) -> str:
    index_key = tuple(column.name for column in made.index_key)
    main, fetches = reads(
        store.connection, store.form(name), made, keys_of(store.form(name), index_key, [key])
    )
    fetched = [not each.whole for each in fetches]
    return _verdict([each for each in main.indexed(made) if each is not None] + fetched)


def _verdict(good: Iterable[bool]) -> str:
    found = list(good)
    return INDEXED if all(found) else PARTLY if any(found) else SCAN


def frozen_pairs(store: Store) -> list[Pair]:
    """Of the frozen queries, by the key of each."""
    return [judged(store, each.name, each.index_key) for each in FROZEN]


def corpus_pairs(store: Store) -> list[Pair]:
    """Of a corpus, by every column that can be a key."""
    return [judged(store, name, (column,)) for name in store.texts for column in store.key_columns(name)]


def summary(name: str, queries: int, pairs: list[Pair]) -> str:
    """One row of the first table."""
    planned = Counter(pair.planned for pair in pairs)
    read = Counter(pair.read for pair in pairs)
    counts = [queries, len(pairs), *(planned[each] for each in VERDICTS), *(read[each] for each in VERDICTS)]
    return f"| {name} | {' | '.join(map(str, counts))} |"


def frozen_section(pairs: list[Pair]) -> Iterator[str]:
    """The frozen queries, one by one."""
    yield "\n## Frozen queries\n"
    yield "`tests/property/corpora/frozen` has the texts, and above each what is expected of every table.\n"
    yield "| query | index key | planned | read | stopped by |\n| --- | --- | --- | --- | --- |"
    for pair in pairs:
        yield f"| {pair.query} | {pair.key} | {pair.planned} | {pair.read} | {', '.join(pair.stops)} |"


def corpus_section(name: str, store: Store, pairs: list[Pair]) -> Iterator[str]:
    """A corpus, one row a query."""
    yield f"\n## {name}\n"
    yield "By the planner's word; in brackets the rules that stopped it; a star where the query shows no rows here.\n"
    yield "| query | indexed by | partly by | scan by |\n| --: | --- | --- | --- |"
    for query in store.texts:
        own = [pair for pair in pairs if pair.query == query]
        empty = "*" if own and all(pair.read is None for pair in own) else ""
        cells = [_cell([pair for pair in own if pair.planned == verdict]) for verdict in VERDICTS]
        yield f"| {query}{empty} | {' | '.join(cells)} |"


def _cell(pairs: list[Pair]) -> str:
    by_stops: dict[tuple[str, ...], list[str]] = {}
    for pair in pairs:
        by_stops.setdefault(pair.stops, []).append(pair.key.replace("|", "\\|"))
    return "; ".join(
        ", ".join(keys) + (f" [{', '.join(stops)}]" if stops else "") for stops, keys in by_stops.items()
    )


def page() -> Iterator[str]:
    """The whole page, line by line."""
    with frozen_store() as frozen, corpus_store(TPC_H) as tpc_h, corpus_store(TPC_DS) as tpc_ds:
        pairs_of_frozen = frozen_pairs(frozen)
        corpora = [
            (each.name, store, corpus_pairs(store)) for each, store in ((TPC_H, tpc_h), (TPC_DS, tpc_ds))
        ]
        yield HEAD + SUMMARY
        yield summary("frozen", len(FROZEN), pairs_of_frozen)
        for name, store, pairs in corpora:
            yield summary(name, len(store.texts), pairs)
        yield from frozen_section(pairs_of_frozen)
        for name, store, pairs in corpora:
            yield from corpus_section(name, store, pairs)


if __name__ == "__main__":
    sys.stdout.write("\n".join(page()) + "\n")
