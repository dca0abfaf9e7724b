"""What every catalogue does, whatever it is kept in: one suite over SQLite and MongoDB."""

import asyncio
import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from featurestore.model.errors import Internal, InvalidArgument, NotFound, Unavailable
from featurestore.model.etl import Declarations
from featurestore.model.names import DEFAULT_ID_KEY, Kind, is_id
from featurestore.model.query import Column, Notes, OrderTerm, Warned
from services.catalog import conversions
from services.catalog.catalog import CatalogService
from services.catalog.documents import EtlDocument
from services.catalog.store import open_store
from tests.support.catalog_drafts import CONTRACT, SCRIPT, etl_draft, query_draft
from tests.support.catalogs import opened_catalog

OTHER_ID_KEY = b"a secret id key of one deployment"
# Worked out by hand from the design, with hashlib: whoever changes them breaks every id that a backend holds.
GOLDEN_QUERY_ID = "qry_w3lcicuzu2rj5axjwiobtfh346"
GOLDEN_ETL_ID = "etl_s3ecvlwydgmhaas466wbov3n2s"


class TestSavingTheSame:
    async def test_two_hundred_equal_saves_at_once_are_one_query_with_one_id(self, url, catalog):
        async with opened_catalog(url) as other:
            saved = await asyncio.gather(
                *(each.save_query(query_draft(name="demo")) for _ in range(100) for each in (catalog, other))
            )
        assert len({query.query_id for query in saved}) == 1
        assert (await catalog.status()).queries == 1
        assert await catalog.name_versions(Kind.QUERY, "demo") == (saved[0].query_id,)
        assert len({query.created_at for query in saved}) == 1

    async def test_equal_etl_saves_at_once_are_one_etl_with_one_provenance(self, url, catalog):
        query = await catalog.save_query(query_draft())
        async with opened_catalog(url) as other:
            draft = etl_draft(query.query_id, name="features")
            saved = await asyncio.gather(
                *(each.save_etl(draft) for _ in range(10) for each in (catalog, other))
            )
        assert len({etl.etl_id for etl in saved}) == 1
        assert (await catalog.status()).etls == 1
        assert await catalog.name_versions(Kind.ETL, "features") == (saved[0].etl_id,)
        assert (await catalog.get_etl(saved[0].etl_id)).provenances == (draft.script.provenance,)

    async def test_the_canonical_text_and_the_schema_decide_and_the_first_layout_stands(self, catalog):
        first = await catalog.save_query(query_draft("select 1 as a", canonical="SELECT 1 AS a"))
        again = await catalog.save_query(query_draft("select\n 1 as a -- again", canonical="SELECT 1 AS a"))
        assert again == first
        assert again.form.sql == "select 1 as a"

    async def test_the_notes_of_the_first_save_stand(self, catalog):
        ours = Notes("ada", "the first", {"team.name": "$risk", "": "ünïcode"})
        theirs = Notes("bob", "the second", {"team": "fraud"})
        first = await catalog.save_query(query_draft(notes=ours))
        again = await catalog.save_query(query_draft(notes=theirs))
        assert first.notes == again.notes == ours
        etl = await catalog.save_etl(etl_draft(first.query_id, notes=ours))
        assert (await catalog.save_etl(etl_draft(first.query_id, notes=theirs))).notes == etl.notes == ours

    async def test_another_text_or_schema_is_another_query(self, catalog):
        user, total = query_draft().form.columns
        drafts = [
            query_draft(),
            query_draft("SELECT user_id, total FROM feature_store.users"),
            query_draft(columns=(user,)),
            query_draft(columns=(user, Column("total", pa.int32(), "INTEGER"))),
            query_draft(columns=(user, Column("Total", pa.int64(), "HUGEINT"))),
            query_draft(columns=(total, user)),
        ]
        saved = [await catalog.save_query(draft) for draft in drafts]
        assert len({query.query_id for query in saved}) == len(drafts)
        assert (await catalog.status()).queries == len(drafts)

    async def test_another_script_neighbour_or_contract_is_another_etl(self, catalog):
        query_id = (await catalog.save_query(query_draft())).query_id
        drafts = [
            etl_draft(query_id),
            etl_draft(query_id, script=SCRIPT + "\n"),
            etl_draft(query_id, neighbours=[("helpers.py", "a" * 64)]),
            etl_draft(query_id, neighbours=[("helpers.py", "b" * 64)]),
            etl_draft(query_id, contract=pa.schema([("user_id", pa.string()), ("total", pa.float64())])),
            etl_draft(query_id, contract=pa.schema([("total", pa.int64()), ("user_id", pa.string())])),
        ]
        saved = [await catalog.save_etl(draft) for draft in drafts]
        assert len({etl.etl_id for etl in saved}) == len(drafts)
        assert (await catalog.status()).etls == len(drafts)

    async def test_the_same_script_of_another_query_is_another_etl(self, catalog):
        one = await catalog.save_query(query_draft("SELECT 1 AS a"))
        two = await catalog.save_query(query_draft("SELECT 2 AS a"))
        first = await catalog.save_etl(etl_draft(one.query_id))
        second = await catalog.save_etl(etl_draft(two.query_id))
        assert first.etl_id != second.etl_id
        assert (first.query_id, second.query_id) == (one.query_id, two.query_id)

    async def test_nullability_metadata_and_the_order_of_imports_are_no_difference(self, catalog):
        query = await catalog.save_query(query_draft())
        strict = pa.schema([field.with_nullable(False) for field in CONTRACT], metadata={"made": "by pandas"})
        helpers = [("a.py", "a" * 64), ("b.py", "b" * 64)]
        first = await catalog.save_etl(etl_draft(query.query_id, neighbours=helpers[::-1], contract=strict))
        again = await catalog.save_etl(etl_draft(query.query_id, neighbours=helpers))
        assert again == first
        assert again.contract.equals(CONTRACT, check_metadata=True)

    async def test_what_a_script_says_of_itself_is_no_difference_and_the_first_word_counts(self, catalog):
        query = await catalog.save_query(query_draft())
        first = await catalog.save_etl(etl_draft(query.query_id))
        again = await catalog.save_etl(etl_draft(query.query_id, declared=Declarations("rows", pure=True)))
        assert again == first
        assert again.declared == Declarations()

    async def test_a_save_that_broke_off_is_completed_by_repeating_it(self, url):
        draft = query_draft(name="demo", index_key=["user_id"])
        async with open_store(url) as store:
            for inserts in range(3):
                with pytest.raises(Unavailable):
                    await CatalogService(_BreaksOff(store, after=inserts)).save_query(draft)
            query = await CatalogService(store).save_query(draft)
        assert (query.names, query.index_keys) == (("demo",), (("user_id",),))


