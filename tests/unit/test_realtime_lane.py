"""The writer lane: groups, faults between its steps, and callers that go away."""

import asyncio
import sqlite3
import threading

import pytest

from featurestore.engine import apply as engine
from featurestore.engine.profile import connect
from featurestore.model import deadline
from featurestore.model.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from services.realtime.lane import Lane, LaneLimits
from services.realtime.log import AppendFailedError, Log, LogReader
from services.realtime.proposals import Delete, DropTable, Publish
from services.realtime.replay import replay
from tests.support.realtime_rows import keys_of, new_id, rows_of


class Bench:
    """A lane on a real engine and log; can be held between two groups and can be broken."""

    def __init__(self, folder, limits=None):
        self.folder = folder
        self.connection = connect(threads=1, memory_limit="1GB")
        self.log = Log(folder)
        self.deaths = []
        self.lane = Lane(self.connection.cursor(), self.log, {}, limits=limits, die=self.deaths.append)
        self.lane.start()

    async def publish(self, ids, v=0, publish_id=None, **kwargs):
        columns = {"id": ids, "v": [v] * len(ids)}
        proposal = Publish(publish_id or new_id(), (rows_of("t", columns, **{"key": ("id",), **kwargs}),))
        return await self.lane.submit(proposal)

    async def together(self, *calls):
        """Run the calls so that the lane meets them as one group; exceptions are results."""
        started, go = threading.Event(), threading.Event()
        append = self.log.append

        def held(records):
            started.set()
            go.wait(10)
            self.log.append = append
            append(records)

        self.log.append = held
        blocker = asyncio.ensure_future(self.publish([-1]))
        await asyncio.to_thread(started.wait, 10)
        waiting = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0.01)
        go.set()
        await blocker
        return await asyncio.gather(*waiting, return_exceptions=True)

    def rows(self, connection=None):
        return (connection or self.connection).execute("FROM feature_store.t ORDER BY id").fetchall()

    def logged(self):
        reader = LogReader(self.folder)
        try:
            return [each.sequence for each in reader.read_after(0, 2**30)]
        finally:
            reader.close()

    def replayed(self):
        reader = LogReader(self.folder)
        with connect(threads=1, memory_limit="1GB") as fresh:
            replay(fresh, reader)
            found = self.rows(fresh)
        reader.close()
        return found

    async def close(self):
        await self.lane.close()
        self.log.close()
        self.connection.close()


@pytest.fixture
async def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    await bench.close()


async def test_waiting_publishes_share_a_transaction_and_keep_their_own_sequences(bench, monkeypatch):
    await bench.publish([0])
    groups = []
    apply = engine.apply
    monkeypatch.setattr(engine, "apply", lambda c, t, ops: groups.append(len(ops)) or apply(c, t, ops))
    answers = await bench.together(*(bench.publish([1, 2], v) for v in range(5)))
    assert groups == [1, 5]
    assert [answer.version.sequence for answer in answers] == [3, 4, 5, 6, 7]
    assert bench.rows() == [(-1, 0), (0, 0), (1, 4), (2, 4)]
    assert bench.logged() == [1, 2, 3, 4, 5, 6, 7]


async def test_a_repeat_gets_the_first_answer_and_is_not_applied_again(bench):
    first = await bench.publish([1], 1, publish_id="p")
    await bench.publish([1], 2)
    assert await bench.publish([1], 1, publish_id="p") == first
    assert bench.rows() == [(1, 2)]
    with pytest.raises(InvalidArgument) as caught:
        await bench.publish([1], 3, publish_id="p")
    assert caught.value.reason == "PUBLISH_ID_REUSED"


async def test_a_repeat_within_one_group_gets_the_first_answer(bench):
    await bench.publish([0])
    one, two, other = await bench.together(
        bench.publish([1], 1, "p"), bench.publish([1], 1, "p"), bench.publish([1], 2, "p")
    )
    assert one == two
    assert other.reason == "PUBLISH_ID_REUSED"
    assert bench.rows() == [(-1, 0), (0, 0), (1, 1)]


