"""Arrow, polars and SQL ETLs: what they get, what they may return, and how they are refused."""

import hashlib
import sys
import textwrap

import pyarrow as pa
import pytest

from featurestore.etl.script import Script, ScriptFailed
from featurestore.model.errors import ResourceExhausted
from services.extraction.worker_types import EtlCode, WorkerLimits
from services.extraction.workers import WorkerPool

ROWS = pa.table({"x": pa.array([3, 1, None], pa.int64()), "s": ["c", "a", None]})


def script(text):
    return Script(textwrap.dedent(text), "etl.py", "Etl", {}, sealed=False)


def arrow(*lines, attributes=""):
    head = f"import pyarrow as pa\nfrom featurestore.etl import ArrowEtl\nclass Etl(ArrowEtl):\n    {attributes}\n"
    return script(head + "    def extract(self):\n" + "".join(f"        {line}\n" for line in lines))


def polars(*lines):
    head = (
        "import polars as pl\nfrom etl_abc import PolarsEtl\nclass Etl(PolarsEtl):\n    def extract(self):\n"
    )
    return script(head + "".join(f"        {line}\n" for line in lines))


def sql(text, attributes=""):
    return script(f"from etl_abc import SqlEtl\nclass Etl(SqlEtl):\n    {attributes}\n    sql = {text!r}\n")


def refused(run, kind):
    with pytest.raises(ScriptFailed) as caught:
        run()
    assert caught.value.kind == kind, caught.value.message
    return caught.value


# What may be returned


@pytest.mark.parametrize(
    "returned",
    [
        "self.table",
        "self.table.to_batches()[0]",
        "self.table.to_reader()",
        "__import__('polars').DataFrame(self.table)",
        "__import__('duckdb').from_arrow(self.table)",
    ],
)
def test_an_arrow_etl_returns_a_table_a_batch_or_any_arrow_stream(returned):
    features, undecided = arrow(f"return {returned}").run(ROWS, None)
    assert features.schema == ROWS.schema
    assert features.to_pylist() == ROWS.to_pylist()
    assert undecided == ()


@pytest.mark.parametrize("returned", ["self.frame", "self.frame.lazy()"])
def test_a_polars_etl_returns_a_frame_or_a_lazy_one(returned):
    assert polars(f"return {returned}").run(ROWS, None)[0].to_pylist() == ROWS.to_pylist()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (arrow("return None"), "returned NoneType; it must return a pyarrow Table"),
        (arrow("return {'x': [1]}"), "returned dict"),
        (polars("return self.frame['x']"), "returned Series; it must return a polars DataFrame or LazyFrame"),
        (polars("return self.frame.to_arrow()"), "returned Table"),
    ],
)
def test_a_result_that_is_no_frame_of_its_kind_is_refused(made, says):
    assert says in refused(lambda: made.run(ROWS, None), "no_frame").message


def test_a_result_counts_by_its_columns_and_loses_its_metadata():
    features, _ = arrow("return self.table.replace_schema_metadata({'a': 'b'})").run(ROWS, None)
    assert features.schema.metadata is None


# The contract


def served(values, kind, wanted):
    made = arrow("return self.table.select(['x'])")
    table = pa.table({"x": pa.array(values, kind)})
    return made.run(table, pa.schema([("x", wanted)]))[0]["x"]


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        ([1, None], pa.int32(), pa.int64()),
        ([1, None], pa.int64(), pa.float64()),
        ([1.5, None], pa.float32(), pa.float64()),
        (["a", None], pa.large_string(), pa.string()),
        (["a", None], pa.dictionary(pa.int8(), pa.string()), pa.string()),
        ([["a"], None], pa.large_list(pa.string_view()), pa.list_(pa.string())),
        (
            [{"a": ["b"]}],
            pa.struct([("a", pa.large_list(pa.string()))]),
            pa.struct([("a", pa.list_(pa.string()))]),
        ),
        ([b"a", None], pa.large_binary(), pa.binary()),
        ([0, 1], pa.timestamp("ms"), pa.timestamp("us")),
    ],
)
def test_a_column_is_cast_to_the_contract_where_no_value_can_change(values, kind, wanted):
    column = served(values, kind, wanted)
    assert column.type == wanted
    assert column.to_pylist() == pa.array(values, kind).cast(wanted).to_pylist()


