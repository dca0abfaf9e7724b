"""Which files beside and below a script it imports: told from its text, which is never run for that.

A script's folder is where Python would look first if the script were run from there: `import helpers` is `helpers.py` beside
it, `from features import ages` is `features/ages.py` below it, or what `features/__init__.py` calls so. What those
import is followed, with their relative imports. Imports are found wherever they stand in a file, but only where they
are written as such: `importlib.import_module("helpers")` is not one. This module needs the standard library alone: the
client, the service and what reads git all ask it.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

MOST_FILES = 64
MOST_BYTES = 2 * 2**20
"""Of the files beside a script: how many, and how large all of them together."""

_OURS = "etl_abc"  # what the workers provide, whatever lies beside a script for its author's editor
_RESERVED = frozenset({"__main__", "etl_script"})
_INIT = "__init__"

Read = Callable[[str], "str | None"]
"""From a path below the script's folder, with `/`, to the text of the regular file there; None if there is none."""


class Unusable(ValueError):
    """What a script would import can't go along. The text says why and what to do."""


def neighbours(source: str, read: Read) -> dict[str, str]:
    """The files that a script imports, and those that these import: path below the script's folder -> text.

    A file that is no Python is there, and what it imports is not: who runs it says what is wrong with it.

    Raises:
        Unusable: there are more of them than may go along.
    """
    found: dict[str, str] = {}
    looked_at: set[str] = set()
    waiting: list[tuple[str, tuple[str, ...]]] = [(source, ())]
    while waiting:
        text, package = waiting.pop()
        for name in imported(text, package):
            if name in looked_at or name.partition(".")[0] == _OURS:
                continue
            looked_at.add(name)
            parts = tuple(name.split("."))
            for path, its_package in (
                ("/".join((*parts, _INIT)) + ".py", parts),
                ("/".join(parts) + ".py", parts[:-1]),
            ):
                content = read(path)
                if content is not None:
                    found[path] = content
                    check_size(found)
                    waiting.append((content, its_package))
                    break
    return found


def imported(text: str, package: tuple[str, ...] = ()) -> Iterator[str]:
    """Every module that a text may mean, with the packages around it, the outermost first; none if it is no Python.

    Args:
        package: that the text's own module is in, for its relative imports.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are for who runs it
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            if base is not None:
                yield from _with_parents(base)
                for alias in node.names:
                    yield f"{base}.{alias.name}" if base else alias.name


def on_disk(script: Path) -> Read:
    """Read beside a script on this machine, wherever a link to it leads.

    The function raises:
        Unusable: a file is reached through a symbolic link, is over the limit, or is not UTF-8.
        OSError: it can't be read.
    """
    folder = Path(os.path.realpath(script)).parent

    def read(path: str) -> str | None:
        file = folder / path
        if not file.is_file():
            return None
        if Path(os.path.realpath(file)) != file:
            raise Unusable(
                f"{path} beside the script is reached through a symbolic link: put the file itself there"
            )
        if file.stat().st_size > MOST_BYTES:
            raise _too_much()
        try:
            return file.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise Unusable(
                f"{path} beside the script is not UTF-8 (byte {error.start}): save it as UTF-8"
            ) from error

    return read


def check_size(files: Mapping[str, str]) -> None:
    """Hold files to the limits.

    Raises:
        Unusable: they are over them.
    """
    if len(files) > MOST_FILES or sum(len(text.encode()) for text in files.values()) > MOST_BYTES:
        raise _too_much()


def check_names(paths: Iterable[str]) -> None:
    """See that each path is a module's below the script's folder, and that no other module has its name.

    Raises:
        Unusable: it is none, or its name is that of a module of Python's or of an installed package: which of the two is
            meant would depend on where the script runs.
    """
    for path in paths:
        parts = path.removesuffix(".py").split("/")
        if not path.endswith(".py") or not all(part.isidentifier() for part in parts):
            raise Unusable(f"{path[:200]!r} is no path of a module below the script's folder")
        top = parts[0]
        if top in _RESERVED or top in sys.stdlib_module_names:
            raise Unusable(
                f"{path} beside the script has the name of a module of Python's own, {top}: rename it"
            )
        if _installed(top):
            raise Unusable(f"{path} beside the script has the name of an installed package, {top}: rename it")


def module_of(path: str) -> tuple[str, bool]:
    """The module that a path below the script's folder is, and whether it is a package: `a/__init__.py` is `a`."""
    parts = path.removesuffix(".py").split("/")
    package = parts[-1] == _INIT
    return ".".join(parts[:-1] if package else parts), package


def _base(node: ast.ImportFrom, package: tuple[str, ...]) -> str | None:
    """What `from` names, in full; None if it leads out of the script's folder, which Python refuses by itself."""
    if not node.level:
        return node.module
    if len(package) < node.level:
        return None
    kept = package[: len(package) - node.level + 1]
    return ".".join((*kept, node.module) if node.module else kept)


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[: n + 1]) for n in range(len(parts)))


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # what can't be asked is there
        return True


def _too_much() -> Unusable:
    return Unusable(
        f"the script imports more than {MOST_FILES} files beside it, or more than {MOST_BYTES} bytes of them: "
        "install what is shared by many as a package"
    )