class TestNames:
    async def test_other_content_under_a_name_is_its_next_version(self, catalog):
        one = await catalog.save_query(query_draft("SELECT 1 AS a", name="demo"))
        two = await catalog.save_query(query_draft("SELECT 2 AS a", name="demo"))
        assert await catalog.name_versions(Kind.QUERY, "demo") == (one.query_id, two.query_id)
        assert (await catalog.get_query(one.query_id)).names == ("demo@1",)
        assert two.names == ("demo",)

    async def test_saving_an_older_content_again_makes_the_next_version_with_the_old_id(self, catalog):
        one = await catalog.save_query(query_draft("SELECT 1 AS a", name="demo"))
        two = await catalog.save_query(query_draft("SELECT 2 AS a", name="demo"))
        again = await catalog.save_query(query_draft("SELECT 1 AS a", name="demo"))
        assert await catalog.name_versions(Kind.QUERY, "demo") == (one.query_id, two.query_id, one.query_id)
        assert again.names == ("demo@1", "demo")
        assert (await catalog.get_query(two.query_id)).names == ("demo@2",)

    async def test_one_content_under_two_names_is_one_id_with_two_names(self, catalog):
        first = await catalog.save_query(query_draft(name="zeta"))
        again = await catalog.save_query(query_draft(name="alpha"))
        assert again.query_id == first.query_id
        assert again.names == ("alpha", "zeta")
        assert (await catalog.list_queries(0, ""))[0] == (again,)

    async def test_a_query_and_an_etl_may_have_the_same_name(self, catalog):
        query = await catalog.save_query(query_draft(name="demo"))
        etl = await catalog.save_etl(etl_draft(query.query_id, name="demo"))
        assert await catalog.name_versions(Kind.QUERY, "demo") == (query.query_id,)
        assert await catalog.name_versions(Kind.ETL, "demo") == (etl.etl_id,)
        assert (await catalog.get_etl(etl.etl_id)).names == ("demo",)

    async def test_an_unknown_name_has_no_versions(self, catalog):
        assert await catalog.name_versions(Kind.QUERY, "nobody") == ()

    async def test_two_catalogues_that_race_for_a_name_leave_no_gap_and_lose_no_version(self, url, catalog):
        async with opened_catalog(url) as other:
            saved = await asyncio.gather(
                *(
                    each.save_query(query_draft(f"SELECT {n} AS a", name="demo"))
                    for n, each in enumerate([catalog, other] * 8)
                )
            )
        versions = await catalog.name_versions(Kind.QUERY, "demo")
        assert sorted(versions) == sorted(query.query_id for query in saved)
        labels = [(await catalog.get_query(query_id)).names for query_id in versions]
        assert labels == [(f"demo@{n}",) for n in range(1, 16)] + [("demo",)]

    async def test_a_name_outside_the_grammar_is_refused_before_anything_is_saved(self, catalog):
        query = await catalog.save_query(query_draft("SELECT 1 AS a"))
        for name in ("qry_mine", "etl_mine", "1st", "with space", "demo@2"):
            for save, draft in (
                (catalog.save_query, query_draft(name=name)),
                (catalog.save_etl, etl_draft(query.query_id, name=name)),
            ):
                with pytest.raises(InvalidArgument) as refused:
                    await save(draft)
                assert refused.value.reason == "BAD_NAME"
        status = await catalog.status()
        assert (status.queries, status.etls) == (1, 0)


