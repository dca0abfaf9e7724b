"""What a catalogue says while its store is away, slow, damaged, or not as it was left."""

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest

from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from featurestore.model.names import DEFAULT_ID_KEY, Kind
from services.catalog import conversions
from services.catalog.documents import COLLECTIONS
from services.catalog.store import open_store
from tests.support.catalog_drafts import etl_draft, query_draft
from tests.support.catalogs import opened_catalog
from tests.support.mongo import running_mongo
from tests.support.processes import free_port

UNIQUE_INDEXES = [(kind.collection, fields) for kind in COLLECTIONS for fields in kind.unique]
_SLACK_SECONDS = 5.0
"""How much later than its deadline a call may end on a busy machine; the calls would hang for longer."""


@pytest.fixture(scope="module")
def mongo(tmp_path_factory):
    with running_mongo(tmp_path_factory.mktemp("mongo")) as server:
        yield server


@pytest.fixture
def sqlite_file(tmp_path):
    return tmp_path / "catalog.sqlite"


class TestMongoIsAway:
    async def test_nobody_listening_is_unavailable_within_the_deadline(self):
        url = f"mongodb://user:secret@127.0.0.1:{free_port()}/featurestore"
        started = time.monotonic()
        with deadline.within(0.5), pytest.raises(Unavailable) as refused:
            async with open_store(url, timeout_seconds=60):
                pass
        assert time.monotonic() - started < 0.5 + _SLACK_SECONDS
        assert refused.value.reason == "CATALOG_UNAVAILABLE"
        assert "secret" not in str(refused.value)

    async def test_a_server_that_accepts_and_never_answers_is_unavailable_within_the_timeout(self):
        async def never_answer(reader, writer):
            await reader.read()
            writer.close()

        async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            started = time.monotonic()
            with pytest.raises(Unavailable):
                async with open_store(f"mongodb://127.0.0.1:{port}/featurestore", timeout_seconds=0.5):
                    pass
            assert time.monotonic() - started < 0.5 + _SLACK_SECONDS

    async def test_a_killed_server_is_unavailable_and_back_with_everything_once_it_is_restarted(self, mongo):
        async with opened_catalog(mongo.url()) as catalog:
            query = await catalog.save_query(query_draft(name="demo"))
            mongo.kill()
            try:
                started = time.monotonic()
                for call in (
                    lambda: catalog.get_query(query.query_id),
                    lambda: catalog.save_query(query_draft("SELECT 1 AS a")),
                    lambda: catalog.name_versions(Kind.QUERY, "demo"),
                    lambda: catalog.list_queries(0, ""),
                    catalog.status,
                ):
                    with deadline.within(0.3), pytest.raises(Unavailable) as refused:
                        await call()
                    assert refused.value.reason == "CATALOG_UNAVAILABLE"
                assert time.monotonic() - started < 5 * 0.3 + _SLACK_SECONDS
            finally:
                mongo.start()
            assert await catalog.get_query(query.query_id) == query
            assert (await catalog.save_query(query_draft())).query_id == query.query_id
            assert (await catalog.status()).queries == 1

    @pytest.mark.parametrize("command", ["insert", "find"])
    async def test_a_dropped_connection_is_tried_once_more_and_nobody_notices(self, mongo, command):
        async with opened_catalog(mongo.url()) as catalog:
            await catalog.save_query(query_draft())
            mongo.fail_next(command, closeConnection=True)
            query = await catalog.save_query(query_draft(name="demo"))
            assert query.names == ("demo",)
            assert (await catalog.status()).queries == 1

    async def test_connections_that_keep_dropping_are_unavailable_and_the_repeated_save_is_one(self, mongo):
        async with opened_catalog(mongo.url()) as catalog:
            mongo.fail_next("insert", times=2, closeConnection=True)
            with pytest.raises(Unavailable):
                await catalog.save_query(query_draft(name="demo"))
            query = await catalog.save_query(query_draft(name="demo"))
            assert await catalog.name_versions(Kind.QUERY, "demo") == (query.query_id,)
            assert (await catalog.status()).queries == 1

    async def test_a_write_that_fails_is_unavailable_and_nothing_was_saved(self, mongo):
        async with opened_catalog(mongo.url()) as catalog:
            query = await catalog.save_query(query_draft())
            mongo.fail_next("insert", errorCode=14031)  # out of disk space
            with pytest.raises(Unavailable) as refused:
                await catalog.save_etl(etl_draft(query.query_id))
            assert refused.value.reason == "CATALOG_UNAVAILABLE"
            assert "saving into etls" in refused.value.message
            assert (await catalog.status()).etls == 0

    async def test_a_call_whose_time_is_over_asks_nobody(self, mongo):
        async with opened_catalog(mongo.url()) as catalog:
            with deadline.within(0), pytest.raises(DeadlineExceeded) as refused:
                await catalog.status()
            assert refused.value.reason == "DEADLINE"