async def test_a_refused_publish_can_be_corrected_under_its_id(bench):
    await bench.publish([0])
    with pytest.raises(InvalidArgument):
        await bench.publish(["x"], publish_id="p")
    assert (await bench.publish([1], publish_id="p")).version.sequence == 2


async def test_a_race_to_define_a_table_is_won_by_the_first_in_log_order(bench):
    await bench.publish([0])
    drop = bench.lane.submit(DropTable("t"))
    _, one, two, three = await bench.together(
        drop, bench.publish([1], key=("id",)), bench.publish([2], key=("v",)), bench.publish([3], key=None)
    )
    assert one.version.sequence == 4
    assert (type(two), two.reason) == (AlreadyExists, "TABLE_DEFINED_OTHERWISE")
    assert three.version.sequence == 5
    assert bench.rows() == bench.replayed() == [(1, 0), (3, 0)]


async def test_only_the_bad_publish_of_a_group_is_refused(bench, monkeypatch):
    await bench.publish([0])
    apply = engine.apply

    def fails_on_seven(cursor, tables, operations):
        after = apply(cursor, tables, operations)
        if any(7 in operation.rows["v"].to_pylist() for operation in operations):
            cursor.execute("SELECT error('seven')")
        return after

    monkeypatch.setattr(engine, "apply", fails_on_seven)
    one, seven, two = await bench.together(
        bench.publish([1], 1), bench.publish([7], 7), bench.publish([2], 2)
    )
    monkeypatch.undo()
    assert "seven" in str(seven)
    assert [one.version.sequence, two.version.sequence] == [3, 4]
    assert bench.rows() == bench.replayed() == [(-1, 0), (0, 0), (1, 1), (2, 2)]
    assert bench.deaths == []


async def test_a_bad_publish_is_judged_alone(bench):
    await bench.publish([0])
    one, bad, two = await bench.together(bench.publish([1]), bench.publish([None]), bench.publish([2]))
    assert bad.reason == "NULL_IN_KEY"
    assert [one.version.sequence, two.version.sequence] == [3, 4]


async def test_when_the_log_takes_no_write_the_store_turns_read_only_and_shows_nothing_of_it(bench):
    await bench.publish([1], 1)

    def fails(_):
        raise AppendFailedError(sqlite3.OperationalError("database or disk is full"), certain=True)

    append, bench.log.append = bench.log.append, fails
    with pytest.raises(Unavailable, match="disk is full") as caught:
        await bench.publish([1], 2)
    assert caught.value.reason == "READ_ONLY"
    bench.log.append = append
    with pytest.raises(Unavailable, match="disk is full"):
        await bench.publish([1], 3)
    bench.lane._cursor.begin()  # would raise if the failed write had left its transaction open
    bench.lane._cursor.rollback()
    assert bench.rows() == bench.replayed() == [(1, 1)]
    assert bench.lane.version.sequence == 1
    assert bench.deaths == []


async def test_when_nobody_can_say_what_the_log_holds_the_process_ends(bench):
    await bench.publish([1], 1)

    def fails(_):
        raise AppendFailedError(sqlite3.OperationalError("disk I/O error"), certain=False)

    bench.log.append = fails
    with pytest.raises(Unavailable):
        await bench.publish([1], 2)
    assert len(bench.deaths) == 1
    assert bench.lane.version.sequence == 1


async def test_a_death_between_append_and_commit_is_never_acknowledged_and_replayed(bench, monkeypatch):
    await bench.publish([1], 1)

    def dies(records, append=bench.log.append):
        append(records)
        bench.lane._cursor.close()  # the engine is gone before it commits

    monkeypatch.setattr(bench.log, "append", dies)
    with pytest.raises(Unavailable) as caught:
        await bench.publish([1], 2)
    assert caught.value.reason == "STOPPING"
    assert len(bench.deaths) == 1
    assert bench.lane.version.sequence == 1
    assert bench.rows() == [(1, 1)]
    assert bench.replayed() == [(1, 2)]


