"""`query`, `extract`, `explain`, `verify`: the verbs of training and serving."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from featurestore.cli.files import check_ending, writing
from featurestore.cli.keys import AskedKeys, parse_index_key, parse_keys
from featurestore.cli.output import columns, json_lines, print_json, print_table, took
from featurestore.cli.session import Session, store_options
from featurestore.cli.tables import version_fields
from featurestore.cli.warming import use_fields
from featurestore.client.progress import Progress
from featurestore.client.results import Served
from featurestore.client.training import TrainedEtl, TrainedQuery
from featurestore.client.verified import Verified
from featurestore.model.errors import InvalidArgument

_PREVIEW = 20

_save = click.option(
    "--save", is_flag=True, help="Save it; prints the id. The same content again is the same id."
)
_name = click.option("--name", help="The name to save it under.")
_index_key = click.option(
    "--index-key", metavar="A,B", help="The column or columns that it will be served by."
)
_needed_index_key = click.option(
    "--index-key", metavar="A,B", required=True, help="The column or columns that it is served by."
)
_output = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all rows into a file: parquet, csv, jsonl or arrow, by its ending.",
)
_key = click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    metavar="COLUMN=VALUE",
    help="An index value: user_id=7, composite a=1,b=2, or JSON. Repeat for more values.",
)


@click.group()
def query() -> None:
    """Run a query: in training, or live for some index values."""


@click.group()
def extract() -> None:
    """Run a query and an ETL: in training, or live for some index values."""


@query.command("train")
@click.argument("sql", metavar="SQL|@FILE|NAME")
@_save
@_name
@_index_key
@_output
@store_options
def query_train(
    session: Session, sql: str, save: bool, name: str | None, index_key: str | None, output: Path | None
) -> None:
    """Run a query on the warehouse, over everything published so far.

    The query is SQL, a file with SQL (@query.sql), or a saved query's id or name. Prints the first rows; with --json
    all rows, a JSON object a line. With --save or -o, --json prints one object about the result instead.
    """
    _check_saving(save, name, output)
    with session.opened() as store:
        trained = store.query_train(
            _text(sql),
            save=save,
            name=name,
            index_key=parse_index_key(index_key),
            timeout=session.timeout,
        )
        _show_training(session, trained, {"query_id": trained.query_id}, save, output)


@query.command("realtime")
@click.argument("query")
@_key
@store_options
def query_realtime(session: Session, query: str, keys: tuple[str, ...]) -> None:
    """Serve a saved QUERY (id or name): the rows that training would show for each index value."""
    asked = parse_keys(keys)
    began = time.perf_counter()
    with session.opened() as store:
        served = store.query_realtime(
            query, index_key=asked.index_key, index_values=asked.values, timeout=session.timeout
        )
    _show_served(session, asked, served, began)


@extract.command("train")
@click.argument("query")
@click.argument("etl")
@_save
@_name
@_index_key
@_output
@store_options
def extract_train(
    session: Session,
    query: str,
    etl: str,
    save: bool,
    name: str | None,
    index_key: str | None,
    output: Path | None,
) -> None:
    """Run a saved QUERY on the warehouse, then ETL over all of its rows.

    ETL is a path to a script, git+https://host/org/repo.git@ref#path/to/etl.py, a GitHub or GitLab file link, or a saved
    ETL's id or name. Output is as with `query train`.
    """
    _check_saving(save, name, output)
    with session.opened() as store:
        trained = store.extract_train(
            query,
            etl,
            save=save,
            name=name,
            index_key=parse_index_key(index_key),
            timeout=session.timeout,
        )
        _show_training(
            session, trained, {"etl_id": trained.etl_id, "query_id": trained.query_id}, save, output
        )


@extract.command("realtime")
@click.argument("query")
@click.argument("etl")
@_key
@store_options
def extract_realtime(session: Session, query: str, etl: str, keys: tuple[str, ...]) -> None:
    """Serve a saved ETL of a saved QUERY (ids or names): the features of each index value."""
    asked = parse_keys(keys)
    began = time.perf_counter()
    with session.opened() as store:
        served = store.extract_realtime(
            query, etl, index_key=asked.index_key, index_values=asked.values, timeout=session.timeout
        )
    _show_served(session, asked, served, began)


@click.command()
@click.argument("query")
@_needed_index_key
@store_options
def explain(session: Session, query: str, index_key: str) -> None:
    """Show how a saved QUERY is served by an index key: which tables are read by index, and why others are not."""
    with session.opened() as store:
        found = store.explain(query, index_key=parse_index_key(index_key) or "", timeout=session.timeout)
    if session.json:
        fields = ("table", "alias", "narrowed_on", "index", "estimated_rows", "stopped_by")
        print_json(
            {
                "query_id": found.query_id,
                "index_key": found.index_key,
                "verdict": found.verdict,
                "cacheable": found.cacheable,
                "not_cacheable_because": found.not_cacheable_because,
                "occurrences": [{name: getattr(each, name) for name in fields} for each in found.occurrences],
                "warnings": [
                    {"reason": warned.reason, "message": warned.message} for warned in found.warnings
                ],
                "plan": found.plan,
                "cache": None if found.cache is None else use_fields(found.cache),
            }
        )
        return
    kept = "cacheable" if found.cacheable else f"not cacheable: {found.not_cacheable_because}"
    print_table(
        ("table", "alias", "narrowed on", "index", "estimated rows", "stopped by"),
        [
            (o.table, o.alias, o.narrowed_on or "-", o.index or "scan", o.estimated_rows, o.stopped_by)
            for o in found.occurrences
        ],
        f"{found.query_id} by {', '.join(found.index_key)}: {found.verdict}; {kept}",
    )
    if found.cache is not None:
        click.echo(f"cache: {found.cache}")
    for warned in found.warnings:
        click.echo(f"warning: {warned.message}")


@click.command()
@click.argument("query")
@click.argument("etl", required=False)
@_needed_index_key
@click.option(
    "--sample", type=int, default=100, show_default=True, help="Keys to take from training, 1 to 10,000."
)
@click.option(
    "--exact", is_flag=True, help="Floats must be equal to the last bit; else within 1e-9 relative."
)
@store_options
def verify(session: Session, query: str, etl: str | None, index_key: str, sample: int, exact: bool) -> None:
    """Serve sampled keys and compare them with training, by value; the exit code is 1 unless all agree.

    With ETL the features are compared, without it the rows of QUERY.
    """
    with session.opened() as store:
        report = store.verify(
            query,
            etl,
            index_key=parse_index_key(index_key) or "",
            sample=sample,
            exact=exact,
            timeout=session.timeout,
        )
    if session.json:
        print_json(report_fields(report))
    else:
        print_report(report, floats=True)
    if not report.consistent:
        click.get_current_context().exit(1)


def report_fields(report: Verified) -> dict[str, object]:
    """What verifying found, for programs."""
    fields = ("key", "column", "trained", "served", "cause")
    return {
        "consistent": report.consistent,
        "checked": report.checked,
        "agreed": report.agreed,
        "skipped": report.skipped,
        "differences": [{name: getattr(each, name) for name in fields} for each in report.differences],
        "version": version_fields(report.version),
        "remarks": report.remarks,
        "exact": report.exact,
        "float_values": report.float_values,
        "bitwise_equal": report.bitwise_equal,
        "largest_error": report.largest_error,
    }


def print_report(report: Verified, title: str = "", *, floats: bool = False) -> None:
    """What verifying found, for people; `title` stands before the last line, how near floats are above it."""
    if report.differences:
        print_table(
            ("key", "column", "trained", "served", "cause"),
            [(d.key, d.column, d.trained, d.served, d.cause) for d in report.differences],
        )
    for remark in report.remarks:
        click.echo(remark)
    if floats and report.floats:
        click.echo(report.floats)
    click.echo(f"{title}{report.summary}")


def _text(sql: str) -> str:
    """The query itself: `@file` is read.

    Raises:
        InvalidArgument: `BAD_FILE`.
    """
    if not sql.startswith("@"):
        return sql
    try:
        return Path(sql[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument("BAD_FILE", f"{sql[1:]} can't be read: {error}", path=sql[1:]) from error


def _check_saving(save: bool, name: str | None, output: Path | None) -> None:
    if name is not None and not save:
        raise click.UsageError("--name names what is saved: give --save too.")
    if output is not None:
        check_ending(output)


def _show_training(
    session: Session,
    trained: TrainedQuery | TrainedEtl,
    ids: dict[str, str],
    save: bool,
    output: Path | None,
) -> None:
    """Rows into a file, as JSON lines, or the first of them as a table; and what was saved."""
    began = time.perf_counter()
    warnings = trained.warnings if isinstance(trained, TrainedQuery) else ()
    rows = None
    if output is not None:
        with writing(output, trained.schema) as write:
            rows = sum(_written(write, batch) for batch in _followed(trained))
    if session.json:
        if not save and output is None:
            for batch in _followed(trained):
                for line in json_lines(batch):
                    click.echo(line)
            return
        found: dict[str, object] = {
            **{name: value for name, value in ids.items() if value},
            "version": version_fields(trained.version),
            "columns": columns(trained.schema),
            "warnings": [{"reason": warned.reason, "message": warned.message} for warned in warnings],
        }
        print_json(found if output is None else {**found, "rows": rows, "file": str(output)})
        return
    if output is None:
        _print_first(trained)
    else:
        click.echo(f"{rows:,} rows into {output}, {took(began)}")
    if save:
        click.echo("saved as " + next(filter(None, ids.values())))
    for warned in warnings:
        click.echo(f"warning: {warned.message}")


def _followed(trained: TrainedQuery | TrainedEtl) -> Iterator[pa.RecordBatch]:
    """The batches, with progress shown."""
    with Progress() as progress:
        for batch in trained:
            yield batch
            progress.add(batch.num_rows)


def _written(write: Any, batch: pa.RecordBatch) -> int:
    write(batch)
    return int(batch.num_rows)


def _print_first(trained: TrainedQuery | TrainedEtl) -> None:
    first: list[pa.RecordBatch] = []
    for batch in trained:
        first.append(batch)
        if sum(each.num_rows for each in first) > _PREVIEW:
            break
    table = pa.Table.from_batches(first, trained.schema)
    if table.num_rows > _PREVIEW:
        caption = (
            f"the first {_PREVIEW} rows at version {trained.version.sequence:,}; all: --json, or -o FILE"
        )
    else:
        caption = f"{table.num_rows} rows at version {trained.version.sequence:,}"
    print_rows(table.slice(0, _PREVIEW), caption)


def print_rows(table: pa.Table, caption: str = "") -> None:
    """Rows as a table."""
    print_table(table.column_names, [list(row.values()) for row in table.to_pylist()], caption)


def _show_served(session: Session, asked: AskedKeys, served: Served, began: float) -> None:
    if session.json:
        for line in json_lines(served.to_arrow()):
            click.echo(line)
        return
    absent = [str(answer.key) for answer in served.answers if answer.outcome == "absent"]
    missing = f"; absent: {', '.join(absent[:_PREVIEW])}" if absent else ""
    cached = ", from cache" if served.info.from_cache or served.info.features_from_cache else ""
    others = ", ".join(map(str, served.info.library_differences))
    print_rows(
        served.to_arrow(),
        f"{len(served.answers) - len(absent)} of {len(asked.values)} values found{missing}"
        f" (version {served.info.data_version.sequence:,}, {took(began)}{cached})"
        + (f"; other libraries than at the save: {others}" if others else ""),
    )