class TestWhatIsCollected:
    async def test_index_keys_are_collected_each_once_in_the_order_of_their_saves(self, catalog):
        for key in (["user_id"], ["user_id", "total"], [], ["total", "user_id"], ["user_id"]):
            query = await catalog.save_query(query_draft(index_key=key))
        assert query.index_keys == (("user_id",), ("user_id", "total"), ("total", "user_id"))

    async def test_how_an_index_key_served_when_it_was_declared_is_kept_with_it(self, catalog):
        await catalog.save_query(query_draft(index_key=["total"], served="scan\nSCAN: quotes is read whole"))
        query = await catalog.save_query(query_draft(index_key=["user_id"], served="indexed"))
        assert dict(zip(query.index_keys, query.served, strict=True)) == {
            ("total",): "scan\nSCAN: quotes is read whole",
            ("user_id",): "indexed",
        }

    async def test_an_etls_index_key_is_collected_with_its_query(self, catalog):
        query = await catalog.save_query(query_draft())
        await catalog.save_etl(etl_draft(query.query_id, index_key=["user_id"]))
        assert (await catalog.get_query(query.query_id)).index_keys == (("user_id",),)

    async def test_a_repeated_save_appends_its_provenance_once(self, catalog):
        query = await catalog.save_query(query_draft())
        drafts = [
            etl_draft(query.query_id),
            etl_draft(query.query_id, commit="2" * 40, ref="v2"),
            etl_draft(query.query_id, libraries={"pandas": "3.2.0"}),
        ]
        for draft in (*drafts, *drafts):
            etl = await catalog.save_etl(draft)
        assert etl.provenances == tuple(draft.script.provenance for draft in drafts)
        first, last = drafts[0].script.provenance, drafts[-1].script.provenance
        assert etl.script.provenance == replace(first, libraries=last.libraries)
        assert (await catalog.list_etls(0, ""))[0] == (etl,)

    async def test_equal_provenances_that_arrive_at_once_are_appended_once(self, catalog):
        query = await catalog.save_query(query_draft())
        await catalog.save_etl(etl_draft(query.query_id))
        moved = etl_draft(query.query_id, repository="git+https://mirror.example/features.git")
        saved = await asyncio.gather(*(catalog.save_etl(moved) for _ in range(20)))
        etl = await catalog.get_etl(saved[0].etl_id)
        assert [item.repository for item in etl.provenances] == [
            "git+https://git.example/team/features.git",
            "git+https://mirror.example/features.git",
        ]


