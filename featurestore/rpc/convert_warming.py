"""Kept answers: model <-> `common.v1`, and the fields that `Warm` has in `realtime.v1` and `gateway.v1` alike."""

from __future__ import annotations

from typing import TypeVar

from featurestore.api.common.v1 import common_pb2 as common
from featurestore.api.gateway.v1 import gateway_pb2
from featurestore.api.realtime.v1 import realtime_pb2
from featurestore.model.serving import Keys
from featurestore.model.warming import CacheReport, CacheUse, KeptUp, Warmed
from featurestore.rpc.convert_value import keys_from_proto
from featurestore.rpc.fields import enum_from_proto

_KEPT_UP: dict[int, KeptUp] = {
    common.KEPT_UP_NOT: KeptUp.NOT,
    common.KEPT_UP_ASKED: KeptUp.ASKED,
    common.KEPT_UP_BY_ITSELF: KeptUp.BY_ITSELF,
}
_KEPT_UP_TO_PROTO: dict[KeptUp, common.KeptUp.ValueType] = {
    KeptUp.NOT: common.KEPT_UP_NOT,
    KeptUp.ASKED: common.KEPT_UP_ASKED,
    KeptUp.BY_ITSELF: common.KEPT_UP_BY_ITSELF,
}
_Reply = TypeVar("_Reply", realtime_pb2.WarmResponse, gateway_pb2.WarmResponse)


def warm_keys_from_proto(request: realtime_pb2.WarmRequest | gateway_pb2.WarmRequest) -> Keys | None:
    """The keys that are to be warmed; None for all.

    Raises:
        InvalidArgument: as `keys_from_proto`.
    """
    return keys_from_proto(request.keys) if request.HasField("keys") else None


def keep_from_proto(request: realtime_pb2.WarmRequest | gateway_pb2.WarmRequest) -> bool | None:
    """Whether to keep the query up; None for "as it is"."""
    return request.keep if request.HasField("keep") else None


def warmed_to_proto(kind: type[_Reply], warmed: Warmed) -> _Reply:
    """What warming did, on the wire."""
    return kind(
        computed_count=warmed.computed,
        kept_count=warmed.kept,
        already_there_count=warmed.already_there,
        no_room_count=warmed.no_room,
        overtaken_count=warmed.overtaken,
    )


def warmed_from_proto(message: realtime_pb2.WarmResponse | gateway_pb2.WarmResponse) -> Warmed:
    """What warming did."""
    return Warmed(
        message.computed_count,
        message.kept_count,
        message.already_there_count,
        message.no_room_count,
        message.overtaken_count,
    )


def cache_use_to_proto(use: CacheUse) -> common.CacheUse:
    """How a query's kept answers fare, on the wire."""
    return common.CacheUse(
        query_id=use.query_id,
        index_key=use.index_key,
        kept_up=_KEPT_UP_TO_PROTO[use.kept_up],
        hit_count=use.hits,
        miss_count=use.misses,
        entry_count=use.entries,
        size_bytes=use.size_bytes,
        oldest_seconds=use.oldest_seconds,
    )


def cache_use_from_proto(message: common.CacheUse) -> CacheUse:
    """How a query's kept answers fare.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_FIELD` for why it is kept up.
    """
    return CacheUse(
        message.query_id,
        tuple(message.index_key),
        enum_from_proto(message.kept_up, _KEPT_UP, "CacheUse.kept_up"),
        message.hit_count,
        message.miss_count,
        message.entry_count,
        message.size_bytes,
        message.oldest_seconds,
    )


def cache_report_to_proto(report: CacheReport) -> common.CacheReport:
    """The answer cache at a glance, on the wire."""
    return common.CacheReport(
        hit_count=report.hits,
        miss_count=report.misses,
        invalidated_count=report.invalidated,
        entry_count=report.entries,
        size_bytes=report.size_bytes,
        limit_bytes=report.limit_bytes,
        kept_up=map(cache_use_to_proto, report.kept_up),
    )


def cache_report_from_proto(message: common.CacheReport) -> CacheReport:
    """The answer cache at a glance.

    Raises:
        InvalidArgument: as `cache_use_from_proto`.
    """
    return CacheReport(
        message.hit_count,
        message.miss_count,
        message.invalidated_count,
        message.entry_count,
        message.size_bytes,
        message.limit_bytes,
        tuple(map(cache_use_from_proto, message.kept_up)),
    )
