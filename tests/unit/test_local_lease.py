"""Attaching to the server of a local store that is not as it should be."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from featurestore.host import local
from featurestore.host.folder import StoreFolder
from featurestore.model.errors import Unavailable

SERVICE = "featurestore.api.gateway.v1.FeatureStoreService"


@pytest.fixture
def silent(tmp_path):
    """A folder whose server takes calls and never answers them."""
    folder, over = StoreFolder(tmp_path / "s"), threading.Event()
    folder.make()

    def attach(_request, _context):
        over.wait(60)
        yield b""

    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {"Attach": grpc.unary_stream_rpc_method_handler(attach)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    server.add_insecure_port(f"unix:{folder.socket}")
    server.start()
    with folder.served() as held:
        assert held
        yield folder
    over.set()
    server.stop(0).wait()


def test_a_server_that_never_answers_keeps_nobody_waiting_for_ever(silent, monkeypatch):
    monkeypatch.setattr(local, "ATTACH_SECONDS", 0.1)
    with pytest.raises(Unavailable) as refused:
        local.Lease(silent, start_seconds=0.2)
    assert refused.value.reason == "LOCAL_START_SLOW"
