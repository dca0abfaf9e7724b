"""kill -9 under load: callers who write down what they were promised, and what is there held against that."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from featurestore.client.sync import Store
from featurestore.model.errors import Unavailable

CALLERS = 8
RECOVERY_SECONDS = 60.0
"""How long a caller goes on repeating itself; a service that is not back by then is a failure."""

_RETRIED = 0.5
_OWN_ID = 0.5
_ACCOUNTS = 100
_MOST_ROWS = 20

T = TypeVar("T")


@dataclass(slots=True)
class Attempt:
    """One publish or delete of one publisher, whatever became of it.

    Attributes:
        number: counts the publisher's attempts; the value that its upserts write.
        kind: `upsert`, `append`, `delete` or `several` (accounts, events and a marker in one publish).
        accounts: keys of the table with a primary key.
        events: rows for the table without one.
        acknowledged: the store said that it is durable and visible.
        failures: calls that failed before that, or before the publisher gave up.
    """

    number: int
    kind: str
    accounts: Sequence[int]
    events: int
    acknowledged: bool = False
    failures: int = 0

    @property
    def marker(self) -> bool:
        """Whether it writes its number into the table of markers."""
        return self.kind == "several"


@dataclass(slots=True)
class Figures:
    """What a round came to.

    Attributes:
        acknowledged: publishes and deletes; `rows` of them.
        repeated: acknowledged ones whose first call failed.
        failures: calls that failed.
        landed: of those given up after a failure, how many are there all the same; `lost`: the others.
    """

    kills: int = 0
    acknowledged: int = 0
    rows: int = 0
    repeated: int = 0
    failures: int = 0
    landed: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills; {self.acknowledged} acknowledged with {self.rows} rows, {self.repeated} of them "
            f"repeated; {self.failures} failed calls; of the given-up ones {self.landed} landed, {self.lost} did not"
        )


class Tables:
    """The tables that the publishers of one round write to, and the queries that show them on both sides."""

    def __init__(self, store: Store) -> None:
        """Create them under names of their own."""
        tag = uuid.uuid4().hex[:8]
        self.accounts, self.events, self.markers = (
            f"{what}_{tag}" for what in ("accounts", "events", "markers")
        )
        columns = {
            self.accounts: ["publisher", "account", "value"],
            self.events: ["publisher", "number", "position"],
            self.markers: ["publisher", "number"],
        }
        keys = {self.accounts: ["publisher", "account"], self.markers: ["publisher", "number"]}
        self._queries: dict[str, str] = {}
        for table, names in columns.items():
            schema = pa.schema([(name, pa.int64()) for name in names])
            store.create_table(table, schema, primary_key=keys.get(table))
            self._queries[table] = store.query_train(
                f"SELECT * FROM feature_store.{table}", save=True, index_key="publisher"
            ).query_id

    def rows(self, store: Store) -> Mapping[str, list[tuple[int, ...]]]:
        """All rows of each table, after seeing that realtime and the warehouse show the same ones."""
        found = {}
        for table, query in self._queries.items():
            live = until_answered(
                lambda query=query: store.query_realtime(
                    query, index_key="publisher", index_values=list(range(CALLERS))
                ).to_arrow()
            )
            trained = until_answered(lambda query=query: store.query_train(query).to_arrow())
            found[table] = _tuples(live)
            assert found[table] == _tuples(trained), f"realtime and the warehouse differ in {table}"
        return found


class Publisher:
    """Publishes one thing after the other and keeps what it knows of each."""

    def __init__(self, number: int, tables: Tables, seed: int) -> None:
        """Nothing is published yet."""
        self.number = number
        self.attempts: list[Attempt] = []
        self._tables = tables
        self._draw = random.Random(f"{seed} publisher {number}")

    def run(self, open_store: Callable[[], Store], stop: threading.Event, *, reopen: bool) -> None:
        """Publish until told to stop.

        Args:
            reopen: open the store anew after a failed call, as a user of a local one does.
        """
        store = open_store()
        try:
            while not stop.is_set():
                attempt = self._drawn()
                self.attempts.append(attempt)
                publish_id = f"{self.number}-{attempt.number}-{uuid.uuid4().hex}"
                retried = self._draw.random() < _RETRIED
                given = publish_id if retried or self._draw.random() < _OWN_ID else None
                until = time.monotonic() + RECOVERY_SECONDS
                while not attempt.acknowledged:
                    try:
                        self._publish(store, attempt, given)
                    except Unavailable:
                        attempt.failures += 1
                        assert time.monotonic() < until, "the store did not come back"
                        time.sleep(self._draw.uniform(0.01, 0.1))
                        if reopen:
                            store.close()
                            store = open_store()
                        if not retried:
                            break
                    else:
                        attempt.acknowledged = True
        finally:
            store.close()

    def _drawn(self) -> Attempt:
        kind = self._draw.choice(["upsert", "append", "delete", "several"])
        keys = self._draw.sample(range(_ACCOUNTS), self._draw.randint(1, _MOST_ROWS))
        return Attempt(
            number=len(self.attempts),
            kind=kind,
            accounts=() if kind == "append" else keys,
            events=self._draw.randint(1, _MOST_ROWS) if kind in ("append", "several") else 0,
        )

    def _publish(self, store: Store, attempt: Attempt, publish_id: str | None) -> None:
        accounts, events = len(attempt.accounts), attempt.events
        frames = {
            self._tables.accounts: {
                "publisher": [self.number] * accounts,
                "account": attempt.accounts,
                "value": [attempt.number] * accounts,
            },
            self._tables.events: {
                "publisher": [self.number] * events,
                "number": [attempt.number] * events,
                "position": range(events),
            },
            self._tables.markers: {"publisher": [self.number], "number": [attempt.number]},
        }
        match attempt.kind:
            case "upsert":
                table = self._tables.accounts
                store.publish(table, pa.table(frames[table]), publish_id=publish_id)
            case "append":
                table = self._tables.events
                store.publish(table, pa.table(frames[table]), publish_id=publish_id)
            case "delete":
                keys = [(self.number, account) for account in attempt.accounts]
                store.delete(self._tables.accounts, keys, publish_id=publish_id)
            case _:
                store.publish(
                    {name: pa.table(frame) for name, frame in frames.items()}, publish_id=publish_id
                )


@dataclass(slots=True)
class Saves:
    """What one caller saved: texts that others save at the same time, under names of its own.

    Attributes:
        promised: (text, id, name) of each acknowledged save.
    """

    number: int
    promised: list[tuple[str, str, str]] = field(default_factory=list)
    failures: int = 0
    repeated: int = 0
    given_up: set[str] = field(default_factory=set)

    def run(self, store: Store, text: Callable[[], str], seed: int, stop: threading.Event) -> None:
        """Save until told to stop; `text` is what everybody saves just now."""
        draw = random.Random(f"{seed} saver {self.number}")
        while not stop.is_set():
            sql, retried = text(), draw.random() < _RETRIED
            name = f"saved_{self.number}_{uuid.uuid4().hex[:12]}"
            until, failed = time.monotonic() + RECOVERY_SECONDS, False
            while True:
                try:
                    query_id = store.query_train(sql, save=True, name=name).query_id
                except Unavailable:
                    self.failures += 1
                    failed = True
                    assert time.monotonic() < until, "the catalogue did not come back"
                    time.sleep(draw.uniform(0.01, 0.1))
                    if not retried:
                        self.given_up.add(sql)
                        break
                else:
                    self.promised.append((sql, query_id, name))
                    self.repeated += failed
                    break


def under_fire(
    callers: Iterable[Callable[[threading.Event], None]],
    kill_and_restart: Callable[[], object],
    promises: Callable[[], int],
    *,
    draw: random.Random,
    kills: int,
) -> None:
    """Let the callers work in threads while something is killed and comes back, at random moments; then stop them.

    Args:
        promises: how many calls were acknowledged so far: each kill hits a store that works.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(CALLERS) as pool:
        working = [pool.submit(caller, stop) for caller in callers]
        try:
            for _ in range(kills):
                _await_promises(promises)
                time.sleep(draw.uniform(0, 1))
                kill_and_restart()
            _await_promises(promises)
        finally:
            stop.set()
        for each in working:
            each.result()