class TestMongoIndexes:
    async def test_opening_makes_every_unique_index_and_makes_a_lost_one_again(self, mongo):
        url = mongo.url()
        async with opened_catalog(url) as catalog:
            await catalog.save_query(query_draft(name="demo", index_key=["user_id"]))
        with mongo.client() as client:
            database = client.get_database(_database(url))
            for kind in COLLECTIONS:
                database[kind.collection].drop_indexes()
        async with opened_catalog(url) as catalog:
            await asyncio.gather(*(catalog.save_query(query_draft(name="demo")) for _ in range(10)))
            assert (await catalog.status()).queries == 1
        assert _unique_in_mongo(mongo, url) == set(UNIQUE_INDEXES)

    @pytest.mark.parametrize(
        ("collection", "fields"), UNIQUE_INDEXES, ids=[f"{c}-{'-'.join(f)}" for c, f in UNIQUE_INDEXES]
    )
    async def test_an_index_that_is_not_unique_is_not_ready(self, mongo, collection, fields):
        url = mongo.url()
        with mongo.client() as client:
            client[_database(url)][collection].create_index([(field, 1) for field in fields])
        await _is_not_ready(url, collection, fields)

    @pytest.mark.parametrize(
        "options", [{"sparse": True}, {"partialFilterExpression": {"format": 1}}], ids=["sparse", "partial"]
    )
    async def test_a_unique_index_that_leaves_documents_out_is_not_ready(self, mongo, options):
        url = mongo.url()
        with mongo.client() as client:
            client[_database(url)]["queries"].create_index([("content_key", 1)], unique=True, **options)
        await _is_not_ready(url, "queries", ("content_key",))

    async def test_documents_that_share_a_key_are_not_ready(self, mongo):
        url = mongo.url()
        document = conversions.query_document(query_draft(), DEFAULT_ID_KEY, 1).model_dump()
        with mongo.client() as client:
            client[_database(url)]["queries"].insert_many([dict(document), dict(document)])
        await _is_not_ready(url, "queries", ("content_key",))

    async def test_a_document_of_a_newer_release_is_named_and_not_half_understood(self, mongo):
        url = mongo.url()
        async with opened_catalog(url) as catalog:
            query = await catalog.save_query(query_draft())
            with mongo.client() as client:
                client[_database(url)]["queries"].update_one({}, {"$set": {"point_in_time": True}})
            with pytest.raises(FailedPrecondition) as refused:
                await catalog.get_query(query.query_id)
            assert (refused.value.reason, refused.value.details["fields"]) == (
                "CATALOG_FORMAT",
                "point_in_time",
            )