@pytest.mark.parametrize("kind", [pa.int64(), pa.string(), pa.null(), pa.float64()])
@pytest.mark.parametrize("wanted", [pa.int64(), pa.duration("us"), pa.list_(pa.string())])
def test_an_all_null_column_is_whatever_the_contract_says(kind, wanted):
    assert served([None, None], kind, wanted).equals(pa.chunked_array([pa.nulls(2, wanted)]))


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        ([1.0], pa.float64(), pa.int64()),
        ([1], pa.int64(), pa.int32()),
        (["1"], pa.string(), pa.int64()),
        ([2**60 + 1], pa.int64(), pa.float64()),
        ([1], pa.timestamp("us"), pa.timestamp("ms")),
        ([1], pa.timestamp("us"), pa.timestamp("us", "UTC")),
        ([1], pa.timestamp("us"), pa.date32()),
        ([[1.5]], pa.list_(pa.float64()), pa.list_(pa.int64())),
    ],
)
def test_a_cast_that_could_change_a_value_breaks_the_contract(values, kind, wanted):
    failed = refused(lambda: served(values, kind, wanted), "contract")
    assert [(each.column, each.kind, each.expected) for each in failed.differences] == [
        ("x", "type", str(wanted))
    ]


def test_missing_unexpected_and_moved_columns_break_the_contract():
    contract = pa.schema([("x", pa.int64()), ("s", pa.string())])
    failed = refused(
        lambda: arrow("return self.table.rename_columns(['x', 't'])").run(ROWS, contract), "contract"
    )
    assert {(each.column, each.kind) for each in failed.differences} == {
        ("s", "missing"),
        ("t", "unexpected"),
    }
    moved = refused(lambda: sql("select s, x from input").run(ROWS, contract), "contract")
    assert {each.kind for each in moved.differences} == {"order"}


def test_nan_is_null_in_every_kind():
    rows = pa.table({"x": [1.5, float("nan"), None]})
    for made in (arrow("return self.table"), polars("return self.frame"), sql("select * from input")):
        for contract in (None, rows.schema):
            assert made.run(rows, contract)[0]["x"].to_pylist() == [1.5, None, None]


def test_a_type_that_is_null_alone_is_undecided_until_it_is_declared():
    body = "return self.table.append_column('n', pa.nulls(3)).append_column('l', [pa.nulls(3, pa.list_(pa.null()))])"
    assert arrow(body).run(ROWS, None)[1] == ("n", "l")
    declared = arrow(body, attributes="output_types = {'n': 'double', 'l': 'list<int64>'}")
    features, undecided = declared.run(ROWS, None)
    assert undecided == ()
    assert features.schema.field("l").type == pa.list_(pa.int64())
    failed = refused(
        lambda: arrow("return self.table", attributes="output_types = {'n': 'double'}").run(ROWS, None),
        "output_type",
    )
    assert failed.details["column"] == "n"


def test_rows_of_no_number_still_have_types():
    for made in (arrow("return self.table"), polars("return self.frame"), sql("select * from input")):
        features, undecided = made.run(ROWS.slice(0, 0), None)
        assert (features.schema, features.num_rows, undecided) == (ROWS.schema, 0, ())


@pytest.mark.parametrize(
    ("made", "column"),
    [
        (arrow("return self.table.append_column('o', pa.array([1, 2, 3]).dictionary_encode())"), "o"),
        (arrow("return self.table.append_column('o', pa.nulls(3, pa.month_day_nano_interval()))"), "o"),
        (arrow("return self.table.append_column('x', pa.nulls(3, pa.int8()))"), "x"),
        (arrow("return self.table.select([])"), ""),
    ],
)
def test_a_column_that_can_not_be_kept_is_named(made, column):
    assert refused(lambda: made.run(ROWS, None), "output_type").details["column"] == column


