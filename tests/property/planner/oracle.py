"""One case: a query saved as a save does it, and its planned answers beside the plain query's rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from featurestore.engine import order
from featurestore.engine.describe import describe
from featurestore.engine.key_values import ConvertedKeys, convert_keys, key_kind
from featurestore.engine.outputs import finish
from featurestore.engine.planner import Plan, Rule, plan
from featurestore.engine.planner.run import planned_rows
from featurestore.engine.sql_check import parse
from featurestore.engine.wrapping import serving_sql, training_sql
from featurestore.model.errors import InvalidArgument
from featurestore.model.query import QueryForm
from featurestore.model.serving import Keys
from tests.property.planner.databases import Database
from tests.property.planner.scopes import Out
from tests.property.planner.words import DOMAINS, KEYABLE, Draw, folded
from tests.support.prepared import statement_rows

ENGINE = "the engine"


class Discarded(Exception):
    """The query can't be saved, or the plain query itself fails."""


@dataclass
class Tally:
    """What a run of cases consisted of."""

    cases: int = 0
    discarded: Counter[str] = field(default_factory=Counter)
    narrowed: int = 0
    with_rows: int = 0
    fired: Counter[Rule] = field(default_factory=Counter)
    refused: Counter[Rule] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)

    def add(self, found: Plan, *, rows: bool, features: Collection[str]) -> None:
        self.cases += 1
        self.narrowed += found.narrows
        self.with_rows += rows
        self.fired.update(found.fired.keys())
        self.refused.update(found.refused.keys())
        self.features.update(features)

    def merge(self, other: Tally) -> None:
        self.cases += other.cases
        self.narrowed += other.narrowed
        self.with_rows += other.with_rows
        for own, others in (
            (self.discarded, other.discarded),
            (self.fired, other.fired),
            (self.refused, other.refused),
            (self.features, other.features),
        ):
            own.update(others)

    def report(self) -> str:
        """As a table."""
        counts = (self.cases, self.narrowed, self.with_rows, self.discarded.total())
        lines = ["cases {}, narrowed {}, with rows {}, discarded {}".format(*counts)]
        lines += [f"  {reason}: {count}" for reason, count in self.discarded.most_common(12)]
        lines += [
            f"{rule.value:20} fired {self.fired[rule]:6} refused {self.refused[rule]:6}" for rule in Rule
        ]
        lines.append(", ".join(f"{feature} {count}" for feature, count in sorted(self.features.items())))
        return "\n".join(lines)


def saved(cursor: duckdb.DuckDBPyConnection, sql: str) -> QueryForm:
    """The form, as a save makes it."""
    try:
        checked = parse(sql)
        columns = describe(cursor, checked.sql)
    except InvalidArgument as error:
        raise Discarded(f"{error.reason}: {str(error)[:70]}") from error
    return QueryForm(checked.sql, columns, order.terms(checked.order, columns)[0])


def trained(cursor: duckdb.DuckDBPyConnection, form: QueryForm) -> pa.Table:
    """All rows of the plain query."""
    try:
        return finish(cursor.execute(training_sql(form)).to_arrow_table(), form)
    except (duckdb.InternalException, duckdb.FatalException):
        raise
    except duckdb.Error as error:
        raise Discarded(f"plain: {str(error)[:70]}") from error


def filtered(rows: pa.Table, keys: ConvertedKeys) -> pa.Table:
    """The rows of these keys."""
    wanted = set(keys.tuples)
    columns = [rows[column.name].to_pylist() for column in keys.columns]
    return rows.filter(pa.array([row in wanted for row in zip(*columns, strict=True)], pa.bool_()))


def bag(rows: pa.Table) -> Counter[str]:
    return Counter(map(repr, zip(*(column.to_pylist() for column in rows.columns), strict=True)))


