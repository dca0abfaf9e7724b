"""The verbs, once for both clients: each is a generator that yields the calls it needs and returns its result.

The blocking client drives it with a blocking stub, the async one with an async stub; an error of a call is thrown
into the generator where it stands, so that a verb can answer it.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from google.protobuf.message import Message

from featurestore.api.common.v1 import common_pb2 as common
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.client import frames
from featurestore.client.results import (
    DemoPublished,
    Explained,
    SavedEtl,
    SavedQuery,
    Served,
    Status,
    TableShown,
)
from featurestore.client.training import Head
from featurestore.client.verified import Verified
from featurestore.etl import imports
from featurestore.model.errors import Internal, InvalidArgument, ResourceExhausted
from featurestore.model.frames import table_to_stream
from featurestore.model.query import Notes
from featurestore.model.serving import AnswerFormat, Keys
from featurestore.model.table import Published, TableDefinition, TableRows, Version
from featurestore.model.warming import Warmed
from featurestore.rpc.convert_answer import (
    answer_format_to_proto,
    answer_info_from_proto,
    explanation_from_proto,
    key_answers_from_proto,
)
from featurestore.rpc.convert_saved import etl_from_proto, notes_to_proto, query_from_proto
from featurestore.rpc.convert_table import (
    table_definition_to_proto,
    table_info_from_proto,
    table_rows_to_proto,
    version_from_proto,
    version_to_proto,
)
from featurestore.rpc.convert_value import keys_to_proto
from featurestore.rpc.convert_verifying import verify_report_from_proto
from featurestore.rpc.convert_warming import cache_report_from_proto, warmed_from_proto

SERVING_SECONDS = 10.0
"""The time a call has unless `timeout=` says otherwise: reads, the catalogue."""
LONG_SECONDS = 300.0
"""Likewise: publishing, training, verifying."""

_MAX_PUBLISH_BYTES = 64 * 2**20
_SCRIPT_BYTES = 2**20
_PAGE = 1_000
_MAX_KEYS = 10_000

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Call:
    """One unary call."""

    method: str
    request: Message


Steps = Generator[Call, Any, _T]
IndexKey = str | Sequence[str]
"""A column, or the columns of a composite key."""


def columns(index_key: IndexKey | None) -> tuple[str, ...]:
    """An index key as its columns."""
    if index_key is None:
        return ()
    return (index_key,) if isinstance(index_key, str) else tuple(index_key)


def create_table(
    table: str, schema: pa.Schema, primary_key: IndexKey | None, event_time: str | None
) -> Steps[TableShown]:
    """See `Store.create_table`."""
    definition = TableDefinition(table, schema, columns(primary_key), event_time)
    reply = yield Call("CreateTable", pb.CreateTableRequest(table=table_definition_to_proto(definition)))
    return TableShown.of(table_info_from_proto(reply.table))


def drop_table(table: str, *, force: bool) -> Steps[Version]:
    """See `Store.drop_table`."""
    reply = yield Call("DropTable", pb.DropTableRequest(table=table, force=force))
    return version_from_proto(reply.version)


def publish(
    table: str | Mapping[str, Any],
    frame: Any,
    primary_key: IndexKey | None,
    event_time: str | None,
    publish_id: str | None,
) -> Steps[Published]:
    """See `Store.publish`."""
    given = {table: frame} if isinstance(table, str) else dict(table)
    if not isinstance(table, str) and (
        frame is not None or primary_key is not None or event_time is not None
    ):
        raise InvalidArgument(
            "BAD_FRAME",
            "several tables are published as one dict, without frame, primary_key or event_time",
            field="table",
        )
    key = None if primary_key is None else columns(primary_key)
    tables = {name: frames.to_table(rows, f"the frame for table {name}") for name, rows in given.items()}
    base = publish_id or uuid.uuid4().hex
    if len(tables) == 1:
        ((name, whole),) = tables.items()
        parts = [
            [TableRows(name, piece, key, event_time)] for piece in frames.pieces(whole, _MAX_PUBLISH_BYTES)
        ]
    else:
        parts = [[TableRows(name, table_to_stream(whole), key, event_time) for name, whole in tables.items()]]
    rows, version = 0, Version("", 0)
    for number, part in enumerate(parts, start=1):
        reply = yield Call(
            "Publish",
            pb.PublishRequest(
                publish_id=base if len(parts) == 1 else f"{base}/{number}-of-{len(parts)}",
                tables=[table_rows_to_proto(entry) for entry in part],
            ),
        )
        rows += reply.row_count
        version = version_from_proto(reply.version)
    return Published(rows, version)


def publish_demo(n_flows: int, seed: int | None) -> Steps[DemoPublished]:
    """See `Store.publish_demo`."""
    reply = yield Call("PublishDemo", pb.PublishDemoRequest(n_flows=n_flows, seed=seed))
    return DemoPublished(reply.flow_count, reply.row_count, version_from_proto(reply.version))


def delete(table: str, keys: Any, publish_id: str | None) -> Steps[Published]:
    """See `Store.delete`."""
    request = pb.DeleteRequest(publish_id=publish_id or uuid.uuid4().hex, table=table)
    if isinstance(keys, (list, tuple, set, frozenset)):
        tuples = tuple(key if isinstance(key, tuple) else (key,) for key in keys)
        request.keys.CopyFrom(keys_to_proto(Keys((), tuples)))
    else:
        request.arrow_stream = table_to_stream(frames.to_table(keys, "keys"))
    reply = yield Call("Delete", request)
    return Published(reply.key_count, version_from_proto(reply.version))


def served(
    method: str,
    query: str,
    etl: str | None,
    index_key: IndexKey,
    index_value: Any,
    index_values: Sequence[Any] | None,
) -> Steps[Served]:
    """See `Store.query_realtime` and `Store.extract_realtime`; splits a call whose answer would be too large."""
    if index_value is not None and index_values is not None:
        raise InvalidArgument("KEYS_EMPTY", "give index_value or index_values, not both", field="index_value")
    asked = [index_value] if index_values is None else list(index_values)
    tuples = _tuples(index_key, asked)
    parts: list[Served] = []
    done, size = 0, len(tuples)
    while not parts or done < len(tuples):
        keys = keys_to_proto(Keys(columns(index_key), tuples[done : done + size]))
        request = (
            pb.QueryRealtimeRequest(query=query, keys=keys)
            if etl is None
            else pb.ExtractRealtimeRequest(query=query, etl=etl, keys=keys)
        )
        try:
            reply = yield Call(method, request)
        except ResourceExhausted as refusal:
            if refusal.reason != "ANSWER_TOO_LARGE" or size == 1:
                raise
            size = max(1, min(int(refusal.details.get("fits", "1")), size // 2))
            continue
        parts.append(
            Served.of(
                asked[done : done + size],
                key_answers_from_proto(reply.answers),
                reply.arrow_stream,
                answer_info_from_proto(reply.info),
            )
        )
        done += size
    if len(parts) == 1:
        return parts[0]
    oldest = min(parts, key=lambda part: part.info.data_version.sequence)
    others = dict.fromkeys(each for part in parts for each in part.info.library_differences)
    info = replace(oldest.info, library_differences=tuple(others))
    return Served(tuple(answer for part in parts for answer in part.answers), info, parts[0].schema)


def _tuples(index_key: IndexKey, values: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
    composite = not isinstance(index_key, str)
    return tuple(
        tuple(value) if composite and isinstance(value, (tuple, list)) else (value,) for value in values
    )


def explain(query: str, index_key: IndexKey) -> Steps[Explained]:
    """See `Store.explain`."""
    reply = yield Call("Explain", pb.ExplainRequest(query=query, index_key=columns(index_key)))
    return Explained.of(explanation_from_proto(reply.explanation))


def warm(
    query: str, index_key: IndexKey, values: Sequence[Any] | None, *, keep: bool | None, rows: bool
) -> Steps[Warmed]:
    """See `Store.warm`."""
    answer_format = AnswerFormat.ROWS if rows else AnswerFormat.ARROW
    request = pb.WarmRequest(
        query=query,
        index_key=columns(index_key),
        keep=keep,
        format=answer_format_to_proto(answer_format),
    )
    if values is None:
        return warmed_from_proto((yield Call("Warm", request)))
    done = Warmed()
    tuples = _tuples(index_key, list(values))
    for start in range(0, max(1, len(tuples)), _MAX_KEYS):
        request.keys.CopyFrom(keys_to_proto(Keys(columns(index_key), tuples[start : start + _MAX_KEYS])))
        done += warmed_from_proto((yield Call("Warm", request)))
    return done


def verify(query: str, etl: str | None, index_key: IndexKey, sample: int, *, exact: bool) -> Steps[Verified]:
    """See `Store.verify`."""
    if sample == 0:  # on the wire 0 means the default
        raise InvalidArgument("BAD_SAMPLE", "sample is 0: give 1 to 10,000", field="sample", sample=0)
    request = pb.VerifyRequest(
        query=query, etl=etl or "", index_key=columns(index_key), sample=sample, exact=exact
    )
    reply = yield Call("Verify", request)
    return Verified.of(verify_report_from_proto(reply.report), columns(index_key))


def get_query(query: str) -> Steps[SavedQuery]:
    """See `Store.get_query`."""
    reply = yield Call("GetQuery", pb.GetQueryRequest(query=query))
    return SavedQuery.of(query_from_proto(reply.query))


def get_etl(etl: str) -> Steps[SavedEtl]:
    """See `Store.get_etl`."""
    reply = yield Call("GetEtl", pb.GetEtlRequest(etl=etl))
    return SavedEtl.of(etl_from_proto(reply.etl))


def get_table(table: str) -> Steps[TableShown]:
    """See `Store.get_table`."""
    reply = yield Call("GetTable", pb.GetTableRequest(table=table))
    return TableShown.of(table_info_from_proto(reply.table))


def list_queries() -> Steps[list[SavedQuery]]:
    """See `Store.list_queries`."""
    found: list[SavedQuery] = []
    token = ""
    while True:
        reply = yield Call("ListQueries", pb.ListQueriesRequest(page_size=_PAGE, page_token=token))
        found += [SavedQuery.of(query_from_proto(query)) for query in reply.queries]
        token = reply.next_page_token
        if not token:
            return found


def list_etls() -> Steps[list[SavedEtl]]:
    """See `Store.list_etls`."""
    found: list[SavedEtl] = []
    token = ""
    while True:
        reply = yield Call("ListEtls", pb.ListEtlsRequest(page_size=_PAGE, page_token=token))
        found += [SavedEtl.of(etl_from_proto(etl)) for etl in reply.etls]
        token = reply.next_page_token
        if not token:
            return found


def list_tables() -> Steps[list[TableShown]]:
    """See `Store.list_tables`."""
    found: list[TableShown] = []
    token = ""
    while True:
        reply = yield Call("ListTables", pb.ListTablesRequest(page_size=_PAGE, page_token=token))
        found += [TableShown.of(table_info_from_proto(table)) for table in reply.tables]
        token = reply.next_page_token
        if not token:
            return found


def status() -> Steps[Status]:
    """See `Store.status`."""
    reply = yield Call("GetStatus", pb.GetStatusRequest())
    return Status(
        reply.package_version,
        version_from_proto(reply.realtime_version),
        version_from_proto(reply.warehouse_version),
        reply.table_count,
        reply.row_count,
        reply.query_count,
        reply.etl_count,
        reply.etl_worker_count,
        tuple(reply.problems),
        cache_report_from_proto(reply.cache) if reply.HasField("cache") else None,
    )


def query_train_request(
    sql: str, *, save: bool, name: str | None, index_key: IndexKey | None, notes: Notes
) -> pb.QueryTrainRequest:
    """The first call of `Store.query_train`: `sql` is a query's text, or a saved query's id or name."""
    request = pb.QueryTrainRequest(
        save=save, name=name or "", index_key=columns(index_key), notes=notes_to_proto(notes), head_only=True
    )
    if is_text(sql):
        request.sql = sql
    else:
        request.query = sql
    return request


def query_train_again(first: pb.QueryTrainRequest, head: Head) -> pb.QueryTrainRequest:
    """The request of each read after the first call: the same rows or newer ones, nothing saved again."""
    again = pb.QueryTrainRequest(at_least=version_to_proto(head.version))
    if head.query_id:
        again.query = head.query_id
    else:
        again.sql = first.sql
    return again


def no_head(target: str) -> Internal:
    """The error for a stream that ended before its first message."""
    return Internal("NO_HEAD", f"{target} ended a training result before its first message", target=target)


def is_text(sql: str) -> bool:
    """Whether it is a query's text rather than an id or a name: those are one word of letters, digits and `_.-@`."""
    word = sql.strip()
    return not word or not word.translate(str.maketrans("", "", "_.-@")).isalnum()