def test_what_polars_has_no_unit_for_comes_back_as_it_was():
    rows = pa.table(
        {
            "opens": pa.array([1, None], pa.time64("us")),
            "made": pa.array([5, None], pa.timestamp("s")),
            "kept": pa.array([5, None], pa.timestamp("ns")),
        }
    )
    trained, _ = polars("return self.frame").run(rows, None)
    assert trained.equals(rows)
    assert polars("return self.frame").run(rows, rows.schema)[0].equals(rows)
    finer = polars("return self.frame.with_columns(pl.col('made') + pl.duration(milliseconds=1))")
    assert finer.run(rows, None)[0].schema.field("made").type == pa.timestamp("ms")


def test_a_polars_etl_says_which_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    text = "from etl_abc import PolarsEtl\nclass Etl(PolarsEtl):\n    def extract(self): return self.frame\n"
    failed = refused(lambda: script(text), "source")
    assert "needs the package polars, which is not installed where ETLs run" in failed.message
    assert failed.details["line"] == "2"


def test_a_class_of_two_kinds_or_of_none_is_refused():
    two = "from etl_abc import *\nclass Etl(ArrowEtl, SqlEtl):\n    sql = 'select 1 as x'\n    def extract(self): ...\n"
    assert "it subclasses ArrowEtl and SqlEtl" in refused(lambda: script(two), "source").message
    none = "from featurestore.etl.bases import Etl as Base\nclass Etl(Base): ...\n"
    assert "it subclasses none" in refused(lambda: script(none), "source").message


# SQL


def test_a_sql_etl_answers_as_a_saved_query_does():
    rows = pa.table(
        {
            "x": [2, 1],
            "binding_date": pa.array([9, None], pa.timestamp("us")),
            "creation_date": pa.array([5, 6], pa.timestamp("us")),
        }
    )
    made = sql(
        "-- features\nselect x, binding_date - creation_date as creation_to_binding, sum(x) over () as total,"
        " 7 / 2 as half, 1 / 0 as nothing, 'A' = 'a' as same from input order by x;"
    )
    features, _ = made.run(rows, None)
    assert features.schema == pa.schema(
        [
            ("x", pa.int64()),
            ("creation_to_binding", pa.duration("us")),
            ("total", pa.int64()),
            ("half", pa.float64()),
            ("nothing", pa.float64()),
            ("same", pa.bool_()),
        ]
    )
    assert features["x"].to_pylist() == [1, 2]
    assert features["total"].to_pylist() == [3, 3]
    assert features["half"].to_pylist() == [3.5, 3.5]


def test_a_sql_etl_sees_the_rows_at_hand_and_no_others():
    made = sql("select count(*) as n, sum(x) as total from input")
    contract = made.run(ROWS, None)[0].schema
    for start, count in ((0, 3), (1, 1), (2, 1), (0, 0), (0, 2)):
        piece = ROWS.slice(start, count)
        values = [value for value in piece["x"].to_pylist() if value is not None]
        [found] = made.run(piece, contract)[0].to_pylist()
        assert found == {"n": count, "total": sum(values) if values else None}
    other = pa.table({"x": [0.5], "more": ["a"]})
    assert made.run(other, None)[0].to_pylist() == [{"n": 1, "total": 0.5}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("select * from feature_store.payments", "there is no table payments: only input can be read"),
        ("select * from payments", "there is no table payments: only input can be read"),
        ("select * from main.input", "there is no table input"),
        ("select * from other.main.input", "there is no table input"),
        ("select * from duckdb_settings()", "can't be read from"),
        ("select * from read_csv('/etc/passwd')", "can't be read from"),
        ("select * from '/etc/passwd'", "there is no table /etc/passwd"),
        ("select random() as x from input", "random(...) can't be used"),
        ("select current_setting('threads') as x from input", "can't be used"),
        ("select x from input; select 1", "2 statements"),
        ("drop view input", "only a SELECT"),
        ("with d as (delete from input returning *) select * from d", "only reads"),
        ("select x from input where x = $1", "parameter"),
        ("selec x from input", "syntax error"),
        ("", "the SQL is empty"),
    ],
)
def test_a_sql_etl_may_say_what_a_saved_query_may_and_reads_input_alone(text, says):
    failed = refused(lambda: sql(text), "source")
    assert says in failed.message
    assert failed.details["line"] == "4"


