"""Where a server of ours listens, and what it says of itself."""

import os
import stat

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from featurestore.model.errors import FailedPrecondition, InvalidArgument
from featurestore.rpc.channels import open_channel
from featurestore.rpc.server import bind, create_server, serve_health, serve_reflection

SERVICE = "featurestore.api.test.v1.TestService"


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "10.1.2.3:80", "example.org:80"])
async def test_hosts_beyond_loopback_are_refused(address):
    with pytest.raises(InvalidArgument, match="INSECURE_BIND") as refused:
        bind(create_server(), address)
    assert "FEATURESTORE__INSECURE" in refused.value.message


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", ":80", "localhost:http", "localhost:-1"])
async def test_what_is_no_address_is_refused(address):
    with pytest.raises(InvalidArgument, match="BAD_ADDRESS"):
        bind(create_server(), address)


async def test_port_0_is_any_free_port_and_a_taken_port_is_refused():
    first = create_server()
    address = bind(first, "127.0.0.1:0")
    assert int(address.rpartition(":")[2]) > 0
    await first.start()
    with pytest.raises(FailedPrecondition, match="BIND_FAILED"):
        bind(create_server(), address)
    await first.stop(0)


async def test_every_interface_needs_to_be_asked_for():
    assert not bind(create_server(), "0.0.0.0:0", insecure=True).endswith(":0")


async def test_a_socket_is_its_owners_alone_and_needs_a_folder(tmp_path):
    bind(create_server(), f"unix:{tmp_path}/s")
    assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o600  # noqa: PTH116 # a test may block
    for path in (f"{tmp_path}/missing/s", f"{tmp_path}/{'x' * 120}"):
        with pytest.raises(FailedPrecondition, match="BIND_FAILED"):
            bind(create_server(), f"unix:{path}")


async def test_health_says_nothing_until_told_and_reflection_lists_the_services(tmp_path):
    server = create_server()
    health = serve_health(server, [SERVICE])
    serve_reflection(server, [SERVICE])
    address = bind(server, f"unix:{tmp_path}/s")
    await health.set_not_serving()
    await server.start()
    async with open_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        for told, status in ((None, "NOT_SERVING"), (health.set_serving, "SERVING")):
            if told:
                await told()
            for name in ("", SERVICE):
                reply = await check(health_pb2.HealthCheckRequest(service=name))
                assert health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status) == status
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await health.set_not_serving()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        replies = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        [reply] = [reply async for reply in replies]
        assert SERVICE in {service.name for service in reply.list_services_response.service}
    await server.stop(0)
