"""Realtime as its peers see it: tables, publishes, deletes, versions, followers, restarts."""

import asyncio

import pyarrow as pa
import pytest

from featurestore.model.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from featurestore.model.serving import Keys
from featurestore.model.table import Define, Drop, Put, Remove, TableDefinition, Version
from services.realtime.realtime import RealtimeService
from tests.support.realtime_rows import keys_of, new_id, opened, rows_of, table_rows

QUOTES = TableDefinition(
    "quotes", pa.schema([("quote_id", pa.int64()), ("user_id", pa.string())]), ("quote_id",), None
)


@pytest.fixture
async def realtime(tmp_path):
    async with opened(tmp_path) as service:
        yield service


def quotes(ids, user="u"):
    return rows_of("quotes", {"quote_id": ids, "user_id": [user] * len(ids)}, ("quote_id",))


async def test_a_publish_defines_a_table_and_is_visible_when_it_is_acknowledged(realtime):
    published = await realtime.publish(new_id(), [quotes([1, 2])])
    assert published.rows == 2
    assert published.version == await realtime.version() == Version(published.version.log_id, 1)
    info = await realtime.get_table("QUOTES")
    assert (info.row_count, info.definition.primary_key, info.version) == (
        2,
        ("quote_id",),
        published.version,
    )
    assert await table_rows(realtime, "quotes") == [(1, "u"), (2, "u")]


async def test_a_table_is_created_once_altered_by_a_superset_and_else_refused(realtime):
    created = await realtime.create_table(QUOTES)
    assert (created.row_count, created.definition.schema.field("quote_id").nullable) == (0, False)
    assert await realtime.create_table(QUOTES) == created, "the same again changes nothing"
    await realtime.publish(new_id(), [quotes([1])])
    wider = TableDefinition("quotes", QUOTES.schema.append(pa.field("paid", pa.bool_())), ("quote_id",))

    altered = await realtime.create_table(wider)

    assert altered.definition.schema.names == ["quote_id", "user_id", "paid"]
    assert await table_rows(realtime, "quotes") == [(1, "u", None)]
    with pytest.raises(AlreadyExists) as caught:
        await realtime.create_table(QUOTES)
    assert caught.value.reason == "TABLE_DEFINED_OTHERWISE"
    await realtime.publish(new_id(), [quotes([1], "whole row")])
    assert await table_rows(realtime, "quotes") == [(1, "whole row", None)]


async def test_several_tables_are_one_version_or_nothing(realtime):
    users = rows_of("users", {"user_id": ["u"]}, ("user_id",))
    published = await realtime.publish(new_id(), [quotes([1, 2]), users])
    assert (published.rows, published.version.sequence) == (3, 1)
    with pytest.raises(InvalidArgument):
        await realtime.publish(new_id(), [quotes([3]), rows_of("users", {"user_id": [1]})])
    assert len(await table_rows(realtime, "quotes")) == 2
    assert (await realtime.version()).sequence == 1


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ([], "BAD_TABLE"),
        ([quotes([1]), quotes([2])], "BAD_TABLE"),
        ([rows_of("a b", {"a": [1]})], "BAD_NAME"),
        ([rows_of("t", {"a": pa.nulls(1)})], "UNSUPPORTED_TYPE"),
        ([rows_of("t", {"a": [1]}, ("b",))], "BAD_TABLE"),
        ([rows_of("t", {"a": [1, None]}, ("a",))], "NULL_IN_KEY"),
    ],
)
async def test_a_bad_publish_changes_nothing(realtime, tables, reason):
    with pytest.raises(InvalidArgument) as caught:
        await realtime.publish(new_id(), tables)
    assert caught.value.reason == reason
    assert await realtime.list_tables() == ()
    with pytest.raises(InvalidArgument) as caught:
        await realtime.publish("", [quotes([1])])
    assert caught.value.reason == "PUBLISH_ID"


async def test_rows_are_deleted_by_values_tuples_or_a_table(realtime):
    await realtime.publish(new_id(), [quotes([1, 2, 3, 4])])
    assert (await realtime.delete(new_id(), "quotes", Keys((), ((1,), ("2",), (9,))))).rows == 3
    assert (await realtime.delete(new_id(), "quotes", keys_of(quote_id=[4], other=["x"]))).rows == 1
    assert await table_rows(realtime, "quotes") == [(3, "u")]
    pairs = rows_of("pairs", {"a": [1, 1], "b": ["x", "y"]}, ("a", "b"))
    await realtime.publish(new_id(), [pairs])
    await realtime.delete(new_id(), "pairs", Keys(("b", "a"), (("x", 1),)))
    assert await table_rows(realtime, "pairs") == [(1, "y")]


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (Keys((), (("1.5",),)), "KEY_VALUE"),
        (Keys((), ((None,),)), "KEY_NULL"),
        (Keys((), ((1, 2),)), "KEY_WIDTH"),
        (Keys(("user_id",), (("u",),)), "MISSING_COLUMN"),
        (keys_of(user_id=["u"]), "MISSING_COLUMN"),
        (keys_of(quote_id=["1"]), "KEY_VALUE"),
        (b"junk", "BAD_ARROW"),
    ],
)
async def test_a_bad_delete_changes_nothing(realtime, keys, reason):
    await realtime.publish(new_id(), [quotes([1])])
    with pytest.raises(InvalidArgument) as caught:
        await realtime.delete(new_id(), "quotes", keys)
    assert caught.value.reason == reason
    assert await table_rows(realtime, "quotes") == [(1, "u")]