def key_columns(draw: Draw, form: QueryForm, outs: list[Out]) -> tuple[str, ...]:
    """Those to ask by: the tables' own columns, most of the time."""
    traced = {folded(out.name) for out in outs if out.traced and out.type in KEYABLE}
    possible = []
    for column in form.columns:
        try:
            key_kind(column)
        except InvalidArgument:
            continue
        possible.append(column.name)
    if not possible:
        raise Discarded("no column can be a key")
    good = [name for name in possible if folded(name) in traced]
    among = good if good and draw.chance(0.93) else possible
    return tuple(draw.sample(among, min(len(among), draw.weighted({1: 14, 2: 4, 3: 1}))))


def asked_keys(draw: Draw, form: QueryForm, names: tuple[str, ...], rows: pa.Table) -> list[ConvertedKeys]:
    """One present key, if there is any; several, absent ones among them."""
    present = {
        row for row in zip(*(rows[name].to_pylist() for name in names), strict=True) if None not in row
    }
    ordered = sorted(present, key=repr)
    absent = [_any_key(draw, form, names, ordered) for _ in range(2)]
    one = [draw.choice(ordered)] if ordered else absent[:1]
    several = draw.some(ordered, 1, 5) + absent + one
    return [convert_keys(form, Keys(names, tuple(tuples))) for tuples in (one, several)]


def _any_key(
    draw: Draw, form: QueryForm, names: tuple[str, ...], present: list[tuple[object, ...]]
) -> tuple[object, ...]:
    """Parts of present keys, put together anew, or any values: mostly of no row."""
    if present and draw.chance(0.5):
        return tuple(draw.choice(column) for column in zip(*present, strict=True))
    return tuple(_any_value(draw, form, name) for name in names)


def _any_value(draw: Draw, form: QueryForm, name: str) -> object:
    column = form.column(name)
    assert column is not None
    text = draw.choice(DOMAINS.get(column.engine_type, ["0", "1"]))
    return text == "true" if column.engine_type == "BOOLEAN" else text


def check(
    connection: duckdb.DuckDBPyConnection,
    database: Database,
    form: QueryForm,
    names: tuple[str, ...],
    asked: list[ConvertedKeys],
    rows: pa.Table,
    *,
    off: frozenset[Rule] = frozenset(),
) -> tuple[Plan, str]:
    """Hold the planned answers against the plain query's rows, planned for the keys and before them.

    Returns:
        The plan, and what differs; empty if nothing does.
    """
    found = plan(form, names, database.types, off=off)
    for keys in asked:
        expected = bag(filtered(rows, keys))
        try:
            answers = [bag(planned_rows(connection.cursor(), form, found, keys))]
            by_statement = None if off else statement_rows(connection, form, found, keys)
            if by_statement is not None:
                answers.append(bag(by_statement))
        except duckdb.NotImplementedException as error:
            # Serving binds the text before it uses a plan, and serves the plain one if that fails.
            raise Discarded(f"{ENGINE} can't bind the planned query") from error
        except (duckdb.InternalException, duckdb.FatalException):
            raise
        except duckdb.Error as error:
            return found, told(database, form, found, keys, f"the planned query fails: {error}")
        answer = next((each for each in answers if each != expected), expected)
        if answer != expected:
            plain = finish(connection.cursor().execute(serving_sql(form, keys)).to_arrow_table(), form)
            if bag(plain) != expected:  # DuckDB 1.5.5 does, where a LIMIT stands over a cross product
                raise Discarded(f"{ENGINE} answers the plain query in two ways")
            said = f"missing {expected - answer}\nsurplus {answer - expected}"
            return found, told(database, form, found, keys, said)
    return found, ""


def told(database: Database, form: QueryForm, found: Plan, keys: ConvertedKeys, said: str) -> str:
    """All that is needed to see it again."""
    occurrences = "\n".join(map(str, found.occurrences))
    asked = [(column.name, column.engine_type) for column in keys.columns], keys.tuples
    return f"{said}\n{database.script};\n--\n{form.sql}\n--\nkeys {asked}\n{occurrences}\n{found.chains}"