def _await_promises(promises: Callable[[], int]) -> None:
    before, until = promises(), time.monotonic() + RECOVERY_SECONDS
    while promises() < before + CALLERS and time.monotonic() < until:
        time.sleep(0.02)


def until_answered(call: Callable[[], T]) -> T:
    """What the call returns, repeated while a part of the store is still being reconnected to."""
    until = time.monotonic() + RECOVERY_SECONDS
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def held_against(
    publishers: Sequence[Publisher], tables: Tables, found: Mapping[str, list[tuple[int, ...]]]
) -> Figures:
    """See that what is there is what was promised: each acknowledged attempt once, each other one at most once, whole."""
    figures = Figures()
    accounts = {(publisher, account): value for publisher, account, value in found[tables.accounts]}
    assert len(accounts) == len(found[tables.accounts]), "a primary key is there twice"
    events = Counter(found[tables.events])
    assert set(events.values()) <= {1}, f"rows were appended twice: {events.most_common(3)}"
    positions = Counter((publisher, number) for publisher, number, _ in events)
    markers = set(found[tables.markers])
    known: set[tuple[int, int]] = set()
    for publisher in publishers:
        _hold_accounts(publisher, accounts)
        for attempt in publisher.attempts:
            who = publisher.number, attempt.number
            known.add(who)
            wanted = {attempt.events} if attempt.acknowledged else {0, attempt.events}
            assert positions[who] in wanted, f"{positions[who]} events of {attempt}"
            if attempt.marker:
                assert (who in markers) == (positions[who] > 0), f"half of {attempt} is there"
            figures.failures += attempt.failures
            if attempt.acknowledged:
                figures.acknowledged += 1
                figures.rows += len(attempt.accounts) + attempt.events + attempt.marker
                figures.repeated += attempt.failures > 0
            elif attempt.events:
                figures.landed += positions[who] > 0
                figures.lost += positions[who] == 0
    assert set(positions) | markers <= known, "there are rows that nobody published"
    return figures


