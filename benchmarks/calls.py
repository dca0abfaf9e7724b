"""Our calls as bytes, for callers without a stub."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import pyarrow as pa

from featurestore.api.common.v1 import common_pb2
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.model.frames import table_to_stream

_SERVICE = "/featurestore.api.gateway.v1.FeatureStoreService/"
READ, EXTRACT, PUBLISH = _SERVICE + "QueryRealtime", _SERVICE + "ExtractRealtime", _SERVICE + "Publish"


def read(query_id: str, column: str, keys: Sequence[int]) -> pb.QueryRealtimeRequest:
    """Ask for the rows of some keys, as Arrow."""
    return pb.QueryRealtimeRequest(
        query=query_id, format=common_pb2.ANSWER_FORMAT_ARROW, keys=_keys(column, keys)
    )


def extract(query_id: str, etl_id: str, column: str, keys: Sequence[int]) -> pb.ExtractRealtimeRequest:
    """Ask for the features of some keys, as Arrow."""
    return pb.ExtractRealtimeRequest(
        query=query_id, etl=etl_id, format=common_pb2.ANSWER_FORMAT_ARROW, keys=_keys(column, keys)
    )


def _keys(column: str, keys: Sequence[int]) -> common_pb2.Keys:
    return common_pb2.Keys(
        columns=[column],
        tuples=[common_pb2.KeyTuple(values=[common_pb2.Value(int64_value=key)]) for key in keys],
    )


def publish(table: str, row: Mapping[str, object], primary_key: str) -> pb.PublishRequest:
    """Write one row."""
    return pb.PublishRequest(
        publish_id=uuid.uuid4().hex,
        tables=[
            common_pb2.TableRows(
                table=table,
                arrow_stream=table_to_stream(pa.Table.from_pylist([dict(row)])),
                primary_key=common_pb2.ColumnNames(names=[primary_key]),
            )
        ],
    )


def kept(answer: bytes) -> bool:
    """Whether an answer to `read` was kept from before."""
    return pb.QueryRealtimeResponse.FromString(answer).info.from_cache


def rows_of(answer: bytes) -> list[dict[str, object]]:
    """The rows of an answer to `read`."""
    return _rows(pb.QueryRealtimeResponse.FromString(answer).arrow_stream)


def features_of(answer: bytes) -> list[dict[str, object]]:
    """The rows of an answer to `extract`."""
    return _rows(pb.ExtractRealtimeResponse.FromString(answer).arrow_stream)


def _rows(stream: bytes) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pa.ipc.open_stream(stream).read_all().to_pylist()
    return rows
