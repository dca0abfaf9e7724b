"""Memory that is handed to a worker and taken back: files without a name, sealed before anybody else may read them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence

import pyarrow as pa

# Linux's numbers; elsewhere fcntl does not have the names, and this module must be importable all the same.
_ADD_SEALS = 1033
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # no more seals, no shrinking, no growing, no writing
_COPIED_BYTES = 2**20  # copying so much is cheaper than mapping it, and holds no mapping
_PIECE = 2**30  # one write moves less than 2 GiB


class NotSealable(Exception):
    """Somebody keeps a writable mapping of it, or sealed it himself: no honest worker does."""


def empty(name: str) -> int:
    """A descriptor of an empty file in memory; `name` is shown in /proc only."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def sealed(name: str, parts: Sequence[memoryview | bytes]) -> int:
    """A descriptor of a file in memory that holds these parts and can never change.

    Raises:
        OSError: there is no memory for it.
    """
    descriptor = empty(name)
    try:
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                view = view[os.write(descriptor, view[:_PIECE]) :]
        fcntl.fcntl(descriptor, _ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def seal(descriptor: int) -> int:
    """Seal what a worker wrote; returns its size in bytes, which stays.

    Raises:
        NotSealable: it could still be changed while we read it.
    """
    try:
        fcntl.fcntl(descriptor, _ADD_SEALS, _SEALS)
    except OSError as error:  # EBUSY: it is mapped for writing; EPERM: it was sealed against us
        raise NotSealable from error
    return os.fstat(descriptor).st_size


def contents(descriptor: int, size: int) -> pa.Buffer:
    """What a sealed file holds; without a copy if it is large. The descriptor may be closed.

    Raises:
        OSError: it has less than `size` bytes.
    """
    if size <= _COPIED_BYTES:
        read = os.pread(descriptor, size, 0)
        if len(read) != size:
            raise OSError("a sealed file is shorter than it was")
        return pa.py_buffer(read)
    with pa.memory_map(f"/proc/self/fd/{descriptor}") as mapped:
        return mapped.read_buffer(size)