def _hold_accounts(publisher: Publisher, accounts: Mapping[tuple[int, int], int]) -> None:
    """Each account has the last acknowledged value, or that of an attempt behind it that nobody acknowledged."""
    possible: dict[int, set[int | None]] = {account: {None} for account in range(_ACCOUNTS)}
    last: dict[int, Attempt] = {}
    for attempt in publisher.attempts:
        value = None if attempt.kind == "delete" else attempt.number
        for account in attempt.accounts:
            possible[account] = {value} | (set() if attempt.acknowledged else possible[account])
            last[account] = attempt
    for account, values in possible.items():
        value = accounts.get((publisher.number, account))
        assert value in values, (
            f"account {account} of publisher {publisher.number} is {value}, not in {values}"
        )
    landed: dict[int, set[bool]] = {}
    for account, attempt in last.items():
        if attempt.kind != "delete":
            shown = accounts.get((publisher.number, account)) == attempt.number
            landed.setdefault(attempt.number, set()).add(shown)
    torn = [number for number, shown in landed.items() if len(shown) > 1]
    assert not torn, f"of publisher {publisher.number}'s attempts {torn} only a part is there"


def _tuples(table: pa.Table) -> list[tuple[int, ...]]:
    return sorted(zip(*(column.to_pylist() for column in table.columns), strict=True))