async def test_waiting_writes_are_bounded_by_count_and_bytes(tmp_path):
    bench = Bench(tmp_path, LaneLimits(waiting_count=2, waiting_bytes=4000))
    await bench.publish([0])
    answers = await bench.together(*(bench.publish([n]) for n in range(1, 5)))
    assert [getattr(answer, "reason", "taken") for answer in answers] == [
        "taken",
        "taken",
        "WRITES_WAITING",
        "WRITES_WAITING",
    ]
    answers = await bench.together(bench.publish([1]), bench.publish(list(range(1000))))
    assert isinstance(answers[1], ResourceExhausted)
    assert (await bench.publish(list(range(1000)))).rows == 1000, "a single one is never too large to wait"
    await bench.close()


async def test_a_frame_that_is_too_large_is_refused(tmp_path):
    bench = Bench(tmp_path, LaneLimits(frame_bytes=10_000))
    with pytest.raises(ResourceExhausted) as caught:
        await bench.publish(list(range(10_000)))
    assert caught.value.reason == "PUBLISH_TOO_LARGE"
    await bench.close()


async def test_a_caller_that_leaves_or_runs_out_of_time_leaves_nothing_half_done(bench):
    await bench.publish([0])

    async def impatient():
        with deadline.within(0):
            return await bench.publish([5])

    async def leaves():
        task = asyncio.ensure_future(bench.publish([6]))
        await asyncio.sleep(0)
        task.cancel()
        return await task

    late, gone, kept = await bench.together(impatient(), leaves(), bench.publish([7]))
    assert isinstance(late, DeadlineExceeded)
    assert isinstance(gone, asyncio.CancelledError)
    assert kept.rows == 1
    assert bench.rows() == bench.replayed()


async def test_deletes_apply_in_order_and_need_a_key(bench):
    await bench.publish([1, 2, 3])
    gone = await bench.lane.submit(Delete(new_id(), "T", keys_of(id=[1, 2, 9])))
    assert gone.rows == 3
    assert bench.rows() == bench.replayed() == [(3, 0)]
    await bench.lane.submit(Publish(new_id(), (rows_of("keyless", {"v": [1]}),)))
    with pytest.raises(InvalidArgument, match="no primary key"):
        await bench.lane.submit(Delete(new_id(), "keyless", keys_of(v=[1])))
    with pytest.raises(NotFound):
        await bench.lane.submit(Delete(new_id(), "nowhere", keys_of(v=[1])))


@pytest.mark.parametrize("stream", [b"", b"no arrow", keys_of(id=[1])[:-60]])
async def test_bytes_that_are_no_arrow_stream_are_refused(bench, stream):
    await bench.publish([1])
    with pytest.raises(InvalidArgument) as caught:
        await bench.lane.submit(Delete(new_id(), "t", stream))
    assert caught.value.reason == "BAD_ARROW"


async def test_a_closing_lane_finishes_what_waits_and_refuses_what_comes(tmp_path):
    bench = Bench(tmp_path)
    await bench.publish([0])
    waiting = [asyncio.ensure_future(bench.publish([n])) for n in range(20)]
    await asyncio.sleep(0)
    await bench.lane.close()
    assert [(await each).rows for each in waiting] == [1] * 20
    with pytest.raises(Unavailable):
        await bench.publish([1])
    await bench.close()


async def test_an_error_of_ours_ends_the_process_and_leaves_no_caller_waiting(bench, monkeypatch):
    monkeypatch.setattr(bench.log, "append", lambda _: 1 / 0)
    with pytest.raises(Unavailable):
        await bench.publish([1])
    assert bench.deaths
    assert bench.lane.version.sequence == 0
