"""The C client of nghttp2: what a server can do, when what calls it costs next to nothing.

It sends one body over and over. So that many keys are asked for, each connection is a process of its own with its own
body. It counts HTTP statuses only, which gRPC's errors do not change: whoever uses this checks an answer beside it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_GRPC = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-H", "grpc-timeout: 60S"]
_HTTP = ["--h1", "-H", "content-type: application/json"]
_DONE = re.compile(r"requests: \d+ total, .* (\d+) succeeded, (\d+) failed, (\d+) errored")


def installed() -> bool:
    """Whether it can be found."""
    return shutil.which("h2load") is not None


def rate(
    folder: Path, target: str, path: str, bodies: Sequence[bytes], seconds: float, *, grpc: bool
) -> float:
    """Requests a second of a closed loop: for each body a connection that calls as soon as it was answered.

    Args:
        grpc: HTTP/2 and gRPC's frame around the body; HTTP/1.1 otherwise.

    Raises:
        RuntimeError: a request failed.
    """
    running = []
    for number, body in enumerate(bodies):
        data = folder / f"body-{number}"
        data.write_bytes(b"\0" + len(body).to_bytes(4) + body if grpc else body)
        command = [
            "h2load",
            "-c1",
            "-m1",
            f"-D{seconds * 1_000:.0f}ms",
            "-d",
            str(data),
            *(_GRPC if grpc else _HTTP),
        ]
        running.append(
            subprocess.Popen([*command, f"http://{target}{path}"], stdout=subprocess.PIPE, text=True)
        )
    done = 0
    for each in running:
        said, _ = each.communicate()
        found = _DONE.search(said)
        if found is None or int(found[2]) or int(found[3]):
            raise RuntimeError(f"h2load: {said}")
        done += int(found[1])
    return done / seconds
