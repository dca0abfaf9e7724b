"""A case of the conformance suite: one call that is refused, and short words to write many of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore.model.errors import BY_CODE, FeatureStoreError
from tests.conformance.world import Act, World
from tests.support.command_line import run


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        rpc: the gateway's.
        code: the status's name.
        reason: in ErrorInfo.
        act: what is done.
        says: a part of the message.
        command: the same on the command line, without --target; None where it can't be said there.
        only: the arrangements it can happen in; empty for all.
    """

    rpc: str
    code: str
    reason: str
    act: Act
    says: str = ""
    command: Callable[[World], list[object]] | None = None
    only: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.rpc}-{self.reason}-{self.says}".replace(" ", "_").replace("/", "_")[:60]


INVALID, MISSING, EXISTS = "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS"
PRECONDITION, EXHAUSTED, LATE = "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"
NO_QUERY = "qry_" + "a" * 26
NO_ETL = "etl_" + "a" * 26
NETWORKED = ("processes", "compose")


def sql(text: Callable[[World], str], reason: str, says: str = "") -> Case:
    """A text that is refused in training, with save and without."""

    def act(w: World) -> object:
        return w.store.query_train(text(w), save=True)

    def command(w: World) -> list[object]:
        return ["query", "train", text(w)]

    # An empty text can't be told from a missing one on the command line.
    return Case("QueryTrain", INVALID, reason, act, says, None if reason == "SQL_EMPTY" else command)


def served(reason: str, says: str, key: str = "user_id", **values: Any) -> Case:
    """Index values that are refused in serving."""

    def act(w: World) -> object:
        return w.store.query_realtime(w.query, index_key=key, **values)

    def command(w: World) -> list[object]:
        asked = values.get("index_values", [values.get("index_value")])
        typed = [json.dumps({key: value}, default=str) for value in asked]
        return ["query", "realtime", w.query, *(word for text in typed for word in ("--key", text))]

    # The command line asks for at least one key itself.
    return Case("QueryRealtime", INVALID, reason, act, says, None if reason == "KEYS_EMPTY" else command)


def published(
    reason: str, says: str, rows: Callable[[], list[dict[str, object]]], code: str = INVALID, **how: Any
) -> Case:
    """A frame that is refused; nothing of it is written."""

    def act(w: World) -> object:
        before = w.store.get_table(w.orders).row_count
        try:
            return w.store.publish(w.orders, rows(), **how)
        finally:
            assert w.store.get_table(w.orders).row_count == before

    def command(w: World) -> list[object]:
        # A format with types of its own: CSV and JSON are read as the table has them.
        key = ["--primary-key", how["primary_key"]] if "primary_key" in how else []
        return ["publish", w.orders, written(w, pa.Table.from_pylist(rows())), *key]

    return Case("Publish", code, reason, act, says, None if "publish_id" in how else command)


def other_content(w: World) -> object:
    publish_id = w.name("publish")
    w.store.publish(
        w.orders, [{"order_id": 1, "amount": 1.5, "user_id": 1, "day": "a"}], publish_id=publish_id
    )
    return w.store.publish(w.orders, [{"order_id": 1, "amount": 9.5}], publish_id=publish_id)


def uncommitted(w: World) -> str:
    """A script on disk that no repository has."""
    path = w.folder / f"{w.name('etl')}.py"
    path.write_text("x = 1\n")
    return str(path)


def written(w: World, rows: pa.Table) -> str:
    """The rows as a file to publish."""
    file = w.folder / f"{w.name('rows')}.parquet"
    pq.write_table(rows, file)
    return str(file)


def trained(path: str, *, save: bool = False, timeout: float | None = None) -> Act:
    return lambda w: w.store.extract_train(w.query, w.script(path), save=save, timeout=timeout).to_arrow()


def features(path: str, **how: Any) -> Act:
    return lambda w: w.store.extract_realtime(w.query, w.etl(path), index_key="user_id", index_value=1, **how)


def train_command(path: str, *options: object) -> Callable[[World], list[object]]:
    return lambda w: ["extract", "train", w.query, w.script(path), *options]


def live_command(path: str) -> Callable[[World], list[object]]:
    return lambda w: ["extract", "realtime", w.query, w.etl(path), "--key", "user_id=1"]


FROM = "SELECT 1 AS one FROM feature_store."


def refused(world: World, case: Case) -> None:
    """Do it, and see that it is refused as the case says.

    Raises:
        AssertionError: it is not, or the message shows what is inside.
    """
    if case.only and world.arrangement not in case.only:
        pytest.skip(f"can happen in {' and '.join(case.only)} only")
    with pytest.raises(FeatureStoreError) as caught:
        case.act(world)
    error = caught.value
    assert (type(error), error.reason) == (BY_CODE[case.code], case.reason), error
    assert case.says in error.message
    assert "Traceback" not in error.message
    assert "/services/" not in error.message


def said_by_the_command_line(world: World, case: Case) -> None:
    """Type it, and see one line with the reason on standard error, nothing on standard output, and a failure.

    Raises:
        AssertionError: it is otherwise.
    """
    assert case.command is not None
    ran = run(*case.command(world), "--target", world.target)
    assert ran.code == 1
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1, ran.err
    assert ran.err.startswith("error: ")
    assert ran.err.rstrip().endswith(f"[{case.reason}]")
    assert case.says in ran.err
