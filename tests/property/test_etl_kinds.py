"""One transformation written in the four kinds of ETL: the same contract, and the same values whatever the rows."""

import hashlib
import textwrap

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.etl.script import Script
from services.extraction.worker_types import EtlCode, WorkerLimits
from services.extraction.workers import WorkerPool

SCHEMA = pa.schema(
    [
        ("user_id", pa.int64()),
        ("small", pa.int16()),
        ("ratio", pa.float64()),
        ("name", pa.string()),
        ("active", pa.bool_()),
        ("created", pa.timestamp("us")),
        ("bound", pa.timestamp("us")),
        ("zoned", pa.timestamp("us", "UTC")),
        ("opens", pa.time64("us")),
        ("price", pa.decimal128(12, 2)),
        ("tags", pa.list_(pa.string())),
        ("raw", pa.binary()),
    ]
)
KINDS = {
    "pandas": """
        from etl_abc import AbstractEtl

        class Etl(AbstractEtl):
            def extract(self):
                frame = self.df.rename(columns={"name": "called"})
                frame["wait"] = frame["bound"] - frame["created"]
                frame["twice"] = frame["user_id"] * 2
                frame["share"] = frame["ratio"] / 4
                frame["idle"] = ~frame["active"]
                return frame.drop(columns="small")
        """,
    "arrow": """
        import pyarrow.compute as pc
        from etl_abc import ArrowEtl

        class Etl(ArrowEtl):
            def extract(self):
                rows = self.table.rename_columns({"name": "called"})
                rows = rows.append_column("wait", pc.subtract(rows["bound"], rows["created"]))
                rows = rows.append_column("twice", pc.multiply(rows["user_id"], 2))
                rows = rows.append_column("share", pc.divide(rows["ratio"], 4.0))
                rows = rows.append_column("idle", pc.invert(rows["active"]))
                return rows.drop_columns("small")
        """,
    "polars": """
        import polars as pl
        from etl_abc import PolarsEtl

        class Etl(PolarsEtl):
            def extract(self):
                return (
                    self.frame.lazy()
                    .rename({"name": "called"})
                    .with_columns(
                        wait=pl.col("bound") - pl.col("created"),
                        twice=pl.col("user_id") * 2,
                        share=pl.col("ratio") / 4,
                        idle=~pl.col("active"),
                    )
                    .drop("small")
                )
        """,
    "sql": """
        from etl_abc import SqlEtl

        class Etl(SqlEtl):
            sql = '''
                select * exclude (small) rename (name as called),
                    bound - created as wait, user_id * 2 as twice, ratio / 4 as share, not active as idle
                from input
            '''
        """,
}
SOURCES = {kind: textwrap.dedent(text) for kind, text in KINDS.items()}
CONTRACT = pa.schema(
    [
        ("user_id", pa.int64()),
        ("ratio", pa.float64()),
        ("called", pa.string()),
        *list(SCHEMA)[4:],
        ("wait", pa.duration("us")),
        ("twice", pa.int64()),
        ("share", pa.float64()),
        ("idle", pa.bool_()),
    ]
)
MOMENTS = st.integers(-(2**52), 2**52)
VALUES = {
    "user_id": st.integers(-(2**40), 2**40),
    "small": st.integers(-(2**15), 2**15 - 1),
    "ratio": st.floats(),
    "name": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
    "active": st.booleans(),
    "created": MOMENTS,
    "bound": MOMENTS,
    "zoned": MOMENTS,
    "opens": st.integers(0, 86_399_999_999),
    "price": st.decimals(-(10**9), 10**9, places=2),
    "tags": st.lists(st.none() | st.text("ab", max_size=2), max_size=3),
    "raw": st.binary(max_size=4),
}


def column(field, length):
    listed = st.lists(st.none() | VALUES[field.name], min_size=length, max_size=length)
    return listed.map(lambda values: pa.array(values, field.type))


TABLES = st.integers(0, 5).flatmap(
    lambda length: st.tuples(*(column(field, length) for field in SCHEMA)).map(
        lambda columns: pa.table(list(columns), schema=SCHEMA)
    )
)
FULL = pa.table(
    [
        pa.array([1, None, 3], pa.int64()),
        pa.array([1, 2, None], pa.int16()),
        pa.array([0.5, float("nan"), None]),
        pa.array(["ann", None, ""]),
        pa.array([True, False, None]),
        pa.array([0, 1, None], pa.timestamp("us")),
        pa.array([5, None, 7], pa.timestamp("us")),
        pa.array([5, None, 7], pa.timestamp("us", "UTC")),
        pa.array([5, None, 7], pa.time64("us")),
        pa.array(["1.50", None, "2.25"]).cast(pa.decimal128(12, 2)),
        pa.array([["a", None], [], None], pa.list_(pa.string())),
        pa.array([b"x", None, b""]),
    ],
    schema=SCHEMA,
)


@pytest.fixture(scope="module")
def scripts():
    return {kind: Script(source, f"{kind}.py", "Etl", {}, sealed=False) for kind, source in SOURCES.items()}


def test_the_four_kinds_train_the_same_contract(scripts):
    for kind, script in scripts.items():
        features, undecided = script.run(FULL, None)
        assert features.schema.equals(CONTRACT, check_metadata=True), kind
        assert undecided == (), kind
        assert script.declared.kind == kind


@settings(max_examples=60, deadline=None)
@given(TABLES)
def test_the_four_kinds_serve_the_same_values(scripts, rows):
    for variant in (rows, pa.concat_tables([rows, rows.slice(1)])):
        expected, _ = scripts["arrow"].run(variant, CONTRACT)
        assert expected.num_rows == variant.num_rows
        for kind, script in scripts.items():
            features, _ = script.run(variant, CONTRACT)
            features.validate(full=True)
            assert features.equals(expected), kind


@settings(max_examples=40, deadline=None)
@given(TABLES)
def test_the_kinds_that_keep_types_need_no_values_to_find_them(scripts, rows):
    for kind in ("arrow", "polars", "sql"):
        features, undecided = scripts[kind].run(rows, None)
        assert undecided == (), kind
        assert features.schema == CONTRACT, kind


async def test_sealed_workers_give_what_the_script_gives_in_process(scripts):
    async with WorkerPool(WorkerLimits(workers=4)) as pool:
        for kind, source in SOURCES.items():
            code = EtlCode(source, f"{kind}.py", hashlib.sha256(source.encode()).hexdigest())
            trained = await pool.run(code, [FULL], input_schema=SCHEMA, contract=None, deadline_seconds=60)
            assert trained.schema == CONTRACT, kind
            pieces = [FULL, FULL.slice(1, 1), FULL.slice(2)]
            served = await pool.run(code, pieces, input_schema=SCHEMA, contract=CONTRACT, deadline_seconds=60)
            expected = [scripts[kind].run(piece, CONTRACT)[0] for piece in pieces]
            assert [table.to_pylist() for table in served.tables] == [table.to_pylist() for table in expected]
            assert served.declared.kind == kind
