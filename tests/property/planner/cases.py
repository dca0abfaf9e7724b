"""Runs of many random cases: some queries on each random database."""

from __future__ import annotations

import sys
from collections.abc import Callable

import duckdb

from featurestore.model.errors import Internal
from tests.property.planner import queries, read_sets
from tests.property.planner.databases import Database, database
from tests.property.planner.oracle import (
    Discarded,
    Tally,
    asked_keys,
    check,
    filtered,
    key_columns,
    saved,
    trained,
)
from tests.property.planner.words import Draw

QUERIES_EACH = 5
_BUDGETS = (2, 3, 4, 6, 8)


def run(seed: int, tally: Tally, what: str = "rows", *, told: bool = False) -> str:
    """A random database and some random queries; returns what differs, empty if nothing does.

    Args:
        what: which proof, one of `PROOFS`.
        told: say on stderr what runs, for one who has to know where the engine crashed.
    """
    base = database(Draw(f"{seed}"))
    connection = base.opened()
    try:
        for number in range(QUERIES_EACH):
            try:
                note = _note(seed, number, told=told)
                draw = Draw(f"{seed}.{number}")
                if said := PROOFS[what](draw, base, connection, tally, note):
                    return f"seed {seed}, query {number}\n{said}"
            except Discarded as discarded:
                tally.discarded[str(discarded)] += 1
            except (duckdb.InternalException, duckdb.FatalException, Internal) as error:
                # The engine's own assertions; it is of no use afterwards.
                tally.discarded[f"engine: {str(error)[:90]}"] += 1
                connection.close()
                connection = base.opened()
    finally:
        connection.close()
    return ""


def _rows(
    draw: Draw,
    base: Database,
    connection: duckdb.DuckDBPyConnection,
    tally: Tally,
    note: Callable[[str], None],
) -> str:
    cursor = connection.cursor()
    query, features = queries.whole(draw, base, draw.choice(_BUDGETS))
    form = saved(cursor, query.text)
    note("plain")
    rows = trained(cursor, form)
    names = key_columns(draw, form, query.outs)
    asked = asked_keys(draw, form, names, rows)
    note("planned")
    found, said = check(connection, base, form, names, asked, rows)
    tally.add(found, rows=any(filtered(rows, keys).num_rows for keys in asked), features=features)
    return said


def _note(seed: int, number: int, *, told: bool) -> Callable[[str], None]:
    def note(stage: str) -> None:
        if told:
            print(f"seed {seed}, query {number}: {stage}", file=sys.stderr, flush=True)  # noqa: T201 - for `many`

    return note


PROOFS = {"rows": _rows, "read sets": read_sets.one}
