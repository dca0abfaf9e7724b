"""Control messages between a service, its zygote and its workers: one small JSON object per packet, perhaps with descriptors.

Descriptors travel beside the JSON, in order. A receiver that expects none gives the kernel no room for any, so what
a hostile sender attaches is closed before it arrives. Nothing here is ever a pickle.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MESSAGE_BYTES = 4096
"""No control message is longer; what may be long travels in a memfd."""

HEADER_BYTES = 4 * 2**20
"""The most JSON that stands beside the Arrow stream in a memfd."""

ALIGNMENT = 64
"""Arrow's: a stream that follows a header starts at a multiple of it."""


FORK = {"memory_bytes": int, "file_bytes": int, "cpu_seconds": int}
"""To the zygote, with one end of a wire: a `Caps`."""

REQUEST = {"header": int, "body": int}
"""To a worker, with the memfd of the request and one for the answer: sizes in bytes."""

ANSWER = {"header": int, "body": int}
"""From a worker, when it is sealed and when the memfd holds its answer."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What one sealed worker may use.

    Attributes:
        memory_bytes: of data beyond what it was born with.
        file_bytes: of the one file that it may write, its answer.
        cpu_seconds: over its life: the last stop, when nobody is there to kill it.
    """

    memory_bytes: int
    file_bytes: int
    cpu_seconds: int


class BadMessage(ValueError):
    """What came is no control message. The text says why, and shows none of it."""


def encode(message: dict[str, Any]) -> bytes:
    """A message as it travels."""
    text = json.dumps(message, separators=(",", ":")).encode()
    if len(text) > MESSAGE_BYTES:
        raise ValueError(f"a control message of {len(text)} bytes; {MESSAGE_BYTES} are the most")
    return text


def decode(packet: bytes, shape: Mapping[str, type]) -> dict[str, Any]:
    """The inverse of `encode`, of exactly these keys and types.

    Raises:
        BadMessage: it is anything else.
    """
    if len(packet) > MESSAGE_BYTES:
        raise BadMessage(f"a control message is over {MESSAGE_BYTES} bytes")
    message = decode_object(packet)
    if message.keys() != shape.keys():
        raise BadMessage("a control message has other fields than it must")
    if any(type(message[name]) is not kind for name, kind in shape.items()):
        raise BadMessage("a field of a control message has another type than it must")
    return message


def decode_object(text: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BadMessage: it is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:  # the second: brackets, thousands deep
        raise BadMessage("it is no JSON") from error
    if not isinstance(found, dict):
        raise BadMessage("it is no JSON object")
    return found


def send(channel: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message and these descriptors."""
    if descriptors:
        socket.send_fds(channel, [encode(message)], list(descriptors))
    else:
        channel.send(encode(message))


def receive(
    channel: socket.socket, shape: Mapping[str, type], descriptors: int
) -> tuple[dict[str, Any], list[int]] | None:
    """The next message with exactly so many descriptors, which are the receiver's to close; None at the end.

    Raises:
        BadMessage: it is of another shape, or comes with fewer descriptors.
    """
    packet, received, _, _ = socket.recv_fds(channel, MESSAGE_BYTES + 1, descriptors, socket.MSG_CMSG_CLOEXEC)
    if not packet:
        return None
    try:
        message = decode(packet, shape)
    except BadMessage:
        _close(received)
        raise
    if len(received) != descriptors:
        _close(received)
        raise BadMessage("a control message came with another number of descriptors")
    return message, received


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