async def test_a_dropped_table_is_unknown_until_it_is_defined_anew(realtime):
    await realtime.publish(new_id(), [quotes([1])])
    assert (await realtime.drop_table("Quotes")).sequence == 2
    for call in (
        realtime.get_table("quotes"),
        realtime.drop_table("quotes"),
        realtime.delete(new_id(), "quotes", keys_of(quote_id=[1])),
    ):
        with pytest.raises(NotFound) as caught:
            await call
        assert caught.value.reason == "UNKNOWN_TABLE"
    await realtime.publish(new_id(), [rows_of("quotes", {"other": [1.5]})])
    assert await table_rows(realtime, "quotes") == [(1.5,)]


async def test_everything_is_there_again_after_a_restart(tmp_path):
    async with opened(tmp_path) as realtime:
        await realtime.create_table(QUOTES)
        first = await realtime.publish("p", [quotes([1, 2, 2], "a")])
        await realtime.publish(new_id(), [quotes([2], "b"), rows_of("events", {"v": [1, 1]})])
        await realtime.delete(new_id(), "quotes", keys_of(quote_id=[1]))
        await realtime.publish(new_id(), [rows_of("gone", {"v": [1]})])
        await realtime.drop_table("gone")
        before, status = await realtime.list_tables(), await realtime.status()
    async with opened(tmp_path) as realtime:
        assert await realtime.list_tables() == before
        assert await realtime.status() == status
        assert (status.tables, status.rows, status.writable) == (2, 3, True)
        assert await table_rows(realtime, "quotes") == [(2, "b")]
        assert await realtime.publish("p", [quotes([1, 2, 2], "a")]) == first
        assert (await realtime.publish(new_id(), [quotes([7])])).version.sequence == 7


async def test_a_second_realtime_on_the_folder_refuses_to_start_and_says_why(tmp_path, realtime):
    await realtime.publish(new_id(), [quotes([1])])
    with pytest.raises(FailedPrecondition, match="in use by process") as caught:
        async with opened(tmp_path):
            pass
    assert caught.value.reason == "STORE_LOCKED"


async def collected(realtime, after, until):
    pieces = []
    async for log_id, frames in realtime.follow(after):
        assert log_id == (await realtime.version()).log_id
        pieces.append(list(frames))
        if frames[-1].sequence >= until:
            return pieces
    return pieces


async def test_a_follower_gets_every_frame_in_order_and_waits_for_the_next(realtime):
    await realtime.create_table(QUOTES)
    await realtime.publish("p", [quotes([1])])
    follower = asyncio.ensure_future(collected(realtime, None, 4))
    await asyncio.sleep(0.05)
    assert not follower.done()
    await realtime.delete("d", "quotes", keys_of(quote_id=[1]))
    await realtime.drop_table("quotes")

    frames = [frame for piece in await follower for frame in piece]

    assert [frame.sequence for frame in frames] == [1, 2, 3, 4]
    assert [type(operation) for frame in frames for operation in frame.operations] == [
        Define,
        Put,
        Remove,
        Drop,
    ]
    assert [frame.publish_id for frame in frames[1:3]] == ["p", "d"]
    assert frames[1].operations[0].rows.to_pylist() == [{"quote_id": 1, "user_id": "u"}]


async def test_a_follower_goes_on_behind_its_version(realtime):
    for n in range(3):
        version = (await realtime.publish(new_id(), [quotes([n])])).version
    after = Version(version.log_id, 1)
    assert [[f.sequence for f in piece] for piece in await collected(realtime, after, 3)] == [[2, 3]]


async def test_pieces_are_bounded_in_bytes(realtime):
    for n in range(5):
        await realtime.publish(new_id(), [rows_of("blobs", {"n": [n], "v": [bytes(3 * 2**20)]})])
    pieces = await collected(realtime, None, 5)
    assert [[f.sequence for f in piece] for piece in pieces] == [[1, 2, 3], [4, 5]]


@pytest.mark.parametrize("after", [Version("log_other", 0), None])
async def test_a_version_of_another_log_is_refused(realtime, after):
    after = after or Version((await realtime.version()).log_id, 1)
    with pytest.raises(FailedPrecondition) as caught:
        await anext(realtime.follow(after))
    assert caught.value.reason == "OTHER_LOG"


async def test_a_reader_sees_all_of_a_version_or_nothing_of_it(realtime):
    await realtime.publish(
        new_id(), [rows_of("a", {"k": [0], "n": [0]}, ("k",)), rows_of("b", {"k": [0], "n": [0]}, ("k",))]
    )
    sql = "SELECT (SELECT max(n) FROM feature_store.a), (SELECT max(n) FROM feature_store.b), (SELECT count(*) FROM feature_store.a)"
    done = False

    async def write():
        nonlocal done
        for n in range(1, 40):
            rows = {"k": list(range(n)), "n": [n] * n}
            await realtime.publish(new_id(), [rows_of("a", rows), rows_of("b", rows)])
        done = True

    async def read():
        seen = []
        while not done:
            version = await realtime.version()
            a, b, count = (await realtime._readers.run(lambda c: c.execute(sql).fetchall()))[0]
            assert a == b
            assert count == max(1, a)
            assert a >= version.sequence - 1, "what was acknowledged before the read is in it"
            seen.append(a)
        return seen

    _, *seen = await asyncio.gather(write(), read(), read(), read())
    assert all(each == sorted(each) for each in seen)


async def test_a_service_that_never_opened_leaves_the_folder_free(tmp_path):
    (tmp_path / "log.sqlite").write_bytes(b"no database, but long enough to be looked at " * 100)
    with pytest.raises(Exception, match="not a database"):
        async with RealtimeService(tmp_path, engine_threads=1, memory_limit="1GB"):
            pass
    (tmp_path / "log.sqlite").unlink()
    async with opened(tmp_path):
        pass
