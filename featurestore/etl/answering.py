"""What every ETL worker does with a request, however it is sealed and however it is asked."""

from __future__ import annotations

import contextlib
import importlib
import platform
import sys
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from featurestore.etl.deciding import Deciding, ResultsDiffer
from featurestore.etl.frozen_clock import freeze
from featurestore.etl.packages import Guard
from featurestore.etl.script import Script, ScriptFailed, failure_outside_the_script
from featurestore.etl.wire import decode_tables, schema_from_text


class Answering:
    """Keeps the one script of a worker and runs it on request.

    Attributes:
        loaded: it has its script.
    """

    def __init__(self, *, sealed: bool) -> None:
        self._script: Script | None = None
        self._guard: Guard | None = None
        self._sealed = sealed

    @property
    def loaded(self) -> bool:
        """The script compiled, and has an ETL."""
        return self._script is not None

    def answer(self, header: dict[str, Any], body: pa.Buffer) -> tuple[dict[str, Any], list[pa.Table]]:
        """The header of a reply, and the tables that follow it: none if the script failed.

        A request without batches only loads the script, to tell what it declares.
        """
        try:
            try:
                if self._guard is None:
                    self._guard = Guard(header["modules_allowed"])
                    self._guard.install()
                if self._script is None:
                    for source in (header["script"]["source"], *header["script"]["modules"].values()):
                        self._guard.note(source)
                    if (clock := header.get("clock")) is not None:
                        freeze(clock)
                    self._script = Script(**header["script"], sealed=self._sealed)
                reply, results = _run(self._script, header, body)
            except (MemoryError, OSError) as error:
                raise failure_outside_the_script(error) from error
        except ScriptFailed as failed:
            return {"failed": as_json(failed)}, []
        return {**reply, "imported": self._guard.imported}, results


def libraries() -> dict[str, str]:
    """The versions that a result depends on; that of polars where it is installed."""
    versions = {
        "python": platform.python_version(),
        "pandas": pd.__version__,
        "pyarrow": pa.__version__,
        "numpy": np.__version__,
        "duckdb": duckdb.__version__,
    }
    if (polars := sys.modules.get("polars")) is not None:
        versions["polars"] = polars.__version__
    return versions


def warm_up() -> None:
    """Make the libraries import what they import late, and open what can't be opened under a seal: DuckDB asks /proc.

    Polars is loaded and not used: it would start threads, which a fork does not have.
    """
    table = pa.table({"i": [1, None], "s": ["a", None], "f": [0.5, None], "b": [True, None]})
    for base, body in (
        ("AbstractEtl", "def extract(self): return self.df"),
        ("ArrowEtl", "def extract(self): return self.table"),
        ("SqlEtl", "sql = 'select *, i + 1 as more from input order by i'"),
    ):
        source = f"from etl_abc import {base}\nclass Etl({base}):\n    {body}\n"
        script = Script(source, "warm_up.py", "Etl", {}, sealed=False)
        features, _ = script.run(table, None)
        script.run(table, features.schema)
    with contextlib.suppress(ImportError):
        importlib.import_module("polars")


def as_json(failed: ScriptFailed) -> dict[str, Any]:
    """A failure as the service's `reported` reads it."""
    return {
        "kind": failed.kind,
        "message": failed.message,
        "details": failed.details,
        "differences": [difference.as_dict() for difference in failed.differences],
    }


def output_too_large(limit: int) -> ScriptFailed:
    """The failure of a result over the limit, in bytes."""
    return ScriptFailed(
        "output", f"the ETL's result is over the limit of {limit} bytes", {"limit": str(limit)}
    )


def _run(script: Script, header: dict[str, Any], body: pa.Buffer) -> tuple[dict[str, Any], list[pa.Table]]:
    declared = script.declared.as_dict()
    if not header["batches"]:
        return {"declared": declared}, []
    contract = schema_from_text(header["contract"]) if header["contract"] else None
    tables = decode_tables(header["batches"], body)
    undecided: tuple[str, ...] = ()
    if contract is None and len(tables) > 1:
        contract, undecided = _decided(script, tables)
    results: list[pa.Table] = []
    size = 0
    for position, table in enumerate(tables):
        features, own = _at(position, script, table, contract)
        undecided = undecided or own
        size += features.nbytes
        if size > header["output_bytes"]:
            raise output_too_large(header["output_bytes"])
        results.append(features)
    counts = [len(table.to_batches()) for table in results]
    return {"declared": declared, "batches": counts, "undecided": undecided}, results


def _decided(script: Script, tables: list[pa.Table]) -> tuple[pa.Schema, tuple[str, ...]]:
    """The one schema of the results of several tables, found by a run on each, and what is still not decided."""
    deciding = Deciding()
    for position, table in enumerate(tables):
        try:
            deciding.add(*_at(position, script, table, None))
        except ResultsDiffer as error:
            raise ScriptFailed("contract", str(error), {"batch": str(position)}, error.differences) from error
    return deciding.schema, deciding.undecided


def _at(
    position: int, script: Script, table: pa.Table, contract: pa.Schema | None
) -> tuple[pa.Table, tuple[str, ...]]:
    try:
        return script.run(table, contract)
    except ScriptFailed as failed:
        failed.details["batch"] = str(position)
        raise
