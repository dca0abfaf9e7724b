"""docker-compose.yml: what it says, and its services as processes, which is all of it that runs without Docker."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pyarrow as pa
import pytest

import featurestore
from featurestore.api.realtime.v1.realtime_pb2 import GetStatusRequest, GetStatusResponse
from featurestore.api.realtime.v1.realtime_pb2_grpc import RealtimeServiceStub
from featurestore.host.settings import names
from tests.support.compose import COMPOSE_FILE, MONGO, SECRETS, ComposeFile, ComposeUp
from tests.support.processes import BIN, free_port, is_serving

FILE = ComposeFile()
SETTINGS = {name: info.annotation for name, info in names()}
FOR_GOOD = [name for name in FILE.services if name != SECRETS]


# What the file says


def test_the_five_services_and_the_one_that_makes_secrets_are_there() -> None:
    assert set(FILE.services) == {SECRETS, MONGO, "catalog", "realtime", "extraction", "gateway"}
    assert FILE.ours == ["catalog", "realtime", "extraction", "gateway"]


def test_only_the_gateway_is_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in FILE.services.items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:50051:50051"]}


@pytest.mark.parametrize("name", FOR_GOOD)
def test_every_service_is_probed_restarted_and_walled_in(name: str) -> None:
    service = FILE.services[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["user"].split(":")[0] not in {"0", "root"}
    assert any(mount.startswith("/tmp") for mount in service["tmpfs"])  # noqa: S108 - a container's
    assert not service.get("privileged")
    assert "network_mode" not in service


@pytest.mark.parametrize("name", FILE.ours)
def test_a_service_may_drain_before_docker_kills_it(name: str) -> None:
    drain_seconds = dict(names())["FEATURESTORE__DRAIN_SECONDS"].default
    assert int(FILE.services[name]["stop_grace_period"].removesuffix("s")) > drain_seconds


@pytest.mark.parametrize("name", FILE.ours)
def test_a_service_starts_when_what_it_calls_is_healthy(name: str) -> None:
    called = {
        host
        for host in FILE.services
        if re.search(rf"\b{host}:\d", " ".join(FILE.environment(name).values()))
    }
    assert called == set(FILE.after(name))
    assert set(FILE.after(name).values()) <= {"service_healthy"}


def test_services_meet_only_on_networks_that_they_need() -> None:
    internal = {name for name, network in FILE.networks.items() if (network or {}).get("internal")}
    outside = {name for name in FOR_GOOD if set(FILE.services[name]["networks"]) - internal}
    assert outside == {"gateway", "extraction"}, "the port, and git"
    reach_mongo = {
        n for n in FOR_GOOD if set(FILE.services[n]["networks"]) & set(FILE.services[MONGO]["networks"])
    }
    assert reach_mongo == {MONGO, "catalog"}


@pytest.mark.parametrize("name", FILE.ours)
def test_every_variable_is_a_setting(name: str) -> None:
    assert set(FILE.environment(name)) <= set(SETTINGS)


@pytest.mark.parametrize("name", FILE.ours)
def test_every_folder_of_a_service_is_on_a_named_volume(name: str) -> None:
    own = {setting for setting in SETTINGS if setting.startswith(f"FEATURESTORE__{name.upper()}__")}
    folders = {setting for setting in own if setting.endswith("__FOLDER")}
    given = FILE.environment(name)
    assert folders <= set(given), "left to its default, a folder would be lost with the container"
    mounted = {mount.target: mount for mount in FILE.mounts(name)}
    for setting in folders:
        assert not mounted[given[setting]].read_only
        assert mounted[given[setting]].volume in FILE.volumes


def test_every_volume_has_one_writer() -> None:
    writers: dict[str, list[str]] = {volume: [] for volume in FILE.volumes}
    for name in FILE.services:
        for mount in FILE.mounts(name):
            if not mount.read_only:
                writers[mount.volume].append(name)
    assert all(len(found) == 1 for found in writers.values()), writers
    assert writers[MONGO] == [MONGO]
    assert [mount.target for mount in FILE.mounts(MONGO) if not mount.read_only] == ["/data/db"]


def test_folders_on_volumes_are_made_in_the_image_for_its_user() -> None:
    dockerfile = COMPOSE_FILE.with_name("Dockerfile").read_text()
    made = re.search(r"install --directory --owner=featurestore[^&]*", dockerfile.replace("\\\n", " "))
    assert made
    for name in (SECRETS, *FILE.ours):
        assert FILE.services[name]["user"] == "10001:10001"
        for mount in FILE.mounts(name):
            assert mount.target in made[0].split()
    assert "useradd --uid 10001" in dockerfile
    assert "USER 10001:10001" in dockerfile
    assert 'ENTRYPOINT ["featurestore"]' in dockerfile


def test_images_are_pinned_and_dependencies_hashed() -> None:
    assert re.fullmatch(r"mongo:\d+\.\d+\.\d+", FILE.services[MONGO]["image"])
    dockerfile = COMPOSE_FILE.with_name("Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=python:3\.11\.\d+-slim-\w+$", dockerfile, re.MULTILINE)
    assert "--require-hashes -r requirements-server.lock" in dockerfile
    lock = COMPOSE_FILE.with_name("requirements-server.lock").read_text()
    tested = COMPOSE_FILE.with_name("requirements.lock").read_text()
    pinned = re.findall(r"^([a-z0-9-]+==[^ ;]+)", lock, re.MULTILINE)
    assert {pin.split("==")[0] for pin in pinned} >= {"grpcio", "duckdb", "motor", "setuptools"}
    assert [pin for pin in pinned if pin not in tested] == [], "the image would run what was not tested"
    assert "://" not in lock


def test_no_secret_is_in_the_file() -> None:
    assert "env_file" not in FILE.text
    for name in FILE.services:
        for variable, value in FILE.environment(name).items():
            assert not re.search(r"://[^/@]*:[^/@]*@", value), f"{variable} carries a password"
            if re.search(r"PASSWORD|SECRET|TOKEN|KEY", variable):
                assert variable.endswith("_FILE"), f"{variable} is a secret in the file"
    assert "${" not in FILE.text, "it starts with no .env"


# What it starts


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeUp]:
    with ComposeUp(tmp_path_factory.mktemp("compose")) as running:
        yield running


@pytest.mark.parametrize("name", FILE.ours)
def test_the_health_check_of_a_container_passes_and_fails_without_its_service(
    up: ComposeUp, name: str
) -> None:
    probe = up.health_command(name)
    assert run(probe).returncode == 0
    closed = [word.replace(up.address(name), f"127.0.0.1:{free_port()}") for word in probe]
    assert run(closed).returncode == 1


def test_rows_go_in_and_come_out_through_the_published_port(up: ComposeUp) -> None:
    table = f"users_{uuid.uuid4().hex[:8]}"
    with featurestore.connect(up.target) as store:
        store.publish(table, pa.table({"user_id": [1, 2], "score": [0.5, 1.5]}), primary_key="user_id")
        query = store.query_train(f"SELECT * FROM feature_store.{table}", save=True, index_key="user_id")
        assert query.to_arrow().num_rows == 2
        served = store.query_realtime(query.query_id, index_key="user_id", index_value=2)
        assert served.to_arrow().to_pylist() == [{"user_id": 2, "score": 1.5}]


def test_the_password_is_made_once_and_is_not_for_others_to_read(up: ComposeUp) -> None:
    password = up.volume(SECRETS) / "mongo_password"
    first = password.read_text()
    assert len(first.strip()) >= 32
    assert password.stat().st_mode & 0o007 == 0
    up.run_secrets()
    assert password.read_text() == first


@pytest.mark.parametrize("name", ["realtime", "extraction"])
def test_a_second_one_on_the_same_volume_refuses_to_start_and_says_why(up: ComposeUp, name: str) -> None:
    elsewhere = {"FEATURESTORE__LISTEN": f"127.0.0.1:{free_port()}"}
    with up.process(name, more=elsewhere, log=f"second-{name}") as second:
        assert second.wait() == 1
        said = second.log_tail()
    assert "STORE_LOCKED" in said
    assert str(up.volume(FILE.mounts(name)[0].volume)) in said
    assert "Traceback" not in said
    assert is_serving(up.address(name)), "the first one is not disturbed"


def test_the_documented_copy_of_a_running_log_brings_everything_back(up: ComposeUp, tmp_path: Path) -> None:
    with featurestore.connect(up.target) as store:
        rows = pa.table({"user_id": range(1_000)})
        store.publish(f"users_{uuid.uuid4().hex[:8]}", rows, primary_key="user_id")
    page = COMPOSE_FILE.parent.joinpath("docs", "operations.md").read_text()
    documented = re.search(r"docker compose exec -T realtime (python -c .*)", page)
    assert documented
    copying = run([up.here("realtime", word) for word in shlex.split(documented[1])])
    assert copying.returncode == 0, copying.stderr
    up.volume("log").joinpath("backup.sqlite").rename(tmp_path / "log.sqlite")

    address = f"127.0.0.1:{free_port()}"
    elsewhere = {"FEATURESTORE__LISTEN": address, "FEATURESTORE__REALTIME__FOLDER": str(tmp_path)}
    with up.process("realtime", more=elsewhere, log="restored") as restored:
        restored.wait_until_serving(address)
        assert status_of_realtime(address) == status_of_realtime(up.address("realtime"))


def status_of_realtime(address: str) -> GetStatusResponse:
    with grpc.insecure_channel(address) as channel:
        status = RealtimeServiceStub(channel).GetStatus(GetStatusRequest(), timeout=10)
    status.ClearField("cache")  # of what the process was asked, not of what it holds
    return status


@pytest.mark.parametrize("name", ["gateway", "extraction"])
def test_sigterm_lets_a_call_under_way_end(up: ComposeUp, name: str) -> None:
    rows = (
        4_000_000  # 32 MB: more than lies in buffers on the way, so the call can't be over before it is read
    )
    with featurestore.connect(up.target) as store:
        batches = iter(store.query_train(f"SELECT range AS i FROM range({rows})"))
        first = next(batches)
        up.processes[name].terminate()
        assert first.num_rows + sum(batch.num_rows for batch in batches) == rows
    assert up.processes[name].wait() == 0
    start_again(up, name)


@dataclass(frozen=True, slots=True)
class Restarted:
    """A service that was stopped by SIGTERM and started again, after a publish and a save."""

    name: str
    exit_code: int
    seconds: float
    table: str
    query_id: str


@pytest.fixture(scope="module", params=FILE.ours)
def restarted(request: pytest.FixtureRequest, up: ComposeUp) -> Restarted:
    name, table = request.param, f"users_{uuid.uuid4().hex[:8]}"
    with featurestore.connect(up.target) as store:
        store.publish(table, pa.table({"user_id": [1]}), primary_key="user_id")
        query = store.query_train(f"SELECT * FROM feature_store.{table}", save=True, name=table)
    began = time.monotonic()
    exit_code = up.processes[name].stop()
    seconds = time.monotonic() - began
    assert not is_serving(up.address(name))
    start_again(up, name)
    return Restarted(name, exit_code, seconds, table, query.query_id)


def test_an_idle_service_ends_soon_after_sigterm(restarted: Restarted) -> None:
    assert restarted.exit_code == 0
    drain_seconds = dict(names())["FEATURESTORE__DRAIN_SECONDS"].default
    assert restarted.seconds < drain_seconds * 0.8, "something, such as a follower's stream, held it up"


def test_after_a_restart_everything_is_still_there(up: ComposeUp, restarted: Restarted) -> None:
    table = restarted.table
    with featurestore.connect(up.target) as store:
        assert store.get_query(table).query_id == restarted.query_id
        assert store.query_realtime(table, index_key="user_id", index_value=1).to_arrow().num_rows == 1
        assert store.query_train(f"SELECT * FROM feature_store.{table}").to_arrow().num_rows == 1


def start_again(up: ComposeUp, name: str) -> None:
    """Start it and wait until all others have found it again, which takes a second at most."""
    up.processes[name].start()
    up.processes[name].wait_until_serving(up.address(name))
    ends = time.monotonic() + 10
    with featurestore.connect(up.target) as store:
        while problems := store.status().problems:
            assert time.monotonic() < ends, problems
            time.sleep(0.05)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    found = {"PATH": f"{BIN}{os.pathsep}{os.defpath}"}
    return subprocess.run(command, env=found, capture_output=True, text=True, timeout=30, check=False)
