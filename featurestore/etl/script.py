"""An ETL script: its text becomes a class, the class is run on rows, and what goes wrong is said by name and line."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType, TracebackType

import pandas as pd
import pyarrow as pa

import featurestore.etl
from featurestore.etl import AbstractEtl
from featurestore.etl.contract import Difference
from featurestore.etl.packages import SETTING, not_listed
from featurestore.etl.type_text import parse_type
from featurestore.etl.types import (
    ContractBroken,
    UnsupportedColumn,
    from_pandas,
    to_pandas,
    undecided_columns,
)

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

    Raises:
        ScriptFailed: `source`, or as a run does: the text does not compile, raises, or has no such ETL class.
    """

    def __init__(self, source: str, path: str, class_name: str, *, sealed: bool) -> None:
        """Compile and load it.

        Args:
            path: what the script is called in tracebacks and messages; nothing is read there.
            sealed: the system refuses what scripts must not do, so a refusal is the seal's.
        """
        self._path = path
        self._sealed = sealed
        module = ModuleType(_MODULE)
        module.__file__ = path
        sys.modules[_MODULE] = module  # dataclasses and the like look their module up
        sys.modules.setdefault("etl_abc", featurestore.etl)
        try:
            code = compile(source, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError) as error:  # null bytes; brackets, thousands deep
            line = getattr(error, "lineno", None) or 1
            raise ScriptFailed(
                "source",
                f"{path} is not Python: {getattr(error, 'msg', error)} at line {line}",
                {"path": path, "line": str(line)},
            ) from error
        try:
            exec(code, module.__dict__)  # noqa: S102 - running the script is the job of this process
        except BaseException as error:  # SystemExit too: whatever a script raises is its own
            raise self._raised(error) from error
        self._class = self._find(module, class_name)
        self._declared = self._declarations()

    def run(self, table: pa.Table, contract: pa.Schema | None) -> tuple[pa.Table, tuple[str, ...]]:
        """The script's features of these rows, and without a contract the columns whose type they don't decide.

        Raises:
            ScriptFailed: any kind but `source`.
        """
        try:
            frame = to_pandas(table)
        except UnsupportedColumn as error:
            raise ScriptFailed("input_type", f"the query's {error}", {"column": error.column}) from error
        try:
            result: object = self._class(frame).extract()
        except BaseException as error:
            raise self._raised(error) from error
        if not isinstance(result, pd.DataFrame):
            found = type(result).__name__
            raise ScriptFailed(
                "no_frame",
                f"extract() in {self._path} returned {found}; it must return a pandas DataFrame",
                {"path": self._path, "type": found},
            )
        try:
            features = from_pandas(
                result, input_schema=table.schema, contract=contract, output_types=self._declared
            )
        except UnsupportedColumn as error:
            message = f"the result of {self._path} can't be kept: {error}"
            raise ScriptFailed(
                "output_type", message, {"path": self._path, "column": error.column}
            ) from error
        except ContractBroken as error:
            raise ScriptFailed("contract", str(error), {"path": self._path}, error.differences) from error
        if contract is not None:
            return features, ()
        return features, undecided_columns(
            result, features, input_schema=table.schema, output_types=self._declared
        )

    def _find(self, module: ModuleType, class_name: str) -> type[AbstractEtl]:
        found = getattr(module, class_name, None)
        if not isinstance(found, type):
            raise self._unusable(f"{self._path} has no class {class_name}", 1)
        line = _line_of(found)
        if not issubclass(found, AbstractEtl):
            raise self._unusable(f"class {class_name} in {self._path} is no subclass of AbstractEtl", line)
        if inspect.isabstract(found):
            raise self._unusable(f"class {class_name} in {self._path} has no extract()", line)
        return found

    def _declarations(self) -> dict[str, pa.DataType]:
        types: object = self._class.output_types
        if not isinstance(types, Mapping):
            raise self._unusable(f"output_types in {self._path} must be a dict", _line_of(self._class))
        declared: dict[str, pa.DataType] = {}
        for column, text in types.items():
            try:
                declared[column] = parse_type(str(text))
            except ValueError as error:
                where = f"output_types[{column!r}] in {self._path}"
                raise self._unusable(f"{where}: {error}", _line_of(self._class)) from error
        return declared

    def _unusable(self, message: str, line: int) -> ScriptFailed:
        return ScriptFailed("source", message, {"path": self._path, "line": str(line)})

    def _raised(self, error: BaseException) -> ScriptFailed:
        line = _last_line(error.__traceback__, self._path)
        kind = type(error).__name__
        details = {"type": kind, "line": str(line), "path": self._path}
        where = f"at line {line} of {self._path}"
        if isinstance(error, MemoryError):  # Arrow's is one too
            return ScriptFailed("memory", f"the ETL asked for more memory than it may have, {where}", details)
        if missing := not_listed(error):
            module, package = missing
            return ScriptFailed(
                "source",
                f"line {line} of {self._path} imports {module}, and scripts may not import its package here: add {package} "
                f"to {SETTING}, or do without it",
                {"path": self._path, "line": str(line), "package": package, "setting": SETTING},
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


def _last_line(traceback: TracebackType | None, path: str) -> int:
    """The deepest line of the script itself; below it are pandas' own. 0 if the script is not on the stack."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == path:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _line_of(cls: type) -> int:
    """Where a class's first method stands; 1 if it has none. Its own line is not kept by Python 3.11."""
    lines = [value.__code__.co_firstlineno for value in vars(cls).values() if inspect.isfunction(value)]
    return min(lines, default=1)


def _text(error: BaseException) -> str:
    try:
        return str(error)[:_TEXT_LIMIT]
    except Exception as broken:  # noqa: BLE001 - a script's own exception class may do anything
        return f"its text can't be had: {type(broken).__name__}"
