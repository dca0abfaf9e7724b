"""The client's surface is pinned by tests, not by care."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import featurestore as fs
from featurestore.api.gateway.v1 import gateway_pb2
from featurestore.client import calls, frames
from featurestore.client.store_aio import AsyncStore
from featurestore.client.sync import Store

CLIENT_CALL = {
    "CreateTable": "create_table",
    "DropTable": "drop_table",
    "GetTable": "get_table",
    "ListTables": "list_tables",
    "Publish": "publish",
    "PublishDemo": "publish_demo",
    "Delete": "delete",
    "QueryTrain": "query_train",
    "QueryRealtime": "query_realtime",
    "ExtractTrain": "extract_train",
    "ExtractRealtime": "extract_realtime",
    "Explain": "explain",
    "Warm": "warm",
    "Verify": "verify",
    "GetQuery": "get_query",
    "ListQueries": "list_queries",
    "GetEtl": "get_etl",
    "ListEtls": "list_etls",
    "GetStatus": "status",
    "Attach": None,  # local mode's own
}


def public(kind: type) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith("_") and inspect.isfunction(value)
    }


def test_both_clients_offer_the_same_calls_with_equal_signatures_and_docs():
    assert list(public(Store)) == list(public(AsyncStore))
    for name, method in public(Store).items():
        twin = public(AsyncStore)[name]
        mine, theirs = inspect.signature(method), inspect.signature(twin)
        assert list(mine.parameters.values()) == list(theirs.parameters.values()), name
        assert str(theirs.return_annotation).replace("Async", "") == str(mine.return_annotation), name
        assert inspect.getdoc(method) == inspect.getdoc(twin), name


def test_every_rpc_has_a_client_call():
    service = gateway_pb2.DESCRIPTOR.services_by_name["FeatureStoreService"]
    assert {method.name for method in service.methods} == set(CLIENT_CALL)
    assert {call for call in CLIENT_CALL.values() if call} | {"close"} == set(public(Store))


def test_every_call_takes_a_timeout():
    for name, method in public(Store).items():
        assert name == "close" or "timeout" in inspect.signature(method).parameters, name


def test_the_package_exports_what_the_readme_uses():
    assert set(fs.__all__) == {"Store", "__version__", "aio", "connect", "errors", "local"}
    assert all(getattr(fs, name) is not None for name in fs.__all__)


def test_connecting_loads_neither_services_nor_engines_nor_pandas():
    code = (
        "import sys, featurestore as fs\n"
        "store = fs.connect('localhost:1'); store.close()\n"
        "heavy = {'duckdb', 'pandas', 'motor', 'dulwich', 'pydantic', 'services', 'gateway', 'click'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "is_text"),
    [
        ("SELECT 1", True),
        ("select*from feature_store.a", True),
        ("", True),
        ("demo_query", False),
        ("demo_query@2", False),
        ("demo-query.v1", False),
        ("qry_abcdefghijklmnopqrstuvwxyz", False),
        ("etl_abc", False),
        ("SELECT\n1", True),
    ],
)
def test_a_query_s_text_is_told_from_an_id_or_a_name(text, is_text):
    assert calls.is_text(text) is is_text


@pytest.mark.parametrize(
    ("etl", "field"),
    [
        ("git+https://host/org/repo.git@main#path/to/etl.py", "source"),
        ("https://github.com/org/repo/blob/main/etl.py", "source"),
        ("etl_abcdefghijklmnopqrstuvwxyz", "saved_etl"),
        ("demo_etl", "saved_etl"),
        ("demo_etl@2", "saved_etl"),
    ],
)
def test_an_etl_is_taken_for_what_it_is(etl, field):
    notes = calls.Notes()
    request = calls.extract_train_request("q", etl, save=False, name=None, index_key=None, notes=notes)
    assert request.WhichOneof("etl") == field


def test_a_local_script_is_sent_as_it_is_on_disk(tmp_path):
    script = tmp_path / "etl.py"
    script.write_bytes(b"a = 1\r\n")
    request = calls.extract_train_request(
        "q", str(script), save=False, name=None, index_key=None, notes=calls.Notes()
    )
    assert request.source.local.text == "a = 1\r\n"
    with pytest.raises(fs.errors.InvalidArgument, match=r"missing\.py"):
        calls.extract_train_request(
            "q", str(tmp_path / "missing.py"), save=False, name=None, index_key=None, notes=calls.Notes()
        )


@pytest.mark.parametrize("rows", [0, 1, 7, 1000])
def test_a_large_frame_is_cut_into_pieces_that_are_the_whole(rows):
    table = pa.table({"key": range(rows), "text": [f"{number:064d}" for number in range(rows)]})
    streams = list(frames.pieces(table, 16 * 1024))
    assert all(len(stream) <= 16 * 1024 for stream in streams)
    again = pa.concat_tables([pa.ipc.open_stream(stream).read_all() for stream in streams])
    assert again.equals(table)


def test_what_is_no_frame_is_refused_by_its_type():
    with pytest.raises(fs.errors.InvalidArgument, match="int") as refused:
        frames.to_table(5)
    assert refused.value.reason == "BAD_FRAME"


def test_frames_of_any_make_become_the_same_table():
    data = {"a": [1, 2], "b": ["x", None]}
    wanted = pa.table(data).to_pylist()
    index = pd.Index([5, 6], name="not_part_of_it")
    for frame in (pa.table(data), pd.DataFrame(data, index=index), pl.DataFrame(data), wanted):
        assert frames.to_table(frame).to_pylist() == wanted
