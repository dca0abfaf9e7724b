"""Errors are the same on both sides of the wire."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from featurestore.model.errors import (
    BY_CODE,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    FeatureStoreError,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from featurestore.rpc import verdicts
from featurestore.rpc.errors import DETAILS_KEY, from_rpc_error, status_code, to_status


class Refused(grpc.RpcError):
    """What a stub raises."""

    def __init__(self, code, details, trailing=()):
        super().__init__()
        self._parts = code, details, trailing

    def code(self):
        return self._parts[0]

    def details(self):
        return self._parts[1]

    def trailing_metadata(self):
        return self._parts[2]


def over_the_wire(error: FeatureStoreError) -> FeatureStoreError:
    status = to_status(error)
    assert status.code == status_code(error).value[0]
    trailing = (("x-other", "1"), (DETAILS_KEY, status.SerializeToString()))
    return from_rpc_error(Refused(status_code(error), status.message, trailing))


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=BY_CODE)
def test_an_error_arrives_with_its_class_reason_message_and_details(kind):
    arrived = over_the_wire(kind("SOME_REASON", "say 'ü' and 100 %\nplainly", column="ü", position=3))
    assert type(arrived) is kind
    assert (arrived.reason, arrived.message) == ("SOME_REASON", "say 'ü' and 100 %\nplainly")
    assert arrived.details == {"column": "ü", "position": "3"}


def test_details_may_have_any_name():
    error = NotFound("R", "m")
    error.details.update({"reason": "a", "message": "b", "self": "c"})
    assert over_the_wire(error).details == {"reason": "a", "message": "b", "self": "c"}


def wire_size(error: FeatureStoreError) -> int:
    """Bytes in headers: the message percent-encoded, and the details as base64."""
    status = to_status(error)
    header = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in status.message.encode())
    return header + len(status.SerializeToString()) * 4 // 3


@pytest.mark.parametrize(
    "error",
    [
        FailedPrecondition("CONTRACT_BROKEN", "x" * 50_000, columns="c" * 50_000, etl="etl_1"),
        FailedPrecondition("CONTRACT_BROKEN", "ü" * 50_000, columns="ü" * 50_000, others="ö" * 50_000),
        FailedPrecondition("CONTRACT_BROKEN", "short", **{f"column_{at}": "int64" for at in range(2_000)}),
    ],
    ids=["long", "not ASCII", "many"],
)
def test_an_error_that_is_too_long_for_headers_is_cut_and_says_so(error):
    assert wire_size(error) < 7_500
    arrived = over_the_wire(error)
    assert arrived.reason == error.reason
    assert arrived.details.get("etl", "etl_1") == "etl_1"  # a short value stays whole beside a long one
    said = " ".join([arrived.message, *arrived.details.values(), *arrived.details])
    assert "more characters)" in said or "details_left_out" in said


def test_an_error_that_fits_is_not_cut():
    error = InvalidArgument("R", "m" * 1_000, **{f"d{at}": "v" * 300 for at in range(10)})
    arrived = over_the_wire(error)
    assert (arrived.message, arrived.details) == (error.message, error.details)


@pytest.mark.parametrize(
    ("code", "text", "kind", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to 10.0.0.1", Unavailable, "PEER_UNAVAILABLE"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", DeadlineExceeded, "DEADLINE"),
        (grpc.StatusCode.CANCELLED, "", Cancelled, "CANCELLED"),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", Unimplemented, "UNIMPLEMENTED"),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Received message larger than max (9 vs. 8)",
            ResourceExhausted,
            "MESSAGE_TOO_LARGE",
        ),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", ResourceExhausted, "BUSY"),
        (grpc.StatusCode.UNAUTHENTICATED, "", Unauthenticated, "UNAUTHENTICATED"),
        (grpc.StatusCode.UNKNOWN, "Unexpected <class 'KeyError'>: secret", Internal, "PEER_FAILED"),
        (grpc.StatusCode.INTERNAL, "secret", Internal, "PEER_FAILED"),
    ],
    ids=lambda value: value.name if isinstance(value, grpc.StatusCode) else None,
)
def test_a_verdict_of_grpc_itself_names_whom_the_call_went_to(code, text, kind, reason):
    error = from_rpc_error(Refused(code, text, None), "realtime at localhost:1")
    assert type(error) is kind
    assert error.reason == reason
    assert "realtime at localhost:1" in error.message
    assert error.details["target"] == "realtime at localhost:1"
    assert "secret" not in str(error)


def test_details_that_are_not_ours_are_no_verdict_of_ours():
    foreign = status_pb2.Status(code=14, message="m")
    foreign.details.add().Pack(error_details_pb2.ErrorInfo(reason="X", domain="googleapis.com"))
    for trailing in (foreign.SerializeToString(), b"\xff\xff"):
        error = from_rpc_error(Refused(grpc.StatusCode.UNAVAILABLE, "m", ((DETAILS_KEY, trailing),)))
        assert error.reason == "PEER_UNAVAILABLE"


def test_a_failure_of_ours_is_logged_with_its_cause_and_a_peers_is_not_logged_again(caplog):
    for cause, logged in ((KeyError("pytz"), 1), (grpc.RpcError(), 0), (None, 0)):
        caplog.clear()
        failed = Internal("ENGINE_FAILED", "the server's log says why")
        failed.__cause__ = cause
        assert verdicts._verdict(failed, "/x/Query") is failed
        assert [record.exc_info[1].__cause__ for record in caplog.records] == [cause] * logged
