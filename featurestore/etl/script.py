"""An ETL script: its text becomes a class, the class is run on rows, and what goes wrong is said by name and line."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

import pyarrow as pa

import featurestore.etl
from featurestore.etl.bases import Etl
from featurestore.etl.contract import Difference
from featurestore.etl.declarations import BadDeclaration, line_of, read, read_output_types
from featurestore.etl.kinds import NoFrame, runs_of
from featurestore.etl.neighbours import Neighbours
from featurestore.etl.packages import SETTING, not_listed
from featurestore.etl.results import ContractBroken, UnsupportedColumn
from featurestore.model.errors import FeatureStoreError

_MODULE = "etl_script"
_TEXT_LIMIT = 2000


@dataclass(eq=False)
class ScriptFailed(Exception):
    """The script can't be used, or did not do what it must.

    Attributes:
        kind: `source`, `exception`, `memory`, `sandbox`, `no_frame`, `input_type`, `output_type`, `output` or
            `contract`.
        message: one sentence.
        details: every variable of the message.
    """

    kind: str
    message: str
    details: dict[str, str] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()


class Script:
    """A loaded script.

    Attributes:
        declared: what its class declares.

    Raises:
        ScriptFailed: `source`, or as a run does: the text does not compile, raises, has no such ETL class, or one
            that declares what can't be.
    """

    def __init__(
        self, source: str, path: str, class_name: str, modules: Mapping[str, str], *, sealed: bool
    ) -> None:
        """Compile and load it.

        Args:
            path: what the script is called in tracebacks and messages; nothing is read there.
            modules: the files beside it that it imports: path below its folder -> text.
            sealed: the system refuses what scripts must not do, so a refusal is the seal's.
        """
        self._path = path
        self._sealed = sealed
        module = ModuleType(_MODULE)
        module.__file__ = path
        sys.modules[_MODULE] = module  # dataclasses and the like look their module up
        sys.modules.setdefault("etl_abc", featurestore.etl)
        self._neighbours = Neighbours(path, modules)
        self._neighbours.install()
        try:
            code = compile(source, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError) as error:  # null bytes; brackets, thousands deep
            raise _not_python(path, error) from error
        try:
            exec(code, module.__dict__)  # noqa: S102 - running the script is the job of this process
        except BaseException as error:  # SystemExit too: whatever a script raises is its own
            raise self._raised(error) from error
        found = self._find(module, source, class_name)
        self._sql_line = line_of(source, class_name, "sql")
        try:
            self._runs = runs_of(found)
            self.declared = read(found, self._runs.kind)
            self._output_types = read_output_types(found)
        except BadDeclaration as error:
            line = line_of(source, class_name, error.attribute)
            raise self._unusable(f"{error}, at line {line} of {path}", line) from error

    def run(self, table: pa.Table, contract: pa.Schema | None) -> tuple[pa.Table, tuple[str, ...]]:
        """The script's features of these rows, and without a contract the columns whose type they don't decide.

        Raises:
            ScriptFailed: any kind but `source`.
        """
        try:
            rows = self._runs.given(table)
        except UnsupportedColumn as error:
            raise ScriptFailed("input_type", f"the query's {error}", {"column": error.column}) from error
        try:
            made = self._runs.made(rows)
        except NoFrame as error:
            raise ScriptFailed(
                "no_frame",
                f"extract() in {self._path} returned {error}; it must return {self._runs.returns}",
                {"path": self._path, "type": str(error)},
            ) from error
        except BaseException as error:
            raise self._raised(error) from error
        try:
            return self._runs.features(
                made, input_schema=table.schema, contract=contract, output_types=self._output_types
            )
        except UnsupportedColumn as error:
            message = f"the result of {self._path} can't be kept: {error}"
            raise ScriptFailed(
                "output_type", message, {"path": self._path, "column": error.column}
            ) from error
        except ContractBroken as error:
            raise ScriptFailed("contract", str(error), {"path": self._path}, error.differences) from error

    def _find(self, module: ModuleType, source: str, class_name: str) -> type[Etl]:
        found = getattr(module, class_name, None)
        if not isinstance(found, type):
            wrong = f"{self._path} has no class {class_name}"
        elif not issubclass(found, Etl):
            bases = ", ".join(featurestore.etl.__all__)
            wrong = f"class {class_name} in {self._path} is no subclass of an ETL's base class: {bases}"
        elif inspect.isabstract(found):
            wrong = f"class {class_name} in {self._path} has no extract()"
        else:
            return found
        raise self._unusable(wrong, line_of(source, class_name))

    def _unusable(self, message: str, line: int) -> ScriptFailed:
        return ScriptFailed("source", message, {"path": self._path, "line": str(line)})

    def _sql_failed(self, error: FeatureStoreError) -> ScriptFailed:
        """The failure of a SQL ETL's own text. What the engine says of values stays out of the message."""
        where = f"at line {self._sql_line} of {self._path}"
        details = {"type": error.reason, "line": str(self._sql_line), "path": self._path}
        if error.reason == "QUERY_MEMORY":
            return ScriptFailed("memory", f"the ETL asked for more memory than it may have, {where}", details)
        details["exception"] = error.message
        says = "it fails on these rows" if error.reason == "SQL_VALUE" else error.message
        return ScriptFailed("exception", f"the ETL's SQL can't be run, {where}: {says}", details)

    def _raised(self, error: BaseException) -> ScriptFailed:
        if isinstance(error, FeatureStoreError) and self.declared.kind == "sql":
            return self._sql_failed(error)
        if isinstance(error, SyntaxError) and error.filename in self._neighbours.paths:
            return _not_python(str(error.filename), error)
        path, line = self._neighbours.last_place(error.__traceback__, self._path)
        kind = type(error).__name__
        details = {"type": kind, "line": str(line), "path": path}
        where = f"at line {line} of {path}"
        if isinstance(error, MemoryError):  # Arrow's is one too
            return ScriptFailed("memory", f"the ETL asked for more memory than it may have, {where}", details)
        if missing := not_listed(error):
            module, package = missing
            return ScriptFailed(
                "source",
                f"line {line} of {path} imports {module}, and scripts may not import its package here: add {package} "
                f"to {SETTING}, or do without it",
                {"path": path, "line": str(line), "package": package, "setting": SETTING},
            )
        details["exception"] = _text(error)
        if self._sealed and isinstance(error, PermissionError):
            return ScriptFailed(
                "sandbox",
                f"the ETL tried what its sandbox forbids, {where}: an ETL computes from self.df alone, without "
                "files, network or other processes",
                details,
            )
        return ScriptFailed("exception", f"the ETL raised {kind} {where}", details)


def failure_outside_the_script(error: MemoryError | OSError) -> ScriptFailed:
    """The failure when rows could not be turned into a frame, or a result into Arrow."""
    if isinstance(error, MemoryError):
        return ScriptFailed("memory", "the ETL's rows and its result need more memory than it may have")
    return ScriptFailed("exception", f"the ETL's result could not be kept: {type(error).__name__}")


def _not_python(path: str, error: Exception) -> ScriptFailed:
    line = getattr(error, "lineno", None) or 1
    return ScriptFailed(
        "source",
        f"{path} is not Python: {getattr(error, 'msg', error)} at line {line}",
        {"path": path, "line": str(line)},
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_TEXT_LIMIT]
    except Exception as broken:  # noqa: BLE001 - a script's own exception class may do anything
        return f"its text can't be had: {type(broken).__name__}"
