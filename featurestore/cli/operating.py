"""`serve` and `health`: for those who run the services."""

from __future__ import annotations

import logging
import sys

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from featurestore.model.errors import Unavailable
from featurestore.rpc.channels import open_sync_channel
from featurestore.rpc.errors import from_rpc_error

_SERVICES = ("catalog", "realtime", "extraction", "gateway")
"""As in `featurestore.host.serve.SERVICES`, which is not imported here: it loads all of them."""


@click.command()
@click.argument("services", nargs=-1, type=click.Choice(_SERVICES))
def serve(services: tuple[str, ...]) -> None:
    """Run SERVICES in this process until SIGTERM; without any, all four.

    Settings are environment variables, such as FEATURESTORE__LISTEN.
    """
    import uvloop  # noqa: PLC0415 - only this command runs services

    from featurestore.host import settings  # noqa: PLC0415 - likewise
    from featurestore.host.serve import serve_until_told  # noqa: PLC0415 - likewise

    found = settings.read()
    logging.basicConfig(
        stream=sys.stderr,
        level=found.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    uvloop.run(serve_until_told(services or _SERVICES, found))


@click.command()
@click.argument("target")
@click.option("--service", default="", help="A gRPC service's full name. Default: the server as a whole.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=5.0, help="Seconds to wait.")
def health(target: str, service: str, timeout: float) -> None:
    """Ask the server at TARGET (host:port or unix:/path) how it is; the exit code is 0 if it is SERVING."""
    request = health_pb2.HealthCheckRequest(service=service)
    with open_sync_channel(target) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error, target) from None
    state = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    if state != "SERVING":
        raise Unavailable("NOT_SERVING", f"{target} is {state}", target=target, state=state)
    click.echo(state)
