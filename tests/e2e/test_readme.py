"""The README, followed by a newcomer: each of its programs and commands run as printed, in an empty folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import BIN, Process, free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FLIGHT = (ROOT / "docs" / "flight.md").read_text()
PRINTED = "localhost:50051"
LOCAL = 'fs.local("./my-store")'


def block(language: str, holding: str, page: str = README) -> str:
    """The one block of the page that holds some words."""
    (found,) = (text for text in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) if holding in text)
    return found


def ran(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    """Empty, but for the environment that `make setup` leaves there."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/bin").symlink_to(BIN)
    (tmp_path / "quickstart.py").write_text(block("python", "payments = ["))
    return tmp_path


def test_the_quickstart_and_the_etl_behind_it_run_as_printed(folder):
    shown = ran(folder, sys.executable, "quickstart.py")
    assert re.search(r"ann +2 +92\.5 +1", shown), shown
    assert re.search(r"(\d+) of \1 keys agree", shown), shown

    (folder / "etl.py").write_text(block("python", "class Etl"))
    ran(folder, "bash", "-euc", block("sh", "git init"))
    (folder / "features.py").write_text(block("python", "features/etl.py"))
    shown = ran(folder, sys.executable, "features.py")
    assert re.search(r"ann +0\.5", shown), shown


def test_a_stranger_gets_a_row_from_a_server_as_printed(folder):
    port = f"localhost:{free_port()}"  # the printed one may be taken here
    (setting, command) = block("sh", "featurestore serve").split()[0].split("="), ["featurestore", "serve"]
    assert block("sh", "featurestore serve").split()[1:] == [".venv/bin/featurestore", "serve"]
    with Process(command, {setting[0]: setting[1], "FEATURESTORE__LISTEN": port}, folder / "log") as server:
        server.wait_until_serving(port)
        program = folder / "quickstart.py"
        assert LOCAL in program.read_text()
        assert f'fs.connect("{PRINTED}")' in README
        program.write_text(program.read_text().replace(LOCAL, f'fs.connect("{port}")'))
        ran(folder, sys.executable, "quickstart.py")
        flights = block("python", "import flight", FLIGHT)
        assert f"grpc://{PRINTED}" in flights
        (folder / "flights.py").write_text(flights.replace(PRINTED, port))
        shown = ran(folder, sys.executable, "flights.py")
        assert '"names": ["user_payments"]' in shown
        assert re.search(r"ann +2 +92\.50 +1", shown), shown
        reply = json.loads(ran(folder, "bash", "-euc", block("sh", "grpcurl").replace(PRINTED, port)))
    (row,) = reply["rows"]["rows"]
    assert row["values"][0] == {"string_value": "ann"}
