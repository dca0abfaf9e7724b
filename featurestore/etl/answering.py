"""What every ETL worker does with a request, however it is sealed and however it is asked."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from featurestore.etl.packages import Guard
from featurestore.etl.script import Script, ScriptFailed, failure_outside_the_script
from featurestore.etl.types import from_pandas, to_pandas
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
        """The header of a reply, and the tables that follow it: none if the script failed."""
        try:
            try:
                if self._guard is None:
                    self._guard = Guard(header["modules_allowed"])
                    self._guard.install()
                if self._script is None:
                    self._guard.note(header["script"]["source"])
                    self._script = Script(**header["script"], sealed=self._sealed)
                reply, results = _run(self._script, header, body)
            except (MemoryError, OSError) as error:
                raise failure_outside_the_script(error) from error
        except ScriptFailed as failed:
            return {"failed": as_json(failed)}, []
        return {**reply, "imported": self._guard.imported}, results


def libraries() -> dict[str, str]:
    """The versions that a result depends on."""
    return {
        "python": platform.python_version(),
        "pandas": pd.__version__,
        "pyarrow": pa.__version__,
        "numpy": np.__version__,
    }


def warm_up() -> None:
    """Make pandas and pyarrow import what they import late, before a caller waits for it."""
    table = pa.table({"i": [1, None], "s": ["a", None], "f": [0.5, None], "b": [True, None]})
    from_pandas(to_pandas(table), input_schema=table.schema)


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
    contract = schema_from_text(header["contract"]) if header["contract"] else None
    results: list[pa.Table] = []
    undecided: tuple[str, ...] = ()
    size = 0
    for position, table in enumerate(decode_tables(header["batches"], body)):
        try:
            features, undecided = script.run(table, contract)
        except ScriptFailed as failed:
            failed.details["batch"] = str(position)
            raise
        size += features.nbytes
        if size > header["output_bytes"]:
            raise output_too_large(header["output_bytes"])
        results.append(features)
    return {"batches": [len(table.to_batches()) for table in results], "undecided": undecided}, results