def extract_train_request(
    query: str, etl: str, *, save: bool, name: str | None, index_key: IndexKey | None, notes: Notes
) -> pb.ExtractTrainRequest:
    """The call of `Store.extract_train`.

    Raises:
        InvalidArgument: `ETL_SOURCE`: the local script, or a file beside it that it imports, can't be read.
    """
    request = pb.ExtractTrainRequest(
        query=query, save=save, name=name or "", index_key=columns(index_key), notes=notes_to_proto(notes)
    )
    if frames.is_address(etl):
        request.source.address = etl
    elif frames.is_local_script(etl):
        path = Path(etl).expanduser().absolute()
        try:
            content = path.read_bytes()
            if len(content) > _SCRIPT_BYTES:
                raise InvalidArgument(
                    "ETL_SOURCE", f"{path} has more than 1 MiB: is it an ETL script?", path=path
                )
            text = content.decode()
            beside = imports.neighbours(text, imports.on_disk(path))
            files = [common.LocalFile(path=below, text=beside[below]) for below in sorted(beside)]
            request.source.local.CopyFrom(common.LocalScript(path=str(path), text=text, neighbours=files))
        except imports.Unusable as error:
            raise InvalidArgument("ETL_SOURCE", f"{path} can't be run: {error}", path=path) from error
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(
                "ETL_SOURCE", f"the script {path} can't be read: {error}", path=path
            ) from error
    else:
        request.saved_etl = etl
    return request
