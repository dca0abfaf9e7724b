"""What applying a definition would change, from what is known of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore.cli.definitions import Definition
from featurestore.cli.planning import Planned, Standing, plan_etl, plan_query, schema_changes
from featurestore.client.results import SavedEtl, SavedQuery
from featurestore.model.names import Kind

SCHEMA = pa.schema([("user_id", pa.string()), ("n", pa.int64())])
OTHER = pa.schema([("user_id", pa.string()), ("n", pa.float64()), ("paid", pa.bool_())])
WHEN = datetime(2026, 1, 2, tzinfo=UTC)
QUERY = Definition(
    Kind.QUERY, "quotes", "queries/quotes.sql", Path("/d/queries/quotes.sql"), "SELECT", ("user_id",)
)
ETL = Definition(Kind.ETL, "e", "etls/e.py", Path("/d/etls/e.py"), "", ("user_id",), query="quotes")
SAVED = SavedQuery(
    "qry_1",
    ("quotes",),
    "SELECT",
    SCHEMA,
    (),
    (("user_id",),),
    ("",),
    WHEN,
    owner="ann",
    description="Quotes",
)
SAVED_ETL = SavedEtl("etl_1", ("e",), "qry_1", SCHEMA, "aaaaaaaa11", (), WHEN)
SAME_QUERY = Planned(QUERY, Standing.SAME, "qry_1")
DECLARED = (("user_id",),)


def query_plan(definition=QUERY, canonical="SELECT", schema=SCHEMA, saved=SAVED):
    return plan_query(definition, canonical, schema, saved, "SELECT")


def etl_plan(
    definition=ETL,
    blob="aaaaaaaa11",
    beside=(),
    contract=SCHEMA,
    saved=SAVED_ETL,
    query=SAME_QUERY,
    declared=DECLARED,
):
    return plan_etl(definition, blob, beside, contract, saved, query, declared)


def test_another_file_beside_a_script_is_a_change_and_is_named():
    saved = replace(SAVED_ETL, neighbours=(("a.py", "1"), ("b.py", "2"), ("c.py", "3")))
    same = etl_plan(beside=(("a.py", "1"), ("b.py", "2"), ("c.py", "3")), saved=saved)
    assert (same.standing, same.content_id) == (Standing.SAME, "etl_1")
    changed = etl_plan(beside=(("a.py", "1"), ("b.py", "9"), ("d.py", "4")), saved=saved)
    assert (changed.standing, changed.changes) == (
        Standing.CHANGED,
        ("other files beside the script (b.py, c.py, d.py)",),
    )


def test_a_name_that_stands_for_nothing_is_new():
    assert query_plan(saved=None) == Planned(QUERY, Standing.NEW, after=SCHEMA)
    assert etl_plan(saved=None) == Planned(ETL, Standing.NEW, after=SCHEMA)


def test_the_same_content_is_the_same_and_has_its_id():
    assert (query_plan().standing, query_plan().content_id, query_plan().changes) == (
        Standing.SAME,
        "qry_1",
        (),
    )
    assert (etl_plan().standing, etl_plan().content_id, etl_plan().changes) == (Standing.SAME, "etl_1", ())


@pytest.mark.parametrize(
    ("planned", "changes"),
    [
        (query_plan(canonical="SELECT 2"), ("other SQL",)),
        (query_plan(schema=OTHER), ("+ paid bool", "n: int64 -> double")),
        (query_plan(canonical="SELECT 2", schema=OTHER), ("other SQL", "+ paid bool", "n: int64 -> double")),
        (etl_plan(blob="bbbbbbbb22"), ("other script (aaaaaaaa -> bbbbbbbb)",)),
        (etl_plan(contract=OTHER), ("+ paid bool", "n: int64 -> double")),
        (
            etl_plan(query=replace(SAME_QUERY, content_id="qry_2")),
            ("other query (qry_1 -> qry_2)",),
        ),
        (
            etl_plan(query=replace(SAME_QUERY, content_id=""), contract=None),
            ("other query (qry_1 -> quotes)",),
        ),
    ],
)
def test_other_content_is_changed_and_has_no_id_yet(planned, changes):
    assert (planned.standing, planned.content_id, planned.changes) == (Standing.CHANGED, "", changes)


def test_an_index_key_that_is_not_declared_is_a_change_of_the_same_content():
    by_day = replace(QUERY, index_key=("user_id", "day"))
    planned = query_plan(by_day)
    assert (planned.standing, planned.content_id) == (Standing.CHANGED, "qry_1")
    assert planned.changes == ("+ index key user_id, day",)
    etl = etl_plan(replace(ETL, index_key=("n",)))
    assert (etl.standing, etl.content_id, etl.changes) == (Standing.CHANGED, "etl_1", ("+ index key n",))


def test_an_index_key_that_the_querys_own_save_declares_is_no_change_of_the_etl():
    query = replace(SAME_QUERY, standing=Standing.CHANGED)  # by its key alone
    assert etl_plan(query=query, declared=()).standing is Standing.SAME


def test_a_contract_that_can_not_be_known_yet_is_said():
    unsaved = replace(SAME_QUERY, standing=Standing.NEW, content_id="")
    assert etl_plan(contract=None, saved=None, query=unsaved).remarks == (
        "contract known once query quotes is saved",
    )
    assert etl_plan(contract=None, query=unsaved).remarks == ("contract known once query quotes is saved",)


def test_notes_that_the_store_would_not_take_over_are_remarked():
    assert query_plan(replace(QUERY, owner="bo", description="Quotes")).remarks == (
        "the store keeps the owner of the first save, 'ann'",
    )
    assert (
        query_plan(replace(QUERY, owner="bo"), canonical="SELECT 2").remarks == ()
    )  # a first save of its own


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ([("a", "int64")], [("a", "int64")], ()),
        ([("a", "int64")], [("a", "int64"), ("b", "string")], ("+ b string",)),
        ([("a", "int64"), ("b", "string")], [("a", "int64")], ("- b string",)),
        ([("a", "int64")], [("a", "double")], ("a: int64 -> double",)),
        (
            [("a", "int64"), ("b", "int64")],
            [("b", "int64"), ("a", "int64")],
            ("columns in another order: b, a",),
        ),
        ([("a", "int64")], [("A", "int64")], ("+ A int64", "- a int64")),
    ],
)
def test_schemas_differ_by_columns_types_and_order(before, after, changes):
    types = {"int64": pa.int64(), "double": pa.float64(), "string": pa.string()}
    old, new = (pa.schema([(name, types[kind]) for name, kind in each]) for each in (before, after))
    assert schema_changes(old, new) == changes


def test_nullability_and_metadata_make_no_difference_as_they_make_none_to_ids():
    field = pa.field("a", pa.int64(), nullable=False)
    assert schema_changes(pa.schema([("a", pa.int64())]), pa.schema([field], metadata={"a": "b"})) == ()
