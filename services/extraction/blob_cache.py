"""Script text on disk under its SHA-256, so that git may be down when a saved ETL is served."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import tempfile
from collections import OrderedDict
from pathlib import Path

log = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REMEMBERED_CHARACTERS = 16 * 2**20
"""Of scripts that were read: a served row would wait for the file and a thread each time, a quarter of a millisecond."""


class BlobCache:
    """One folder, one file per script, named by the hash of its bytes.

    The hash is checked whenever a file is read: what the cache returns is the pinned script or nothing. What was read is
    remembered up to a bound. Files are the work of a thread; several processes may share the folder.
    """

    def __init__(self, folder: Path, remembered: int = _REMEMBERED_CHARACTERS) -> None:
        """Open nothing yet.

        Args:
            folder: made when the first script is put.
            remembered: characters of scripts that stay in memory once they were read; 0 for none.
        """
        self._folder = folder
        self._most = remembered
        self._read: OrderedDict[str, str] = OrderedDict()
        self._characters = 0

    async def get(self, sha256: str) -> str | None:
        """The script with this hash (64 hex digits); None when it is not here or its file is damaged."""
        if (text := self._read.get(sha256)) is not None:
            self._read.move_to_end(sha256)
            return text
        text = await asyncio.to_thread(self._get, sha256)
        if text is not None and sha256 not in self._read:
            self._remember(sha256, text)
        return text

    async def put(self, text: str) -> str:
        """Keep a script; it is on disk, synced, when this returns.

        Returns:
            The SHA-256 of its UTF-8 bytes, 64 hex digits.

        Raises:
            OSError: the folder can't be written.
        """
        return await asyncio.to_thread(self._put, text)

    def _remember(self, sha256: str, text: str) -> None:
        self._read[sha256] = text
        self._characters += len(text)
        while self._characters > self._most:
            _, oldest = self._read.popitem(last=False)
            self._characters -= len(oldest)

    def _get(self, sha256: str) -> str | None:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256[:80]!r} is no SHA-256 in lower-case hex")
        path = self._folder / sha256
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("cached script %s can't be read and counts as missing: %s", path, error)
            return None
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            log.warning("cached script %s is damaged (its hash is %s) and counts as missing", path, found)
            return None
        return content.decode()

    def _put(self, text: str) -> str:
        content = text.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        if self._get(sha256) is not None:
            return sha256
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".incoming-", dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._folder / sha256)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # without it the rename may be lost when the machine stops
        finally:
            os.close(folder)
        return sha256
