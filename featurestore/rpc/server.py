"""Servers: limits, keepalive, verdicts around all services, health, reflection, and where they listen."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from featurestore.model.errors import FailedPrecondition, InvalidArgument
from featurestore.rpc.channels import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES
from featurestore.rpc.deadlines import default_seconds
from featurestore.rpc.verdicts import Judged

_UNIX = "unix:"
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    # A second server on the same port must fail, not share the calls.
    ("grpc.so_reuseport", 0),
    # Our channels ping every 30 s, also between calls; gRPC's own default takes that for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Connections are renewed so that callers find new servers; streams on an old one go on.
    ("grpc.max_connection_age_ms", 1_800_000),
)


def create_server(
    *,
    default_seconds: Callable[[str], float | None] = default_seconds,
    stream_idle_seconds: float | None = 60.0,
) -> grpc.aio.Server:
    """A server that is not started yet, whose calls have deadlines and verdicts. Must be called in a running event loop.

    Args:
        default_seconds: what a call without a deadline may take, by the method's full name; None for no end.
        stream_idle_seconds: a stream whose reader takes nothing for so long ends with `STREAM_IDLE`; None never.
    """
    return _JudgingServer(
        grpc.aio.server(options=_OPTIONS),
        lambda service: Judged(service, default_seconds, stream_idle_seconds),
    )


class _JudgingServer(grpc.aio.Server):
    """A server of gRPC's, with something around each of its services."""

    def __init__(
        self, server: grpc.aio.Server, around: Callable[[grpc.GenericRpcHandler], grpc.GenericRpcHandler]
    ) -> None:
        self._server = server
        self._around = around

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(tuple(map(self._around, generic_rpc_handlers)))

    def add_registered_method_handlers(self, service_name: str, method_handlers: object) -> None:
        """Not passed on: the generated code adds the same methods by `add_generic_rpc_handlers` too.

        And for each call that comes, gRPC 1.85 waits anew on every method that is registered.
        """

    def add_insecure_port(self, address: str) -> int:
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - gRPC's signature
        return await self._server.wait_for_termination(timeout)


def bind(server: grpc.aio.Server, address: str, *, insecure: bool = False) -> str:
    """Let the server listen on an address, before it starts.

    Args:
        address: `host:port` (port 0 for any free one) or `unix:/path`; the socket is its owner's alone.
        insecure: allow plain text beyond loopback and UNIX sockets.

    Returns:
        The address, with the port that was chosen.

    Raises:
        InvalidArgument: `BAD_ADDRESS`; `INSECURE_BIND` for a host beyond loopback without `insecure`.
        FailedPrecondition: `BIND_FAILED`: the port or path is taken or not ours.
    """
    if address.startswith(_UNIX):
        path = Path(address.removeprefix(_UNIX))
        _listen(server, address)
        path.chmod(0o600)
        return address
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidArgument(
            "BAD_ADDRESS",
            f"{address!r} is no address to listen on: write host:port or unix:/path",
            address=address,
        )
    if not insecure and not _is_loopback(host):
        raise InvalidArgument(
            "INSECURE_BIND",
            f"{address} can be reached from other machines, and calls would go in plain text without a login: "
            "listen on localhost or a UNIX socket, or set insecure (FEATURESTORE__INSECURE=true) where the network "
            "is trusted",
            address=address,
        )
    return f"{host}:{_listen(server, address)}"


def _listen(server: grpc.aio.Server, address: str) -> int:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0:
        raise FailedPrecondition(
            "BIND_FAILED",
            f"can't listen on {address}: it is taken by another process, is not this machine's, or, for a socket, its "
            "folder is missing or its path too long",
            address=address,
        )
    return port


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Health:
    """What the standard health service says of a server and of each service on it."""

    def __init__(self, services: Iterable[str]) -> None:
        """Say nothing of the services until told to.

        Args:
            services: full names, such as `featurestore.api.catalog.v1.CatalogService`.
        """
        self._services = ("", *services)
        self.servicer = health.aio.HealthServicer()

    async def set_serving(self) -> None:
        """Say that the server and all of its services answer."""
        await self._set(health_pb2.HealthCheckResponse.SERVING)

    async def set_not_serving(self) -> None:
        """Say that they don't, or not any more."""
        await self._set(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def _set(self, status: int) -> None:
        for service in self._services:
            await self.servicer.set(service, status)


def serve_health(server: grpc.aio.Server, services: Iterable[str]) -> Health:
    """Add the standard health service; each service by its full name, and the server as a whole."""
    told = Health(services)
    health_pb2_grpc.add_HealthServicer_to_server(told.servicer, server)
    return told


def serve_reflection(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Add reflection, so that tools such as grpcurl find the services, health and reflection itself."""
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
