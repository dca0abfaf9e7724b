"""Around every handler: deadlines set and enforced, errors as typed statuses, nothing internal sent.

gRPC's own handling sends the text of an unexpected exception to the caller, leaves a stream's generator open
when its reader goes, and knows nothing of our deadlines. So requests are decoded and replies encoded in here,
and streams are written from here.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from types import coroutine
from typing import Any, NoReturn, TypeAlias, TypeVar

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

_T = TypeVar("_T")

# The transport repeats calls that no server has answered. A verdict of ours is the caller's to act on: repeating it
# here would multiply from hop to hop, and run into the deadline with less to say.
_NO_RETRY = ("grpc-retry-pushback-ms", "-1")


class Judged(grpc.GenericRpcHandler):
    """A service whose unary-unary and unary-stream methods give every call its deadline and its verdict.

    Left as they are: methods with a stream of requests, and coroutines that write their stream themselves. Both are
    of gRPC's own services (reflection, health), which end their calls by themselves. Not an interceptor of the server,
    which gRPC would ask anew for each call.
    """

    def __init__(
        self,
        service: grpc.GenericRpcHandler,
        default_seconds: Callable[[str], float | None],
        idle_seconds: float | None,
    ) -> None:
        """Take the service and the rules.

        Args:
            service: asked once for each method that it has.
            default_seconds: what a method may take when its caller sets no deadline, by full name; None for no end.
            idle_seconds: how long a stream waits for its reader to take a message; None for ever.
        """
        self._service = service
        self._default_seconds = default_seconds
        self._idle_seconds = idle_seconds
        self._wrapped: dict[str, Handler] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The method's handler, wrapped; None if it is not of this service."""
        method: str = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler = self._service.service(handler_call_details)
        if handler is not None:
            handler = self._wrapped[method] = self._wrap(method, handler)
        return handler

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
        try:
            with deadline.within(_seconds(context, default)):
                reply: bytes = encode(await _by_deadline(behaviour(decode(request), context)))
        except Exception as error:  # noqa: BLE001 # the caller gets a verdict, whatever happened
            await _refuse(context, error, method)
        return reply

    return unary


def _stream(
    method: str, handler: Handler, default: float | None, idle: float | None
) -> Callable[[bytes, Context], Awaitable[None]]:
    behaviour: Callable[..., AsyncIterator[Any]] = handler.unary_stream  # type: ignore[assignment]  # as above
    decode, encode = _coders(handler)

    async def write_all(request: bytes, context: Context) -> None:
        async with closing(behaviour(decode(request), context)) as replies:
            async for reply in replies:
                await _write(context, encode(reply), idle)

    async def stream(request: bytes, context: Context) -> None:
        try:
            with deadline.within(_seconds(context, default)):
                await _by_deadline(write_all(request, context))
        except Exception as error:  # noqa: BLE001 # the caller gets a verdict, whatever happened
            await _refuse(context, error, method)

    return stream


async def _by_deadline(work: Coroutine[Any, Any, _T]) -> _T:
    """What `work` returns; cancelled when the time of the call is over.

    Most of what is served from memory never waits, so the clock is set only for work that does.

    Raises:
        DeadlineExceeded: `DEADLINE`; and what `work` raises.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        reply: _T = done.value
        return reply
    clock = asyncio.timeout(deadline.remaining())
    try:
        async with clock:
            return await _rest(work, waits_for)
    except TimeoutError:
        if not clock.expired():
            raise
        raise DeadlineExceeded(
            "DEADLINE", "the call's time ended before its work was done; give it more, or ask for less"
        ) from None


@coroutine
def _rest(work: Coroutine[Any, Any, _T], waits_for: Any) -> Generator[Any, Any, _T]:
    """Go on with a coroutine that was begun by hand, as `await` would have: what it waits for is for our own task."""
    try:
        while True:
            try:
                come = yield waits_for
            except BaseException as thrown:  # noqa: BLE001 # such as our cancellation: it is for the work
                waits_for = work.throw(thrown)
            else:
                waits_for = work.send(come)
    except StopIteration as done:
        reply: _T = done.value
        return reply


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


async def _refuse(context: Context, error: Exception, method: str) -> NoReturn:
    """End the call with the verdict that the error stands for."""
    if isinstance(error, grpc.aio.BaseError) and not isinstance(error, grpc.aio.UsageError):
        raise error  # gRPC's own: aborted already, the reader is gone, the server has stopped
    verdict = _verdict(error, method)
    status = to_status(verdict)
    trailing: tuple[tuple[str, str | bytes], ...] = ((DETAILS_KEY, status.SerializeToString()),)
    if isinstance(verdict, Unavailable):
        trailing += (_NO_RETRY,)
    await context.abort(status_code(verdict), status.message, trailing)


def _verdict(error: Exception, method: str) -> FeatureStoreError:
    if isinstance(error, FeatureStoreError):
        if isinstance(error, Internal) and not isinstance(error.__cause__, grpc.RpcError | None):
            log.error("%s failed: %s", method, error.reason, exc_info=error)  # a peer's was logged there
        return error
    if isinstance(error, grpc.RpcError):
        return from_rpc_error(error, "a peer")
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
