"""What a sealed worker may touch of the file system: it may read its own libraries, and nothing else."""

from __future__ import annotations

import ctypes
import os
import struct
import sysconfig
import zoneinfo
from collections.abc import Iterable, Iterator
from pathlib import Path

import featurestore.etl
from featurestore.etl.syscalls import (
    LANDLOCK_ADD_RULE,
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    CannotSeal,
    call,
)

_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS = (0, 13, 14, 15, 15, 16)  # how many there are in versions 1 ..., each a bit from 0
_NET_RIGHTS = 0b11  # binding and connecting TCP: since version 4
_SCOPES = 0b11  # abstract UNIX sockets and signals to strangers: since version 6


def version() -> int:
    """Landlock's version in this kernel, at least 1.

    Raises:
        CannotSeal: there is none, or it is switched off.
    """
    try:
        return call(LANDLOCK_CREATE_RULESET, 0, 0, _VERSION_FLAG)
    except OSError as error:
        raise CannotSeal(
            f"ETL workers can't be sealed: this kernel has no Landlock ({error.strerror}); Linux 5.13 or newer "
            "has it, if it is switched on"
        ) from error


def readable() -> Iterator[Path]:
    """The folders that scripts import from: the standard library, installed packages, this package, time zones."""
    paths = sysconfig.get_paths()
    named = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    base = str(sysconfig.get_config_var("installed_platbase"))  # not the virtual environment
    named += [sysconfig.get_path("platstdlib", vars={"platbase": base}), *zoneinfo.TZPATH]
    named.append(str(Path(featurestore.etl.__file__).parent))
    yield from {Path(each).resolve() for each in named if Path(each).is_dir()}


def ruleset(folders: Iterable[Path]) -> int:
    """A descriptor of rules that allow reading in these folders; the caller closes it.

    Raises:
        CannotSeal: see `version`.
        OSError: a folder can't be opened.
    """
    known = version()
    rights = (1 << _FILE_RIGHTS[min(known, len(_FILE_RIGHTS) - 1)]) - 1
    net = _NET_RIGHTS if known >= 4 else 0
    scopes = _SCOPES if known >= 6 else 0
    attributes = struct.pack("=QQQ", rights, net, scopes)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    rules = call(LANDLOCK_CREATE_RULESET, _pointer(attributes), size, 0)
    try:
        for folder in folders:
            _allow_reading(rules, folder)
    except BaseException:
        os.close(rules)
        raise
    return rules


def apply(rules: int) -> None:
    """Hold this process to the rules, for ever. It must have one thread, and no new privileges must be set.

    Raises:
        OSError: the kernel refuses it.
    """
    call(LANDLOCK_RESTRICT_SELF, rules, 0)


def _allow_reading(rules: int, folder: Path) -> None:
    opened = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", _READ_FILE | _READ_DIR, opened)
        call(LANDLOCK_ADD_RULE, rules, _RULE_PATH_BENEATH, _pointer(rule), 0)
    finally:
        os.close(opened)


def _pointer(data: bytes) -> ctypes.c_void_p:
    return ctypes.cast(
        ctypes.create_string_buffer(data, len(data)), ctypes.c_void_p
    )  # a cast keeps what it points to
