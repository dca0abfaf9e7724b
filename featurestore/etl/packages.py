"""Which third-party packages a script may import, and which of them it did: both decided by name, told by version.

Allowed are the basic ones and those that a setting lists, each with what it requires. What else happens to be installed is
not there for a script, so that it means the same wherever the store runs. This is no seal: the seal is around the process.
"""

from __future__ import annotations

import re
import site
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from featurestore.etl import imports

SETTING = "FEATURESTORE__EXTRACTION__ETL_PACKAGES"

BASIC = ("duckdb", "numpy", "pandas", "polars", "pyarrow")
"""Packages that need not be listed, as far as they are installed."""

_OURS = "featurestore"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_EXTRA = re.compile(r";.*\bextra\s*==")
_NO_PACKAGE = (".dist-info", ".data", ".libs")


class NotInstalled(ValueError):
    """A listed package is not there. The text names it."""


@dataclass(frozen=True, slots=True)
class Package:
    """An installed one, as pip calls it."""

    name: str
    version: str


@cache
def allowed(listed: tuple[str, ...] = ()) -> Mapping[str, Package]:
    """What scripts may import: top-level module -> its package.

    Args:
        listed: packages as pip calls them, beside `BASIC`.

    Raises:
        NotInstalled: a listed one is not.
    """
    found: dict[str, Package] = {}
    seen: set[str] = set()
    waiting = [*((name, True) for name in listed), *((name, False) for name in BASIC)]
    while waiting:
        name, needed = waiting.pop(0)
        if _canonical(name) in seen:
            continue
        seen.add(_canonical(name))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if needed:
                raise NotInstalled(f"{name} is not installed: install it beside this service") from None
            continue  # a requirement of other systems
        package = Package(distribution.metadata["Name"], distribution.version)
        found.update((module, package) for module in _modules(distribution))
        waiting += ((required, False) for required in _required(distribution))
    return found


class Guard(MetaPathFinder):
    """Finds modules as Python does, but of the installed packages only those that are allowed, and knows which were imported.

    To a script and to the libraries that look around for others, what is not allowed is not installed.
    """

    find_distributions = staticmethod(PathFinder.find_distributions)

    def __init__(self, modules: Iterable[str]) -> None:
        """Know the allowed top-level modules; `install` makes it count."""
        self._allowed = frozenset(modules)
        self._before: frozenset[str] = frozenset()
        self._named: set[str] = set()
        self._loaded: tuple[int, set[str]] = (0, set())

    def install(self) -> None:
        """Guard every import of this process from now on."""
        self._before = frozenset(sys.modules)
        sys.meta_path[sys.meta_path.index(PathFinder)] = self

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As importlib asks, of what is not loaded yet."""
        if path is None and fullname not in self._allowed and fullname != _OURS and _installed(fullname):
            return None
        return PathFinder.find_spec(fullname, path, target)

    def note(self, source: str) -> None:
        """Count what a script, or a file beside it, names in its imports: it may have been loaded before the script was."""
        self._named |= {name.partition(".")[0] for name in imports.imported(source)}

    @property
    def imported(self) -> list[str]:
        """The allowed top-level modules that were imported since `install`, or named, sorted."""
        count = len(sys.modules)
        if count != self._loaded[0]:
            new = sys.modules.keys() - self._before
            self._loaded = count, {name.partition(".")[0] for name in new}
        return sorted(self._allowed & (self._loaded[1] | self._named))


def not_listed(error: BaseException) -> tuple[str, str] | None:
    """Of an import that failed because of a guard: the module, and its package as pip calls it. None if it failed otherwise."""
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    if not module or not _installed(module):
        return None
    return module, next(iter(metadata.packages_distributions().get(module, ())), module)


def _installed(module: str) -> bool:
    """Whether a top-level module is there beside Python's own."""
    return PathFinder.find_spec(module, site.getsitepackages()) is not None


def _modules(distribution: metadata.Distribution) -> set[str]:
    declared = distribution.read_text("top_level.txt")
    if declared:
        return {line.strip() for line in declared.splitlines() if line.strip().isidentifier()}
    modules: set[str] = set()
    for file in distribution.files or ():
        top = file.parts[0]
        name = top if len(file.parts) > 1 else top.partition(".")[0]
        if name.isidentifier() and not top.endswith(_NO_PACKAGE):
            modules.add(name)
    return modules - {"__pycache__"}


def _required(distribution: metadata.Distribution) -> list[str]:
    """The names in its requirements, extras left out; markers of systems are left to whether it is installed."""
    return [
        match[0]
        for text in distribution.requires or ()
        if not _EXTRA.search(text) and (match := _NAME.match(text)) is not None
    ]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
