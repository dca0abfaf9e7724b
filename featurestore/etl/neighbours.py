"""Files beside a script, imported in its worker from memory: nothing is read from a disk there."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType, TracebackType

from featurestore.etl.imports import module_of


@dataclass(frozen=True, slots=True)
class _Module:
    """One file, or a folder that only holds some.

    Attributes:
        path: what it is called in tracebacks and messages.
    """

    path: str
    source: str
    package: bool


class Neighbours(MetaPathFinder, InspectLoader):
    """Finds and loads them before anything else, so that what was pinned is what is imported.

    Attributes:
        paths: the script's and theirs, as tracebacks name them.
    """

    def __init__(self, script: str, files: Mapping[str, str]) -> None:
        """Know them; nothing is loaded yet.

        Args:
            script: its path, beside which they are.
            files: path below the script's folder -> text.
        """
        folder = script.rpartition("/")[0]
        self._modules: dict[str, _Module] = {}
        for path, source in files.items():
            name, package = module_of(path)
            self._modules[name] = _Module(f"{folder}/{path}" if folder else path, source, package)
        for name in list(self._modules):
            parts = name.split(".")
            for count in range(1, len(parts)):
                self._modules.setdefault(".".join(parts[:count]), _Module("", "", package=True))
        self.paths = frozenset({script, *(module.path for module in self._modules.values() if module.path)})

    def install(self) -> None:
        """Let `import` find them from now on."""
        sys.meta_path.insert(0, self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - as importlib calls it
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """As importlib asks."""
        module = self._modules.get(fullname)
        if module is None:
            return None
        return spec_from_loader(fullname, self, origin=module.path or None, is_package=module.package)

    def exec_module(self, module: ModuleType) -> None:
        """As importlib asks: compiled under the path that people know it by."""
        known = self._modules[module.__name__]
        if known.path:
            module.__file__ = known.path
        code = compile(known.source, known.path or "<folder>", "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - running them is the job of this process

    def get_source(self, fullname: str) -> str:
        """As importlib asks, for tracebacks and `inspect`."""
        return self._modules[fullname].source

    def is_package(self, fullname: str) -> bool:
        """As importlib asks."""
        return self._modules[fullname].package

    def last_place(self, traceback: TracebackType | None, script: str) -> tuple[str, int]:
        """The deepest line of the script or a neighbour: path and line; below it are pandas' own.

        Line 0 of the script if none of them is on the stack.
        """
        place = (script, 0)
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename in self.paths:
                place = (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
            traceback = traceback.tb_next
        return place