class TestSqliteIsAway:
    async def test_a_file_locked_by_another_keeps_the_loop_free_and_is_unavailable_in_time(self, sqlite_file):
        async with opened_catalog(f"sqlite:///{sqlite_file}") as catalog:
            query = await catalog.save_query(query_draft())
            with closing(sqlite3.connect(sqlite_file, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                ticks: list[float] = []
                ticking = asyncio.create_task(_tick(ticks))
                with deadline.within(0.3), pytest.raises(Unavailable) as refused:
                    await catalog.save_query(query_draft("SELECT 1 AS a"))
                ticking.cancel()
                assert refused.value.reason == "CATALOG_UNAVAILABLE"
                # A blocked loop gives two: one before, one after. Free, it gives about thirty.
                assert len(ticks) > 5
                other.execute("ROLLBACK")
            assert await catalog.get_query(query.query_id) == query

    async def test_a_lock_that_is_released_in_time_is_waited_for(self, sqlite_file):
        async with opened_catalog(f"sqlite:///{sqlite_file}") as catalog:
            with closing(sqlite3.connect(sqlite_file, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                saving = asyncio.create_task(catalog.save_query(query_draft()))
                await asyncio.sleep(0.1)
                assert not saving.done()
                other.execute("ROLLBACK")
                await saving
            assert (await catalog.status()).queries == 1

    async def test_a_missing_folder_is_unavailable_and_is_not_made(self, tmp_path):
        with pytest.raises(Unavailable) as refused:
            async with open_store(f"sqlite:///{tmp_path / 'gone' / 'catalog.sqlite'}"):
                pass
        assert refused.value.reason == "CATALOG_UNAVAILABLE"
        assert list(tmp_path.iterdir()) == []

    async def test_a_call_whose_time_is_over_is_not_begun(self, sqlite_file):
        async with opened_catalog(f"sqlite:///{sqlite_file}") as catalog:
            with deadline.within(0), pytest.raises(DeadlineExceeded):
                await catalog.save_query(query_draft())
            assert (await catalog.status()).queries == 0


class TestSqliteFile:
    async def test_a_lost_unique_index_is_made_again(self, sqlite_file):
        url = f"sqlite:///{sqlite_file}"
        async with opened_catalog(url) as catalog:
            await catalog.save_query(query_draft(name="demo"))
        indexes = _index_names(sqlite_file)
        assert len(indexes) >= len(UNIQUE_INDEXES)
        _execute(sqlite_file, *(f"DROP INDEX {name}" for name in indexes))
        async with opened_catalog(url) as catalog:
            await asyncio.gather(*(catalog.save_query(query_draft(name="demo")) for _ in range(10)))
            assert (await catalog.status()).queries == 1
        assert sorted(_index_names(sqlite_file)) == sorted(indexes)

    @pytest.mark.parametrize(
        "other", ["ON queries (content_key)", "ON queries (content_key, query_id)"], ids=["plain", "wider"]
    )
    async def test_an_index_in_the_place_of_a_unique_one_is_not_ready(self, sqlite_file, other):
        url = f"sqlite:///{sqlite_file}"
        async with open_store(url):
            pass
        name = "queries_unique_content_key"
        _execute(sqlite_file, f"DROP INDEX {name}", f"CREATE INDEX {name} {other}")
        await _is_not_ready(url, "queries", ("content_key",))

    async def test_rows_that_share_a_key_are_not_ready(self, sqlite_file):
        url = f"sqlite:///{sqlite_file}"
        async with opened_catalog(url) as catalog:
            await catalog.save_query(query_draft())
        _execute(
            sqlite_file,
            *(f"DROP INDEX {name}" for name in _index_names(sqlite_file)),
            "INSERT INTO queries SELECT * FROM queries",
        )
        await _is_not_ready(url, "queries", ("content_key",))

    async def test_a_file_of_a_newer_release_is_left_alone(self, sqlite_file):
        _execute(sqlite_file, "PRAGMA user_version = 2")
        with pytest.raises(FailedPrecondition) as refused:
            async with open_store(f"sqlite:///{sqlite_file}"):
                pass
        assert (refused.value.reason, refused.value.details["found"]) == ("CATALOG_FORMAT", "2")
        assert _index_names(sqlite_file) == []

    async def test_a_file_that_is_no_database_is_damaged(self, sqlite_file):
        sqlite_file.write_bytes(b"not a database at all " * 500)
        with pytest.raises(FailedPrecondition) as refused:
            async with open_store(f"sqlite:///{sqlite_file}"):
                pass
        assert refused.value.reason == "CATALOG_DAMAGED"

    async def test_a_document_of_a_newer_release_is_named_and_not_half_understood(self, sqlite_file):
        async with opened_catalog(f"sqlite:///{sqlite_file}") as catalog:
            query = await catalog.save_query(query_draft())
            _execute(sqlite_file, "UPDATE queries SET document = json_set(document, '$.point_in_time', 1)")
            with pytest.raises(FailedPrecondition) as refused:
                await catalog.get_query(query.query_id)
            assert (refused.value.reason, refused.value.details["fields"]) == (
                "CATALOG_FORMAT",
                "point_in_time",
            )


@pytest.mark.parametrize(
    "url",
    [
        "postgres://user:secret@host/db",
        "sqlite://no-slash",
        "sqlite:///",
        "catalog.sqlite",
        "mongodb://user:se@cret@host:port/db",
        "mongodb://user:secret@host:99999999/db",
        "",
    ],
)
async def test_a_url_that_opens_no_store_is_refused_without_repeating_its_password(url):
    with pytest.raises(InvalidArgument) as refused:
        async with open_store(url):
            pass
    assert refused.value.reason == "STORE_URL"
    assert "cret" not in f"{refused.value} {refused.value.details}"


async def _is_not_ready(url, collection, fields):
    with pytest.raises(FailedPrecondition) as refused:
        async with open_store(url):
            pass
    details = refused.value.details
    assert refused.value.reason == "CATALOG_INDEX"
    assert (details["collection"], details["fields"]) == (collection, ", ".join(fields))


async def _tick(ticks):
    while True:
        ticks.append(time.monotonic())
        await asyncio.sleep(0.01)


def _database(url):
    return url.rpartition("/")[2]


def _unique_in_mongo(mongo, url):
    with mongo.client() as client:
        return {
            (kind.collection, tuple(field for field, _ in index["key"]))
            for kind in COLLECTIONS
            for index in client[_database(url)][kind.collection].index_information().values()
            if index.get("unique")
        }


def _index_names(file):
    with closing(sqlite3.connect(file)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")]


def _execute(file, *statements):
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
