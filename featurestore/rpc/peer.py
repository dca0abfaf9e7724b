"""Calling a remote peer: the deadline passed on, its verdict typed, streams that end with their reader."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar, cast

import grpc
import grpc.aio

from featurestore.model import deadline
from featurestore.model.errors import (
    DeadlineExceeded,
    FeatureStoreError,
    Internal,
    InvalidArgument,
    Unavailable,
)
from featurestore.rpc.errors import from_rpc_error

_Q = TypeVar("_Q")
_R = TypeVar("_R")
_T = TypeVar("_T")
_H = TypeVar("_H")

_UnaryMethod: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[_Q, _R]"
_StreamMethod: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[_Q, _R]"

_HOP_SECONDS = 0.005
"""What a hop itself takes: the peer gets so much less than what is left here."""


class Peer:
    """Makes the calls of one remote adapter."""

    def __init__(self, target: str) -> None:
        """Name the peer, for errors."""
        self.target = target

    async def call(
        self, method: _UnaryMethod[_Q, _R], request: _Q, decode: Callable[[_R], _T], default: float
    ) -> _T:
        """Make a call and decode its reply.

        Args:
            default: seconds, for when nobody set a deadline.

        Raises:
            FeatureStoreError: the peer's own verdict; `PEER_UNAVAILABLE`, `DEADLINE`; `BAD_REPLY` for a reply that
                lacks what it must have.
        """
        timeout = self._timeout(default)
        try:
            reply = await method(request, timeout=timeout)
        except (grpc.RpcError, grpc.aio.UsageError) as error:
            raise self.verdict(error) from error
        return self.decoded(decode, reply)

    def stream(
        self, method: _StreamMethod[_Q, _R], request: _Q, decode: Callable[[_R], _T], default: float | None
    ) -> Replies[_R, _T]:
        """Start a call with a stream of replies.

        Args:
            default: seconds, for when nobody set a deadline; None for a stream that has no deadline in any case.

        Raises:
            FeatureStoreError: `DEADLINE` when no time is left, `PEER_UNAVAILABLE`.
        """
        timeout = None if default is None else self._timeout(default)
        try:
            return Replies(self, method(request, timeout=timeout), decode)
        except grpc.aio.UsageError as error:
            raise self.verdict(error) from error

    def verdict(self, error: Exception) -> FeatureStoreError:
        """What a call failed with, typed."""
        if isinstance(error, grpc.RpcError):
            return from_rpc_error(error, self.target)
        return Unavailable(
            "PEER_UNAVAILABLE", f"the connection to {self.target} is closed", target=self.target
        )

    def decoded(self, decode: Callable[[_R], _T], reply: _R) -> _T:
        """A reply as the model has it; what would be the caller's mistake in a request is the peer's in a reply."""
        try:
            return decode(reply)
        except InvalidArgument as error:
            raise Internal(
                "BAD_REPLY",
                f"{self.target} sent a reply that this version can't read; do both run the same version?",
                target=self.target,
            ) from error

    def _timeout(self, default: float) -> float:
        left = deadline.remaining()
        if left is None:
            return default
        if left <= _HOP_SECONDS:
            raise DeadlineExceeded("DEADLINE", f"no time was left to call {self.target}", target=self.target)
        return left - _HOP_SECONDS


class Replies(AsyncGenerator[_T, None], Generic[_R, _T]):
    """The replies of a stream, decoded. Closing it cancels the call, also one that was never read.

    An async generator function would not do: closed before its first item it does not run, and the call would stay.
    """

    def __init__(
        self, peer: Peer, call: grpc.aio.UnaryStreamCall[Any, _R], decode: Callable[[_R], _T]
    ) -> None:
        """Take a call that was just started."""
        self._peer = peer
        self._call = call
        self._decode = decode
        self._closed = False

    async def first(self, decode: Callable[[_R], _H]) -> _H:
        """The first reply, where that is of another kind than the rest; closes the call if it is not there.

        Raises:
            FeatureStoreError: as `Peer.call`.
        """
        reply = await self._read()
        if reply is None:
            raise Internal(
                "BAD_REPLY", f"{self._peer.target} ended a stream before it began", target=self._peer.target
            )
        try:
            return self._peer.decoded(decode, reply)
        except Internal:
            await self.aclose()
            raise

    async def asend(self, value: None) -> _T:
        """The next reply."""
        del value
        reply = await self._read()
        if reply is None:
            raise StopAsyncIteration
        return self._peer.decoded(self._decode, reply)

    async def athrow(self, kind: Any, value: object = None, trace: TracebackType | None = None) -> NoReturn:
        """Close, then raise what was thrown in."""
        del value, trace
        await self.aclose()
        raise kind

    async def aclose(self) -> None:
        """Cancel the call, unless it has ended; the peer stops its work."""
        self._closed = True
        self._call.cancel()

    async def _read(self) -> _R | None:
        if self._closed:
            return None
        try:
            reply = await self._call.read()
        except (grpc.RpcError, grpc.aio.UsageError) as error:
            self._closed = True
            raise self._peer.verdict(error) from error
        if reply is grpc.aio.EOF:
            self._closed = True
            return None
        return cast("_R", reply)
