"""One realtime per folder: two would write one log from two memories."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from featurestore.model.errors import FailedPrecondition

FILE_NAME = "realtime.lock"


class FolderLock:
    """A lock on the folder, held until `release` or the end of the process, kill -9 included."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            FailedPrecondition: `STORE_LOCKED`, naming the process that holds it.
        """
        self._descriptor = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode() or "another process"
            os.close(self._descriptor)
            raise FailedPrecondition(
                "STORE_LOCKED",
                f"the store in {folder} is in use by {holder}; stop that one first, or use another folder",
                folder=folder,
                holder=holder,
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"process {os.getpid()}".encode(), 0)

    def release(self) -> None:
        """Give the folder free."""
        os.close(self._descriptor)
