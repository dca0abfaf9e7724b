"""What verifying found: `featurestore.model.verifying` <-> `common.v1`."""

from __future__ import annotations

from featurestore.api.common.v1 import common_pb2 as pb
from featurestore.model.verifying import Difference, KeptReport, VerifyReport
from featurestore.rpc.convert_table import version_from_proto, version_to_proto
from featurestore.rpc.fields import require, timestamp_from_proto, timestamp_to_proto


def difference_to_proto(difference: Difference) -> pb.Difference:
    """Where training and serving do not agree, on the wire."""
    return pb.Difference(
        key=difference.key,
        column=difference.column,
        trained=difference.trained,
        served=difference.served,
        cause=difference.cause,
    )


def difference_from_proto(message: pb.Difference) -> Difference:
    """Where training and serving do not agree."""
    return Difference(message.key, message.column, message.trained, message.served, message.cause)


def verify_report_to_proto(report: VerifyReport) -> pb.VerifyReport:
    """Whether training and serving agree, on the wire."""
    return pb.VerifyReport(
        checked=report.checked,
        agreed=report.agreed,
        skipped=report.skipped,
        differences=[difference_to_proto(difference) for difference in report.differences],
        version=version_to_proto(report.version),
        remarks=report.remarks,
        consistent=report.consistent,
        exact=report.exact,
        float_value_count=report.float_values,
        float_value_bitwise_equal_count=report.float_values_bitwise_equal,
        largest_relative_error=report.largest_error,
    )


def verify_report_from_proto(message: pb.VerifyReport) -> VerifyReport:
    """Whether training and serving agree.

    Raises:
        InvalidArgument: `MISSING_FIELD`.
    """
    require(message, "version")
    return VerifyReport(
        checked=message.checked,
        agreed=message.agreed,
        skipped=message.skipped,
        differences=tuple(difference_from_proto(difference) for difference in message.differences),
        version=version_from_proto(message.version),
        remarks=tuple(message.remarks),
        exact=message.exact,
        float_values=message.float_value_count,
        float_values_bitwise_equal=message.float_value_bitwise_equal_count,
        largest_error=message.largest_relative_error,
    )


def kept_report_to_proto(kept: KeptReport) -> pb.KeptReport:
    """The last report of a query or ETL, on the wire."""
    return pb.KeptReport(
        index_key=kept.index_key,
        report=verify_report_to_proto(kept.report),
        verify_time=timestamp_to_proto(kept.verified_at),
    )


def kept_report_from_proto(message: pb.KeptReport) -> KeptReport:
    """The last report of a query or ETL.

    Raises:
        InvalidArgument: `MISSING_FIELD`, `BAD_FIELD`.
    """
    require(message, "report")
    return KeptReport(
        tuple(message.index_key),
        verify_report_from_proto(message.report),
        timestamp_from_proto(message, "verify_time"),
    )
