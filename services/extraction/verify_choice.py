"""The keys that Verify takes from training: some at random, and those where things go wrong most."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.engine.column_types import quoted
from featurestore.engine.key_values import check_key_columns
from featurestore.model.query import Column, QueryForm
from services.extraction.verify_keys import KeySample, distinct

_FACT = "__fs_fact_"  # no column is called so: a query's names can't begin with it
_COUNT = pa.int64()


class KeyChoice:
    """Chooses from a query's keys in one pass over `form`, which shows each key once with what is known of its rows.

    Besides a random sample: the keys with most rows and with fewest; of each column the one whose rows are null most; of each
    date or timestamp those with the newest and the oldest.
    """

    def __init__(self, query: QueryForm, index_key: Sequence[str], count: int, seed: int) -> None:
        """Choose `count` keys at random, and the others."""
        keys = check_key_columns(query, index_key)
        others = [column for column in query.columns if column.name not in index_key]
        facts: list[tuple[str, Column, tuple[str, ...]]] = [("count(*)", _fact(0, _COUNT, "BIGINT"), _BOTH)]
        for column in others:
            nulls = (
                f"CAST(1000 * count(*) FILTER (WHERE {quoted(column.name)} IS NULL) // count(*) AS BIGINT)"
            )
            facts.append((nulls, _fact(len(facts), _COUNT, "BIGINT"), _MOST))
            if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
                for function, order in (("max", _MOST), ("min", _LEAST)):
                    fact = _fact(len(facts), column.type, column.engine_type)
                    facts.append((f"{function}({quoted(column.name)})", fact, order))
        listed = ", ".join(quoted(column.name) for column in keys)
        selected = ", ".join(f"{text} AS {quoted(fact.name)}" for text, fact, _ in facts)
        self.form = QueryForm(
            f"SELECT {listed}, {selected} FROM (\n{query.sql}\n) AS __fs_keys GROUP BY {listed}",
            (*keys, *(fact for _, fact, _ in facts)),
        )
        self._names = list(index_key)
        self._wanted = [(fact.name, order) for _, fact, orders in facts for order in orders]
        self._best: list[pa.Table] = [self.form.schema.empty_table() for _ in self._wanted]
        self._sample = KeySample(keys, count, seed)

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at more keys; one with a null in it doesn't count, for a null is never asked for."""
        for name in self._names:
            batch = batch.filter(pc.is_valid(batch[name]))
        if not batch.num_rows:
            return
        self._sample.add(batch.select(self._names))
        keys = pa.Table.from_batches([batch])
        for at, (name, order) in enumerate(self._wanted):
            candidates = pa.concat_tables([self._best[at], keys.filter(_tells(keys[name], order))])
            if candidates.num_rows:
                self._best[at] = candidates.take(
                    pc.select_k_unstable(candidates, k=1, sort_keys=[(name, order)])
                )

    def keys(self) -> pa.Table:
        """The chosen keys, each once, the random ones last."""
        chosen = [each.select(self._names) for each in self._best]
        return distinct(pa.concat_tables([*chosen, self._sample.keys()]))


_MOST = ("descending",)
_LEAST = ("ascending",)
_BOTH = (*_MOST, *_LEAST)


def _fact(number: int, kind: pa.DataType, engine_type: str) -> Column:
    return Column(f"{_FACT}{number}", kind, engine_type)


def _tells(values: pa.ChunkedArray, order: str) -> pa.ChunkedArray:
    """Whether a fact makes its key a candidate: a key without nulls is none for the most."""
    if pa.types.is_integer(values.type) and order == "descending":
        return pc.greater(values, 0)
    return pc.is_valid(values)