def test_common_table_expressions_may_be_read_beside_input():
    made = sql("with pairs as (select x, s from Input), input2 as (select * from pairs) select * from input2")
    assert made.run(ROWS, None)[0].to_pylist() == ROWS.to_pylist()


def test_a_sql_etl_without_sql_is_refused():
    text = "from etl_abc import SqlEtl\nclass Etl(SqlEtl):\n    sql = None\n"
    failed = refused(lambda: script(text), "source")
    assert (failed.details["line"], "sql must be the text" in failed.message) == ("3", True)
    refused(lambda: script("from etl_abc import SqlEtl\nclass Etl(SqlEtl): ...\n"), "source")


def test_sql_that_reads_the_clock_is_not_pure():
    failed = refused(lambda: sql("select now() as t from input", attributes="pure = True"), "source")
    assert "the SQL reads the clock" in failed.message
    assert failed.details["line"] == "3"
    assert not sql("select now() as t from input").declared.pure


@pytest.mark.parametrize(
    ("text", "reason", "shown"),
    [
        ("select missing from input", "UNKNOWN_COLUMN", "there is no column missing"),
        ("select x, x from input", "DUPLICATE_COLUMN", "both named x"),
        ("select cast(s as bigint) as y from input", "SQL_VALUE", "it fails on these rows"),
        ("select to_months(1) as m from input", "INTERVAL_MONTHS", "INTERVAL with months"),
        (
            "select cast(9223372036854775807 as hugeint) + 1 as h from input",
            "SQL_VALUE",
            "it fails on these rows",
        ),
    ],
)
def test_sql_that_does_not_fit_the_rows_is_an_exception_with_its_line(text, reason, shown):
    rows = pa.table({"x": [1], "s": ["hush"]})
    failed = refused(lambda: sql(text).run(rows, None), "exception")
    assert (failed.details["type"], failed.details["line"]) == (reason, "4")
    assert shown in failed.message
    assert "hush" not in failed.message
    assert failed.details["exception"]


def test_the_next_rows_are_answered_after_sql_failed():
    made = sql("select cast(s as bigint) as n from input")
    contract = pa.schema([("n", pa.int64())])
    refused(lambda: made.run(pa.table({"s": ["x"]}), contract), "exception")
    assert made.run(pa.table({"s": ["7"]}), contract)[0].to_pylist() == [{"n": 7}]


def test_a_column_without_a_place_in_sql_is_named():
    rows = pa.table({"when": pa.nulls(1, pa.month_day_nano_interval())})
    assert refused(lambda: sql("select 1 as x from input").run(rows, None), "input_type").details == {
        "column": "when"
    }


async def test_sql_that_asks_for_too_much_memory_is_stopped_in_its_worker():
    text = (
        "from etl_abc import SqlEtl\nclass Etl(SqlEtl):\n"
        "    sql = 'select list(a.range * b.range) as n from range(20000) a, range(20000) b, input'\n"
    )
    code = EtlCode(text, "etl.py", hashlib.sha256(text.encode()).hexdigest())
    async with WorkerPool(WorkerLimits(workers=1, memory_bytes=300 * 2**20)) as pool:
        with pytest.raises(ResourceExhausted) as caught:
            await pool.run(code, [ROWS], input_schema=ROWS.schema, contract=None, deadline_seconds=60)
    assert caught.value.reason == "ETL_MEMORY"
    assert caught.value.details["line"] == "3"
