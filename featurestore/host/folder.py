"""A local store's folder: where its parts lie, its format, its locks and its socket."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featurestore.model.errors import FailedPrecondition

FORMAT = 1
_MAX_SOCKET_PATH = 103 if sys.platform == "darwin" else 107
"""What fits into `sun_path`, less the terminating zero."""


class StoreFolder:
    """Paths inside a local store's folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name the folder; nothing is made yet."""
        self.path = Path(path).expanduser().absolute()
        self.log = self.path / "server.log"
        self.catalog = self.path / "catalog.sqlite"
        self.realtime = self.path / "realtime"
        self.warehouse = self.path / "warehouse"
        self.gateway = self.path / "gateway"
        self._format = self.path / "store.json"
        self._server_lock = self.path / "server.lock"
        self._start_lock = self.path / "start.lock"

    def make(self) -> None:
        """Make the folder if need be, and check that this version can read it.

        Raises:
            FailedPrecondition: `NOT_A_STORE` or `STORE_FORMAT`.
        """
        if self.path.exists() and not self.path.is_dir():
            raise FailedPrecondition("NOT_A_STORE", f"{self.path} is a file; give a folder", path=self.path)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._format.exists():
            draft = self._format.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps({"format": FORMAT}))
            draft.replace(self._format)
        found = json.loads(self._format.read_text())["format"]
        if found != FORMAT:
            raise FailedPrecondition(
                "STORE_FORMAT",
                f"the store in {self.path} has format {found}, this version reads {FORMAT}: "
                "use the version of featurestore that wrote it",
                path=self.path,
                format=found,
            )

    @property
    def socket(self) -> Path:
        """The UNIX socket: in the folder, or, when that path is too long, in a runtime folder of the user's own."""
        inside = self.path / "gateway.sock"
        if len(os.fsencode(inside)) <= _MAX_SOCKET_PATH:
            return inside
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:32] + ".sock"
        roots = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp")  # noqa: S108 - a folder of our own in it
        for root in filter(None, roots):
            runtime = Path(root) / f"featurestore-{os.getuid()}"
            if len(os.fsencode(runtime / name)) <= _MAX_SOCKET_PATH:
                break
        runtime.mkdir(mode=0o700, exist_ok=True)
        owner = runtime.stat()
        if owner.st_uid != os.getuid() or owner.st_mode & 0o077:
            raise FailedPrecondition(
                "RUNTIME_FOLDER",
                f"{runtime} is not a folder of this user alone: remove it, or set XDG_RUNTIME_DIR",
                path=runtime,
            )
        return runtime / name

    @contextmanager
    def starting(self) -> Iterator[None]:
        """One client at a time looks whether the server runs, and starts it; waits for its turn."""
        with self._start_lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def served(self) -> Iterator[bool]:
        """Try to hold the server's lock in this block; False when another process holds it."""
        with self._server_lock.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
