import pytest

from featurestore.engine import functions, inspector
from featurestore.engine.sql_check import parse
from featurestore.model.errors import InvalidArgument

# As DuckDB 1.5.5 labels them; `age`, `current_localtime` and `getvariable` show that the labels can't be trusted.
IMPURE = [
    "random",
    "setseed",
    "uuid",
    "uuidv4",
    "uuidv7",
    "gen_random_uuid",
    "nextval",
    "currval",
    "getvariable",
    "current_setting",
    "current_query",
    "current_query_id",
    "current_connection_id",
    "current_transaction_id",
    "txid_current",
    "current_database",
    "current_schema",
    "current_schemas",
    "in_search_path",
    "sleep_ms",
    "write_log",
    "error",
    "stats",
    "vector_type",
    "reservoir_quantile",
    "json_execute_serialized_sql",
    "json_serialize_sql",
    "json_deserialize_sql",
    "json_serialize_plan",
    "query",
    "query_table",
    "repeat",
    "list_resize",
    "list_aggregate",
    "pg_sleep",
    "session_user",
    "current_user",
    "current_role",
    "current_catalog",
    "get_block_size",
    "bitstring",
    "create_sort_key",
]


def test_every_allowed_function_exists():
    assert functions.ALLOWED - inspector.function_names() == set()


@pytest.mark.parametrize("name", IMPURE)
def test_an_impure_or_boundless_function_is_not_allowed(name):
    assert name not in functions.ALLOWED


@pytest.mark.parametrize("name", sorted(inspector.function_names() - functions.ALLOWED))
def test_every_other_function_of_the_engine_is_refused_by_name(name):
    if not name.isidentifier():
        pytest.skip("an operator of no use by itself")
    with pytest.raises(InvalidArgument) as refused:
        parse(f'SELECT "{name}"(1)')
    assert refused.value.reason == "SQL_FUNCTION"
    assert refused.value.details["function"] == name


def test_a_function_is_judged_whatever_its_case_and_schema():
    for call in ("RANDOM()", '"Random"()', "main.random()", "pg_catalog.random()", "system.main.random()"):
        with pytest.raises(InvalidArgument) as refused:
            parse(f"SELECT {call}")
        assert refused.value.reason in ("SQL_FUNCTION", "SQL_SYNTAX")
