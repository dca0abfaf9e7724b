"""The public service: decode, one call, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator

from featurestore import __version__
from featurestore.api.common.v1 import common_pb2
from featurestore.api.gateway.v1 import gateway_pb2 as pb
from featurestore.api.gateway.v1.gateway_pb2_grpc import FeatureStoreServiceServicer
from featurestore.model.errors import FailedPrecondition, InvalidArgument
from featurestore.model.serving import Answer, AnswerFormat
from featurestore.rpc.convert_common import (
    answer_format_from_proto,
    answer_info_to_proto,
    etl_source_from_proto,
    etl_to_proto,
    explanation_to_proto,
    key_answer_to_proto,
    keys_from_proto,
    notes_from_proto,
    query_to_proto,
    schema_to_proto,
    table_definition_from_proto,
    table_info_to_proto,
    table_rows_from_proto,
    verify_report_to_proto,
    version_from_proto,
    version_to_proto,
    warned_to_proto,
)
from gateway.demo import publish_demo
from gateway.front import Front, SaveAs
from gateway.lease import Leases
from gateway.paging import page_of
