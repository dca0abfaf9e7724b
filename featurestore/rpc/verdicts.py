"""The outermost server interceptor: deadlines set and enforced, errors as typed statuses, nothing internal sent.

gRPC's own handling sends the text of an unexpected exception to the caller, leaves a stream's generator open
when its reader goes, and knows nothing of our deadlines. So requests are decoded and replies encoded in here,
and streams are written from here.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from featurestore.model import deadline
from featurestore.model.errors import (
    DeadlineExceeded,
    FeatureStoreError,
    Internal,
    InvalidArgument,
    Unavailable,
)
from featurestore.rpc.closing import closing
from featurestore.rpc.deadlines import working_seconds
from featurestore.rpc.errors import DETAILS_KEY, from_rpc_error, status_code, to_status

log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

# The transport repeats calls that no server has answered. A verdict of ours is the caller's to act on: repeating it
# here would multiply from hop to hop, and run into the deadline with less to say.
_NO_RETRY = ("grpc-retry-pushback-ms", "-1")


class Verdicts(grpc.aio.ServerInterceptor):
    """Wraps each unary-unary and unary-stream method once, and keeps the wrapped handler.

    Left as they are: methods with a stream of requests, and coroutines that write their stream themselves. Both are
    of gRPC's own services (reflection, health), which end their calls by themselves.
    """

    def __init__(self, default_seconds: Callable[[str], float | None], idle_seconds: float | None) -> None:
        """Take the rules.

        Args:
            default_seconds: what a method may take when its caller sets no deadline, by full name; None for no end.
            idle_seconds: how long a stream waits for its reader to take a message; None for ever.
        """
        self._default_seconds = default_seconds
        self._idle_seconds = idle_seconds
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, wrapped."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method: str = handler_call_details.method
        known = self._wrapped.get(method)
        # An interceptor further in may answer with a handler of its own, such as one that refuses.
        if known is not None and known[0] is handler:
            return known[1]
        wrapped = self._wrap(method, handler)
        self._wrapped[method] = handler, wrapped
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        if handler.request_streaming:
            return handler
        if not handler.response_streaming:
            return grpc.unary_unary_rpc_method_handler(_unary(method, handler, self._default_seconds(method)))
        if inspect.iscoroutinefunction(handler.unary_stream):
            return handler
        return grpc.unary_stream_rpc_method_handler(
            _stream(method, handler, self._default_seconds(method), self._idle_seconds)
        )


def _unary(
    method: str, handler: Handler, default: float | None
) -> Callable[[bytes, Context], Awaitable[bytes]]:
    behaviour: Callable[..., Any] = handler.unary_unary  # type: ignore[assignment]  # not None: see _wrap
    decode, encode = _coders(handler)

    async def unary(request: bytes, context: Context) -> bytes:
        seconds = _seconds(context, default)
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                with deadline.within(seconds):
                    reply: bytes = encode(await behaviour(decode(request), context))
        except Exception as error:  # noqa: BLE001 # the caller gets a verdict, whatever happened
            await _refuse(context, error, method, ended=clock.expired())
        return reply

    return unary


def _stream(
    method: str, handler: Handler, default: float | None, idle: float | None
) -> Callable[[bytes, Context], Awaitable[None]]:
    behaviour: Callable[..., AsyncIterator[Any]] = handler.unary_stream  # type: ignore[assignment]  # as above
    decode, encode = _coders(handler)

    async def stream(request: bytes, context: Context) -> None:
        seconds = _seconds(context, default)
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                with deadline.within(seconds):
                    async with closing(behaviour(decode(request), context)) as replies:
                        async for reply in replies:
                            await _write(context, encode(reply), idle)
        except Exception as error:  # noqa: BLE001 # the caller gets a verdict, whatever happened
            await _refuse(context, error, method, ended=clock.expired())

    return stream


async def _write(context: Context, reply: bytes, idle: float | None) -> None:
    try:
        async with asyncio.timeout(idle) as clock:
            await context.write(reply)
    except TimeoutError:
        if not clock.expired():
            raise
        raise DeadlineExceeded(
            "STREAM_IDLE",
            f"the stream ended because its reader took nothing for {idle:g} s; read faster, or ask again",
            seconds=idle,
        ) from None


async def _refuse(context: Context, error: Exception, method: str, *, ended: bool) -> NoReturn:
    """End the call with the verdict that the error stands for."""
    if isinstance(error, grpc.aio.BaseError) and not isinstance(error, grpc.aio.UsageError):
        raise error  # gRPC's own: aborted already, the reader is gone, the server has stopped
    verdict = _verdict(error, method, ended=ended)
    status = to_status(verdict)
    trailing: tuple[tuple[str, str | bytes], ...] = ((DETAILS_KEY, status.SerializeToString()),)
    if isinstance(verdict, Unavailable):
        trailing += (_NO_RETRY,)
    await context.abort(status_code(verdict), status.message, trailing)


def _verdict(error: Exception, method: str, *, ended: bool) -> FeatureStoreError:
    if isinstance(error, FeatureStoreError):
        if isinstance(error, Internal) and not isinstance(error.__cause__, grpc.RpcError | None):
            log.error("%s failed: %s", method, error.reason, exc_info=error)  # a peer's was logged there
        return error
    if isinstance(error, grpc.RpcError):
        return from_rpc_error(error, "a peer")
    if ended and isinstance(error, TimeoutError):
        return DeadlineExceeded(
            "DEADLINE", "the call's time ended before its work was done; give it more, or ask for less"
        )
    correlation_id = uuid.uuid4().hex[:16]
    log.error("%s failed, correlation id %s", method, correlation_id, exc_info=error)
    return Internal(
        "INTERNAL",
        f"the server failed in a way that it should not; its log says more under correlation id {correlation_id}",
        correlation_id=correlation_id,
    )


def _seconds(context: Context, default: float | None) -> float | None:
    remaining: float | None = context.time_remaining()
    return default if remaining is None else working_seconds(remaining)


def _coders(handler: Handler) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    deserialize, serialize = handler.request_deserializer, handler.response_serializer

    def decode(request: bytes) -> Any:
        try:
            return deserialize(request) if deserialize else request
        except DecodeError:
            raise InvalidArgument(
                "BAD_MESSAGE",
                "the request is not a message of this call; are the caller's stubs of this version?",
            ) from None

    return decode, serialize or bytes
