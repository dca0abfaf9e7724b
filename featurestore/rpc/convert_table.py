"""Tables and versions: `featurestore.model.table` <-> `common.v1`."""

from __future__ import annotations

import pyarrow as pa

from featurestore.api.common.v1 import common_pb2 as pb
from featurestore.model import schema
from featurestore.model.table import TableDefinition, TableInfo, TableRows, Version
from featurestore.rpc.fields import arrow_schema_from_proto, require


def version_to_proto(version: Version) -> pb.Version:
    """A moment in the life of the data, on the wire."""
    return pb.Version(log_id=version.log_id, sequence=version.sequence)


def version_from_proto(message: pb.Version) -> Version:
    """A moment in the life of the data."""
    return Version(message.log_id, message.sequence)


def columns_to_proto(arrow: pa.Schema) -> list[pb.Column]:
    """A schema's columns as text, for people and for callers without Arrow."""
    return [pb.Column(name=name, type=kind) for name, kind in schema.schema_text(arrow)]


def schema_to_proto(arrow: pa.Schema) -> pb.Schema:
    """A schema in both of its forms."""
    return pb.Schema(columns=columns_to_proto(arrow), arrow_schema=schema.to_bytes(arrow))


def schema_from_proto(message: pb.Schema) -> pa.Schema:
    """The schema, from its Arrow form.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_ARROW`.
    """
    return arrow_schema_from_proto(message, "arrow_schema")


def table_definition_to_proto(table: TableDefinition) -> pb.TableDefinition:
    """What a table is, on the wire."""
    return pb.TableDefinition(
        name=table.name,
        arrow_schema=schema.to_bytes(table.schema),
        primary_key=table.primary_key,
        event_time=table.event_time or "",
    )


def table_definition_from_proto(message: pb.TableDefinition) -> TableDefinition:
    """What a table is.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_ARROW`.
    """
    return TableDefinition(
        name=message.name,
        schema=arrow_schema_from_proto(message, "arrow_schema"),
        primary_key=tuple(message.primary_key),
        event_time=message.event_time or None,
    )


def table_info_to_proto(info: TableInfo) -> pb.TableInfo:
    """A table as it is now, on the wire."""
    return pb.TableInfo(
        definition=table_definition_to_proto(info.definition),
        columns=columns_to_proto(info.definition.schema),
        row_count=info.row_count,
        version=version_to_proto(info.version),
    )


def table_info_from_proto(message: pb.TableInfo) -> TableInfo:
    """A table as it is now.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_ARROW`.
    """
    require(message, "definition", "version")
    return TableInfo(
        table_definition_from_proto(message.definition),
        message.row_count,
        version_from_proto(message.version),
    )


def table_rows_to_proto(rows: TableRows) -> pb.TableRows:
    """Rows that are to be published, on the wire, as they are."""
    return pb.TableRows(
        table=rows.table,
        arrow_stream=rows.arrow_stream,
        primary_key=None if rows.primary_key is None else pb.ColumnNames(names=rows.primary_key),
        event_time=rows.event_time,
    )


def table_rows_from_proto(message: pb.TableRows) -> TableRows:
    """Rows that are to be published; realtime decodes and judges them."""
    return TableRows(
        table=message.table,
        arrow_stream=message.arrow_stream,
        primary_key=tuple(message.primary_key.names) if message.HasField("primary_key") else None,
        event_time=message.event_time if message.HasField("event_time") else None,
    )
