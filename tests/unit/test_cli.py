"""The command line without a store: keys, files, printed values, help and errors."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from contextlib import redirect_stdout
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import click
import pyarrow as pa
import pytest

from featurestore.cli import app, output
from featurestore.cli.files import read_table, writing
from featurestore.cli.keys import AskedKeys, parse_columns, parse_index_key, parse_keys
from featurestore.model.errors import InvalidArgument
from tests.support.command_line import run

# Help and errors


def test_without_arguments_it_names_three_commands_to_begin_with():
    ran = run()
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[1] for line in ran.out.splitlines() if line.startswith("  featurestore ")] == [
        "demo",
        "publish",
        "query",
    ]


def test_help_lists_every_command_in_the_order_of_use():
    ran = run("--help")
    listed = [line.split()[0] for line in ran.out.partition("Commands:")[2].splitlines() if line.strip()]
    assert listed == list(app.cli.commands)
    assert listed[0] == "demo"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["tables", "--nonsense"],
        ["publish", "t", "no-such-file.csv"],
        ["query", "realtime", "q", "--key", "user_id"],
        ["query", "realtime", "q"],
        ["warm", "q"],
        ["warm", "q", "--index-key", "k", "--key", "k=1"],
        ["query", "train", "SELECT 1", "--name", "n"],
        ["tables", "--store", "a", "--target", "b"],
        ["serve", "everything"],
        ["demo", "--dataset", "iris"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments):
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert ran.err.endswith("[USAGE]\n")
    assert ran.err.count("\n") == 1
    assert "See 'featurestore" in ran.err


def test_a_refusal_of_several_lines_is_printed_as_one(monkeypatch, tmp_path):
    def refuse(*_args):
        raise InvalidArgument("SQL_SYNTAX", "line 1:\n  SELEC 1\n  ^ syntax error")

    monkeypatch.setattr("featurestore.local", refuse)
    ran = run("tables", "--store", str(tmp_path))
    assert (ran.code, ran.out, ran.err) == (1, "", "error: line 1: SELEC 1 ^ syntax error [SQL_SYNTAX]\n")


def test_an_unexpected_exception_is_not_hidden(monkeypatch, tmp_path):
    def broken(*_args):
        raise ZeroDivisionError

    monkeypatch.setattr("featurestore.local", broken)
    with pytest.raises(ZeroDivisionError):
        run("tables", "--store", str(tmp_path))


def test_an_interrupt_is_one_line(monkeypatch, tmp_path):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("featurestore.local", interrupted)
    ran = run("tables", "--store", str(tmp_path))
    assert (ran.code, ran.err.strip()) == (130, "error: interrupted [INTERRUPTED]")


def test_reading_a_store_that_is_not_there_does_not_make_one(tmp_path):
    place = tmp_path / "mistyped"
    ran = run("tables", "--store", str(place))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: there is no store in ")
    assert ran.err.endswith("[NO_STORE]\n")
    assert not place.exists()


@pytest.mark.parametrize("given", [["--store", "somewhere"], []])
def test_a_written_store_beats_the_environment(given, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATURESTORE_TARGET", "unix:/nowhere/gateway.sock")
    ran = run("tables", *given, "--timeout", "2")
    assert ("[NO_STORE]" in ran.err) == bool(given)
    assert ("unix:/nowhere/gateway.sock" in ran.err) == (not given)


def test_a_server_that_is_not_there_is_not_healthy(tmp_path):
    ran = run("health", f"unix:{tmp_path}/no.sock", "--timeout", "1")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1


def test_an_unknown_setting_stops_serve_with_one_line(monkeypatch):
    monkeypatch.setenv("FEATURESTORE__LISTN", "localhost:0")
    ran = run("serve", "gateway")
    assert ran.code == 1
    assert "did you mean FEATURESTORE__LISTEN?" in ran.err
    assert ran.err.endswith("[UNKNOWN_SETTING]\n")


def test_the_bare_client_is_told_what_to_install():
    hidden = "import sys; sys.modules['click'] = None; import featurestore.cli; featurestore.cli.main()"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "error: the command line needs click: pip install 'featurestore[local]' [NOT_INSTALLED]\n"
    )


def test_the_command_line_loads_no_service():
    look = "import sys, featurestore.cli.app; print([n for n in ('services', 'gateway', 'duckdb', 'dulwich', 'pandas') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Keys


@pytest.mark.parametrize(
    ("given", "columns", "values"),
    [
        (["user_id=7"], ("user_id",), ["7"]),
        (["user_id=7", "user_id=8", "user_id=7"], ("user_id",), ["7", "8", "7"]),
        (["name=Smith, John"], ("name",), ["Smith, John"]),
        (["token=a=b"], ("token",), ["a=b"]),
        (["name="], ("name",), [""]),
        (["a=1,b=2", "b=4,a=3"], ("a", "b"), [("1", "2"), ("3", "4")]),
        (['{"a": 1, "b": "x,c=2"}'], ("a", "b"), [(1, "x,c=2")]),
    ],
)
def test_keys_are_read_as_written(given, columns, values):
    assert parse_keys(given) == AskedKeys(columns, values)


@pytest.mark.parametrize("given", [["7"], ["=7"], ["a=1", "b=2"], ["a=1", "a=1,b=2"], ["{"], ["{}"]])
def test_what_is_no_key_is_refused(given):
    with pytest.raises(click.BadParameter):
        parse_keys(given)


def test_tuples_follow_the_primary_key():
    assert parse_keys(["b=2,a=1"]).tuples(("a", "b")) == [("1", "2")]
    assert parse_keys(["a=1"]).tuples(("a",)) == [("1",)]


def test_an_index_key_is_one_column_or_several():
    assert parse_index_key("a") == "a"
    assert parse_index_key("a, b") == ["a", "b"]
    assert parse_index_key(None) is None
    assert parse_columns("a") == ["a"]


# Files

ROWS = pa.table(
    {
        "id": pa.array([1, 2, None], pa.int64()),
        "name": ["007", "ä", None],
        "at": pa.array([datetime(2025, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("us", tz="UTC")),
    }
)


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "ndjson", "json", "arrow", "feather"])
def test_a_file_that_was_written_reads_the_same(ending, tmp_path):
    path = tmp_path / f"rows.{ending}"
    with writing(path, ROWS.schema) as write:
        for batch in ROWS.to_batches(max_chunksize=2):
            write(batch)
    read = read_table(path, ROWS.schema)
    if ending == "csv":  # has no null string
        assert read["id"].equals(ROWS["id"])
        assert read["name"].to_pylist() == ["007", "ä", ""]
    else:
        assert read.equals(ROWS)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_without_a_table_the_types_are_inferred(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("id,name\n1,007\n")
    assert read_table(path, None).schema.types == [pa.int64(), pa.int64()]
    assert read_table(path, pa.schema([("name", pa.string())])).schema.types == [pa.int64(), pa.string()]


def test_an_arrow_stream_is_read_like_an_arrow_file(tmp_path):
    path = tmp_path / "rows.arrow"
    with pa.ipc.new_stream(path, ROWS.schema) as writer:
        writer.write_table(ROWS)
    assert read_table(path, None).equals(ROWS)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("old")

    def fail_half_way():
        with writing(path, ROWS.schema) as write:
            write(ROWS.to_batches()[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.xlsx", b"", "FILE_FORMAT"),
        ("rows", b"", "FILE_FORMAT"),
        ("rows.parquet", b"no parquet", "BAD_FILE"),
        ("rows.arrow", b"no arrow", "BAD_FILE"),
        ("rows.csv", b"a,b\n1\n", "BAD_FILE"),
        ("rows.jsonl", b"{", "BAD_FILE"),
    ],
)
def test_a_file_that_is_not_what_its_ending_says_is_refused(name, content, reason, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidArgument) as refusal:
        read_table(path, None)
    assert refusal.value.reason == reason
    assert str(path) in refusal.value.message


def test_what_a_format_has_no_place_for_is_refused(tmp_path):
    lists = pa.table({"a": [[1]]})
    with pytest.raises(InvalidArgument) as refusal, writing(tmp_path / "rows.csv", lists.schema) as write:
        write(lists.to_batches()[0])
    assert refusal.value.reason == "BAD_FILE"
    assert list(tmp_path.iterdir()) == []


# Printed values


def test_every_value_has_its_place_in_json():
    row = {
        "null": None,
        "nan": math.nan,
        "infinite": [math.inf, {"deep": -math.inf}],
        "decimal": Decimal("1.50"),
        "time": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        "day": date(2025, 1, 2),
        "duration": timedelta(days=1, milliseconds=1),
        "bytes": b"\x00\xff",
        "text": "ä\n",
    }
    line = output.to_json(row)
    assert "\n" not in line
    assert json.loads(line) == {
        "null": None,
        "nan": None,
        "infinite": ["inf", {"deep": "-inf"}],
        "decimal": "1.50",
        "time": "2025-01-02T03:04:05+00:00",
        "day": "2025-01-02",
        "duration": 86400.001,
        "bytes": "AP8=",
        "text": "ä\n",
    }


def test_a_table_in_a_pipe_is_neither_cut_nor_wrapped():
    out = io.StringIO()
    with redirect_stdout(out):
        output.print_table(("a", "[b]"), [("x" * 500, 1), (None, "[red]")], "two rows")
    lines = out.getvalue().splitlines()
    assert "x" * 500 in lines[2]
    assert "[red]" in lines[3]
    assert "[b]" in lines[0]
    assert lines[-1] == "two rows"
