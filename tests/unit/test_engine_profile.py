from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from featurestore.engine import profile

# What may differ between the two sides: sizes, whether they may be changed, and where work may spill to.
OWN_TO_A_SIDE = {
    "temp_directory",
    "disabled_filesystems",
    "allowed_directories",
    "allowed_paths",
    "allowed_configs",
}


@pytest.fixture
def memory():
    with profile.connect(threads=2, memory_limit="200MB") as connection:
        yield connection


@pytest.fixture
def file(tmp_path):
    with profile.connect(
        tmp_path / "w.duckdb",
        threads=2,
        memory_limit="200MB",
        spill_folder=tmp_path / "spill",
        changing_memory=True,
    ) as connection:
        yield connection


@pytest.fixture(params=["memory", "file"])
def side(request):
    return request.getfixturevalue(request.param)


def settings(connection):
    rows = connection.cursor().execute("SELECT name, value FROM duckdb_settings()").fetchall()
    return {name: value for name, value in rows if name not in OWN_TO_A_SIDE}


def test_both_sides_have_the_same_settings(memory, file):
    assert settings(memory) == settings(file)


def test_what_changes_a_result_is_pinned(side):
    wanted = {
        "TimeZone": "UTC",
        "default_null_order": "NULLS_LAST",
        "default_order": "ASC",
        "integer_division": "false",
        "ieee_floating_point_ops": "true",
        "preserve_insertion_order": "true",
        "arrow_large_buffer_size": "false",
        "arrow_lossless_conversion": "false",
        "arrow_output_list_view": "false",
        "produce_arrow_string_view": "false",
        "errors_as_json": "true",
        "enable_external_access": "false",
        "python_enable_replacements": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
        "lock_configuration": "true",
    }
    assert settings(side).items() >= wanted.items()


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH '{folder}/other.duckdb'",
        "COPY (SELECT 1) TO '{folder}/x.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "EXPORT DATABASE '{folder}/x'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 1",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET GLOBAL errors_as_json = false",
        "SET enable_external_access = true",
        "SET GLOBAL lock_configuration = false",
        "SET GLOBAL allowed_configs = ['threads']",
    ],
)
def test_files_the_network_and_settings_are_out_of_reach(side, statement, tmp_path):
    with pytest.raises(duckdb.Error):
        side.cursor().execute(statement.format(folder=tmp_path)).fetchall()


def test_the_memory_limit_can_be_changed_where_that_was_asked_for_and_nowhere_else(memory, file):
    lower = "SET GLOBAL memory_limit = '100MB'"
    file.cursor().execute(lower)
    with pytest.raises(duckdb.InvalidInputException):
        memory.cursor().execute(lower)


def test_a_python_variable_is_no_table(side):
    secret = pa.table({"a": [1]})
    with pytest.raises(duckdb.CatalogException):
        side.cursor().execute("SELECT * FROM secret").fetchall()
    assert secret.num_rows == 1


def test_a_registered_arrow_table_and_reader_can_be_read(side):
    rows = pa.table({"a": [1, 2], "at": pa.array([0, 1], pa.timestamp("us", "UTC"))})
    cursor = side.cursor()
    for incoming in (rows, rows.to_reader()):
        cursor.register("__fs_incoming", incoming)
        cursor.execute("CREATE OR REPLACE TABLE feature_store.t AS SELECT * FROM __fs_incoming")
        cursor.unregister("__fs_incoming")
        assert cursor.execute("SELECT a FROM feature_store.t ORDER BY a").fetchall() == [(1,), (2,)]


def test_a_file_is_kept_and_opened_again(tmp_path):
    path = tmp_path / "w.duckdb"
    with profile.connect(path, threads=1, memory_limit="200MB") as connection:
        connection.execute("CREATE TABLE feature_store.t AS SELECT 1 AS a")
        connection.execute("CHECKPOINT")
    with profile.connect(path, threads=1, memory_limit="200MB", read_only=True) as connection:
        assert connection.execute("SELECT a FROM feature_store.t").fetchall() == [(1,)]


def test_work_larger_than_memory_spills_into_its_own_folder(tmp_path):
    spill = tmp_path / "spill"
    with profile.connect(
        tmp_path / "w.duckdb", threads=1, memory_limit="40MB", spill_folder=spill
    ) as connection:
        sort = "SELECT count(*) FROM (SELECT hash(i) h, i::VARCHAR s FROM range(2000000) t(i) ORDER BY h, s LIMIT 1900000)"
        assert connection.execute(sort).fetchall() == [(1_900_000,)]
        assert Path(spill).exists()


def test_a_zoned_timestamp_leaves_in_utc_whatever_the_host_says(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    with profile.connect(threads=1, memory_limit="200MB") as connection:
        at = connection.execute("SELECT TIMESTAMPTZ '2024-02-29 12:00:00+09:00' AS at").to_arrow_table()
    assert at.schema.field("at").type == pa.timestamp("us", "UTC")
    assert str(at["at"][0]) == "2024-02-29 03:00:00+00:00"
