"""Between our errors and gRPC statuses, both ways.

The table is the errors themselves: each class names its status code (`featurestore.model.errors`). On the wire
an error is a google.rpc.Status with one google.rpc.ErrorInfo (domain `featurestore`): the stable reason, and every
variable of the message in its metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from featurestore.model.errors import (
    BY_CODE,
    Cancelled,
    DeadlineExceeded,
    FeatureStoreError,
    Internal,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

DOMAIN = "featurestore"
DETAILS_KEY = "grpc-status-details-bin"

# Peers refuse headers above 8 KiB unless told otherwise. The message travels twice, once percent-encoded and
# once inside the details, and the details travel as base64: together these stay below 7.5 KiB.
_MESSAGE_BYTES = 1_024
_METADATA_BYTES = 3_600
_FIELD_BYTES = 8  # a map entry's tags and lengths
_NOTE_BYTES = 32

# A verdict of gRPC itself, of a proxy, or of a server that is not ours.
_WITHOUT_INFO: dict[grpc.StatusCode, tuple[type[FeatureStoreError], str, str]] = {
    grpc.StatusCode.UNAVAILABLE: (
        Unavailable,
        "PEER_UNAVAILABLE",
        "{target} can't be reached; the same call may work in a moment",
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        DeadlineExceeded,
        "DEADLINE",
        "the call's time ended before {target} answered; give it more",
    ),
    grpc.StatusCode.CANCELLED: (Cancelled, "CANCELLED", "the call to {target} was cancelled"),
    grpc.StatusCode.UNIMPLEMENTED: (
        Unimplemented,
        "UNIMPLEMENTED",
        "{target} does not know this call: it is older than the caller, or another kind of server",
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (
        ResourceExhausted,
        "BUSY",
        "{target} has no room for this call; try again in a moment",
    ),
    grpc.StatusCode.UNAUTHENTICATED: (
        Unauthenticated,
        "UNAUTHENTICATED",
        "{target} wants to know who calls, and was not told or did not believe it",
    ),
    grpc.StatusCode.PERMISSION_DENIED: (PermissionDenied, "PERMISSION_DENIED", "{target} refuses this call"),
}


def status_code(error: FeatureStoreError) -> grpc.StatusCode:
    """The gRPC status code of an error."""
    return grpc.StatusCode[error.code]


def to_status(error: FeatureStoreError) -> status_pb2.Status:
    """The error as it goes on the wire; details that are too long for headers are cut, and say so."""
    number, _ = status_code(error).value
    status = status_pb2.Status(code=number, message=_cut(error.message, _MESSAGE_BYTES, _header_size))
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=DOMAIN, metadata=_fitting(error.details, _METADATA_BYTES)
    )
    status.details.add().Pack(info)
    return status


def from_rpc_error(error: grpc.RpcError, target: str = "the server") -> FeatureStoreError:
    """What a call to a peer, or to the gateway, failed with: the peer's own verdict where there is one.

    Args:
        error: from a sync or an asyncio stub.
        target: whom the call went to, for the message.
    """
    code, text = error.code(), error.details() or ""
    found = _error_info(error)
    if found is not None:
        status, info = found
        typed = BY_CODE.get(code.name, Internal)(info.reason, status.message)
        typed.details.update(info.metadata)  # not as keywords: a peer chose the names
        return typed
    return _untyped(code, text, target)


def _untyped(code: grpc.StatusCode, text: str, target: str) -> FeatureStoreError:
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return ResourceExhausted(
            "MESSAGE_TOO_LARGE",
            f"a message between the caller and {target} is too large: {text}; send or ask for less at once",
            target=target,
        )
    kind, reason, sentence = _WITHOUT_INFO.get(
        code, (Internal, "PEER_FAILED", "{target} failed with {code}; its log may say why")
    )
    return kind(reason, sentence.format(target=target, code=code.name), target=target)


def _error_info(error: grpc.RpcError) -> tuple[status_pb2.Status, error_details_pb2.ErrorInfo] | None:
    for key, value in cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ()):
        if key != DETAILS_KEY:
            continue
        try:
            status = status_pb2.Status.FromString(value)
        except DecodeError:  # some proxy's; its code still speaks
            return None
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                return status, info
    return None


def _fitting(details: dict[str, str], budget: int) -> dict[str, str]:
    """The details within `budget` bytes: values cut to one common length, names beyond half of it left out."""
    sizes: dict[str, int] = {}
    names_size = 0
    for name, value in details.items():
        size = _utf8_size(name) + _FIELD_BYTES
        if names_size + size > budget // 2:
            break
        names_size += size
        sizes[name] = _utf8_size(value)
    share = _share(list(sizes.values()), budget - names_size)
    fitting = {name: _cut(details[name], share, _utf8_size) for name in sizes}
    if len(fitting) < len(details):
        fitting["details_left_out"] = str(len(details) - len(fitting))
    return fitting


def _share(sizes: list[int], room: int) -> int:
    """The largest length such that values of these sizes, none longer than it, have room together."""
    waiting = len(sizes)
    for size in sorted(sizes):
        if size * waiting > room:
            return room // waiting
        room, waiting = room - size, waiting - 1
    return max(sizes, default=0)


def _cut(text: str, limit: int, size_of: Callable[[str], int]) -> str:
    """The text, or as much of its beginning as fits into `limit` bytes together with a note of what is missing."""
    if size_of(text) <= limit:
        return text
    room = limit - _NOTE_BYTES
    kept = 0
    for character in text:
        room -= size_of(character)
        if room < 0:
            break
        kept += 1
    return f"{text[:kept]}... ({len(text) - kept} more characters)"


def _utf8_size(text: str) -> int:
    return len(text.encode())


def _header_size(text: str) -> int:
    """Bytes of a text in the grpc-message header, where all but printable ASCII takes three a byte."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in text.encode())
