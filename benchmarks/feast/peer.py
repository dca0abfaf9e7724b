"""Feast, installed from its lock file into a cache, its store filled, and its HTTP server running."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.servers import Server, free_port, process, wait_for_port

_HERE = Path(__file__).parent
_CACHE = _HERE.parent.parent / ".bench"
_MAX_REQUESTS = "1000000000"
"""Its worker is not to be recycled while it is measured; Feast's own default is 1,000."""
READ, WRITE = "/get-online-features", "/write-to-online-store"
VIEWS, MADE = ("made_by_pandas", "made_by_python"), ("tries_per_visit", "weighted", "rich")
"""Its on-demand views, in each of the modes that serving has, and what both make."""


@dataclass(frozen=True)
class Feast:
    """It runs.

    Attributes:
        online: where its values lie: Redis with its version, or SQLite.
    """

    server: Server
    version: str
    online: str
    features: Sequence[str]

    def read(self, keys: Sequence[int]) -> bytes:
        """The body that asks for keys."""
        return json.dumps({"features": self.features, "entities": {"user_id": list(keys)}}).encode()

    def made(self, view: str, keys: Sequence[int]) -> bytes:
        """The body that asks for what an on-demand view of `prepare.py` makes of their features."""
        features = [f"{view}:{name}" for name in MADE]
        return json.dumps({"features": features, "entities": {"user_id": list(keys)}}).encode()

    def write(self, row: Mapping[str, object], at: str) -> bytes:
        """The body that writes a row.

        Args:
            at: an ISO time; what is there and newer stays.
        """
        columns = {name: [value] for name, value in {**row, "event_timestamp": at}.items()}
        return json.dumps({"feature_view_name": "profile", "df": columns}).encode()


def values(answer: bytes) -> dict[str, list[object]]:
    """The columns of an answer to `read`."""
    decoded = json.loads(answer)
    names = decoded["metadata"]["feature_names"]
    return {name: result["values"] for name, result in zip(names, decoded["results"], strict=True)}


@contextmanager
def running(folder: Path, rows: pa.Table) -> Iterator[Feast]:
    """Fill it with rows (`user_id`, `event_timestamp` and features), and serve them."""
    binaries = _installed()
    version = subprocess.run(
        [binaries / "python", "-c", "import importlib.metadata as m; print(m.version('feast'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    folder.mkdir(parents=True)
    log = folder / "feast.log"
    with ExitStack() as stack:
        online, settings, processes = "SQLite", f"type: sqlite\n  path: {folder / 'online.db'}", []
        if redis := shutil.which("redis-server"):
            port = free_port()
            options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            processes.append(stack.enter_context(process([redis, *options], log, folder)))
            wait_for_port(port, log)
            settings = f'type: redis\n  connection_string: "127.0.0.1:{port}"'
            said = subprocess.run([redis, "--version"], check=True, capture_output=True, text=True).stdout
            online = f"Redis {said.partition('v=')[2].split()[0]}"
        (folder / "feature_store.yaml").write_text(
            f"project: bench\nprovider: local\nregistry: {folder / 'registry.db'}\n"
            f"online_store:\n  {settings}\nentity_key_serialization_version: 3\n"
        )
        pq.write_table(rows, folder / "rows.parquet")
        subprocess.run(
            [binaries / "python", _HERE / "prepare.py", folder / "rows.parquet"], cwd=folder, check=True
        )
        port = free_port()
        command = [str(binaries / "feast"), "serve", "--port", str(port), "--no-access-log"]
        command += ["--workers", "1", "--max-requests", _MAX_REQUESTS]
        processes.append(stack.enter_context(process(command, log, folder)))
        wait_for_port(port, log)
        features = [
            f"profile:{name}" for name in rows.column_names if name not in {"user_id", "event_timestamp"}
        ]
        yield Feast(Server(f"127.0.0.1:{port}", processes), version, online, features)


def _installed() -> Path:
    """The folder of its programs; installs what the lock file says if that has not been done before."""
    lock = _HERE / "requirements.lock"
    environment = _CACHE / f"feast-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    ready = environment / ".ready"
    if not ready.exists():
        print(f"installing {lock.name} of Feast ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        pip = [
            str(environment / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "--require-hashes", "-r", str(lock)], check=True)
        ready.touch()
    return environment / "bin"