class TestWhatComesBack:
    async def test_all_that_a_query_draft_says_is_there_after_reopening(self, url):
        columns = (
            Column("user id", pa.string(), "UUID"),
            Column("at", pa.timestamp("us", tz="UTC"), "TIMESTAMP WITH TIME ZONE"),
            Column("amount", pa.decimal128(10, 2), "DECIMAL(10,2)"),
            Column("tags", pa.list_(pa.struct([("k", pa.string()), ("v", pa.int32())])), "STRUCT(k, v)[]"),
        )
        draft = query_draft(
            "SELECT \"user id\" -- ünï\n\tFROM q WHERE x = '\U0001f600'",
            columns=columns,
            order=(OrderTerm("at", descending=True, nulls_first=False), OrderTerm("amount", False, True)),
            tables=("quotes", "users"),
            warnings=(Warned("USES_CLOCK", "now() changes"),),
            uses_clock=True,
        )
        before = datetime.now(UTC)
        async with opened_catalog(url) as catalog:
            saved = await catalog.save_query(draft)
        async with opened_catalog(url) as catalog:
            query = await catalog.get_query(saved.query_id)
        assert query == saved
        assert (query.form, query.canonical, query.tables) == (draft.form, draft.canonical, draft.tables)
        assert (query.warnings, query.uses_clock) == (draft.warnings, True)
        assert before - timedelta(milliseconds=1) <= query.created_at <= datetime.now(UTC)

    async def test_all_that_an_etl_draft_says_is_there_after_reopening(self, url):
        async with opened_catalog(url) as catalog:
            query = await catalog.save_query(query_draft())
            declared = Declarations("key", pure=True, kind="sql")
            draft = etl_draft(
                query.query_id, neighbours=[("a.py", "a" * 64)], name="features", declared=declared
            )
            saved = await catalog.save_etl(draft)
        async with opened_catalog(url) as catalog:
            etl = await catalog.get_etl(saved.etl_id)
        assert etl == saved
        assert (etl.query_id, etl.script, etl.names) == (query.query_id, draft.script, ("features",))
        assert etl.contract.equals(draft.contract)

    async def test_ids_are_the_same_on_every_store_and_in_every_release(self, catalog):
        query = await catalog.save_query(query_draft())
        etl = await catalog.save_etl(etl_draft(query.query_id, neighbours=[("a.py", "a" * 64)]))
        assert (query.query_id, etl.etl_id) == (GOLDEN_QUERY_ID, GOLDEN_ETL_ID)

    async def test_another_id_key_makes_other_ids_and_changes_none_that_is_stored(self, url, catalog):
        old = await catalog.save_query(query_draft("SELECT 1 AS a"))
        async with opened_catalog(url, id_key=OTHER_ID_KEY) as keyed:
            assert (await keyed.save_query(query_draft("SELECT 1 AS a"))).query_id == old.query_id
            new = await keyed.save_query(query_draft())
        assert is_id(new.query_id, Kind.QUERY)
        assert new.query_id != GOLDEN_QUERY_ID
        assert (await catalog.save_query(query_draft())).query_id == new.query_id

    async def test_what_is_unknown_is_not_found(self, catalog):
        query = await catalog.save_query(query_draft())
        for get, asked, reason in (
            (catalog.get_query, "qry_" + "a" * 26, "UNKNOWN_QUERY"),
            (catalog.get_query, "x" * 5000, "UNKNOWN_QUERY"),
            (catalog.get_etl, "etl_" + "a" * 26, "UNKNOWN_ETL"),
            (catalog.get_etl, query.query_id, "UNKNOWN_ETL"),
        ):
            with pytest.raises(NotFound) as refused:
                await get(asked)
            assert refused.value.reason == reason
            assert len(refused.value.message) < 200

    async def test_an_etl_of_an_unknown_query_is_not_saved(self, catalog):
        with pytest.raises(NotFound) as refused:
            await catalog.save_etl(etl_draft("qry_" + "a" * 26, name="features"))
        assert refused.value.reason == "UNKNOWN_QUERY"
        assert (await catalog.status()).etls == 0
        assert await catalog.name_versions(Kind.ETL, "features") == ()

    async def test_another_content_under_the_same_content_key_raises_the_alarm(self, url, catalog, caplog):
        draft = query_draft(name="demo")
        honest = conversions.query_document(draft, DEFAULT_ID_KEY, 1)
        async with open_store(url) as store:
            assert await store.insert(honest.model_copy(update={"canonical_sql": "SELECT 'changed by hand'"}))
        with caplog.at_level(logging.CRITICAL), pytest.raises(Internal) as alarm:
            await catalog.save_query(draft)
        assert alarm.value.reason == "CONTENT_KEY_COLLISION"
        assert [record.levelname for record in caplog.records] == ["CRITICAL"]
        assert await catalog.name_versions(Kind.QUERY, "demo") == ()

    async def test_a_document_over_the_limit_is_refused_with_both_sizes(self, catalog):
        with pytest.raises(InvalidArgument) as refused:
            await catalog.save_query(query_draft("SELECT '" + "x" * 5 * 2**20 + "' AS a"))
        assert refused.value.reason == "DOCUMENT_TOO_LARGE"
        assert int(refused.value.details["size"]) > int(refused.value.details["limit"]) == 8 * 2**20
        assert (await catalog.status()).queries == 0


class _BreaksOff:
    """A store whose connection is gone after some inserts, seen from this catalogue."""

    def __init__(self, store, after):
        self._store = store
        self._left = after
        self.find = store.find

    async def insert(self, document):
        if not self._left:
            raise Unavailable("CATALOG_UNAVAILABLE", "the catalogue did not answer while saving")
        self._left -= 1
        return await self._store.insert(document)


def test_an_etl_that_an_older_release_stored_says_nothing_of_itself():
    document = conversions.etl_document(etl_draft("qry_x"), DEFAULT_ID_KEY, 0).model_dump_json()
    stored = json.loads(document)
    assert stored.pop("declared")
    old = EtlDocument.model_validate_json(json.dumps(stored))
    assert conversions.etl(old, (), (), ()).declared == Declarations()
