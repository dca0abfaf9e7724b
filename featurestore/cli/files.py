"""Files of rows: read for a publish, written for `-o`. The ending says the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from featurestore.cli.output import json_lines
from featurestore.model.errors import InvalidArgument

_COMPRESSED = {".gz", ".bz2", ".zst", ".lz4"}
_JSON = {".jsonl", ".ndjson", ".json"}
_ARROW = {".arrow", ".feather", ".ipc"}
_FORMATS = "csv, parquet, jsonl, ndjson, json (one object a line), arrow, feather"

Writer = Callable[[pa.RecordBatch], None]


def read_table(path: Path, known: pa.Schema | None) -> pa.Table:
    """The rows in a file.

    Args:
        known: the table's schema if it exists. CSV and JSON take their types from it, so that `007` stays a string
            where the table says so; columns that it lacks, and all of a new table, have the types that pyarrow infers.

    Raises:
        InvalidArgument: `FILE_FORMAT`, `BAD_FILE`.
    """
    kind = _kind(path)
    try:
        if kind == ".csv":
            types = {} if known is None else {field.name: field.type for field in known}
            return pa_csv.read_csv(path, convert_options=pa_csv.ConvertOptions(column_types=types))
        if kind in _JSON:
            return pa_json.read_json(path, parse_options=pa_json.ParseOptions(explicit_schema=known))
        if kind in _ARROW:
            return _read_arrow(path)
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgument("BAD_FILE", f"{path} can't be read: {error}", path=path) from error


@contextmanager
def writing(path: Path, schema: pa.Schema) -> Iterator[Writer]:
    """Write batches of this schema into a file that appears, whole, when the context ends without an error.

    Raises:
        InvalidArgument: `FILE_FORMAT`, `BAD_FILE`.
    """
    kind = _kind(path)
    if path.suffix != kind:
        raise InvalidArgument(
            "FILE_FORMAT", f"{path} would be compressed, which -o does not do: end it in {kind}", path=path
        )
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as sink, _open_writer(sink, kind, schema) as write:
            yield write
        draft.replace(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgument("BAD_FILE", f"{path} can't be written: {error}", path=path) from error
    finally:
        draft.unlink(missing_ok=True)


def check_ending(path: Path) -> None:
    """Refuse a file whose ending names no format, before any work is done.

    Raises:
        InvalidArgument: `FILE_FORMAT`.
    """
    _kind(path)


@contextmanager
def _open_writer(sink: IO[bytes], kind: str, schema: pa.Schema) -> Iterator[Writer]:
    if kind in _JSON:

        def write(batch: pa.RecordBatch) -> None:
            _write_lines(sink, json_lines(batch))

        yield write
        return
    writer: Any
    if kind == ".csv":
        writer = pa_csv.CSVWriter(sink, schema)
    elif kind in _ARROW:
        writer = pa.ipc.new_file(sink, schema)
    else:
        writer = pq.ParquetWriter(sink, schema)
    with writer:
        yield writer.write_batch


def _write_lines(sink: IO[bytes], lines: Iterable[str]) -> None:
    sink.writelines(line.encode() + b"\n" for line in lines)


def _read_arrow(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        try:
            with pa.ipc.open_file(source) as reader:
                return reader.read_all()
        except pa.ArrowInvalid:  # not a file with a footer, but perhaps a stream
            source.seek(0)
            with pa.ipc.open_stream(source) as reader:
                return reader.read_all()


def _kind(path: Path) -> str:
    endings = [ending.lower() for ending in path.suffixes]
    if len(endings) > 1 and endings[-1] in _COMPRESSED and endings[-2] in {".csv", *_JSON}:
        return endings[-2]
    if endings and endings[-1] in {".csv", ".parquet", *_JSON, *_ARROW}:
        return endings[-1]
    raise InvalidArgument(
        "FILE_FORMAT", f"the ending of {path} names no format: the formats are {_FORMATS}", path=path
    )
