"""`publish`, `tables`, `delete`, `drop`: what the store holds."""

from __future__ import annotations

import time
from pathlib import Path

import click

from featurestore.cli.files import read_table
from featurestore.cli.keys import parse_columns, parse_keys
from featurestore.cli.output import columns, print_fields, print_json, print_table, took
from featurestore.cli.session import Session, store_options
from featurestore.client.results import TableShown
from featurestore.model.errors import InvalidArgument, NotFound
from featurestore.model.table import Version

_EMPTY = """\
The store has no tables yet. Publish a file:

  featurestore publish users users.parquet --primary-key user_id

or simulated customers: featurestore demo
"""


@click.command()
@click.argument("table")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--primary-key", metavar="A,B", help="Columns; a publish is then an upsert. Default: as the table has it."
)
@click.option("--event-time", metavar="C", help="The column that says when a row became true.")
@store_options
def publish(
    session: Session, table: str, file: Path, primary_key: str | None, event_time: str | None
) -> None:
    """Publish the rows of FILE into TABLE, and make the table if it is new.

    FILE is csv, parquet, JSON lines (jsonl, ndjson, json) or Arrow (arrow, feather). When the command ends, the rows
    are durable and visible to every read.
    """
    began = time.perf_counter()
    with session.opened(make=True) as store:
        try:
            known = store.get_table(table, timeout=session.timeout).schema
        except NotFound:
            known = None
        rows = read_table(file, known)
        done = store.publish(
            table,
            rows,
            primary_key=parse_columns(primary_key),
            event_time=event_time,
            timeout=session.timeout,
        )
    if session.json:
        print_json({"table": table, "rows": done.rows, "version": version_fields(done.version)})
    else:
        made = " (new)" if known is None else ""
        click.echo(f"{done.rows:,} rows into {table}{made}: version {done.version.sequence:,}, {took(began)}")


@click.command()
@click.argument("table", required=False)
@store_options
def tables(session: Session, table: str | None) -> None:
    """List the tables, or show one with its columns."""
    with session.opened() as store:
        if table is not None:
            _show(session, store.get_table(table, timeout=session.timeout))
            return
        found = store.list_tables(timeout=session.timeout)
    if session.json:
        for each in found:
            print_json(_fields(each))
    elif found:
        header = ("table", "rows", "primary key", "event time", "columns")
        print_table(
            header, [(t.name, t.row_count, t.primary_key, t.event_time, tuple(t.schema.names)) for t in found]
        )
    else:
        click.echo(_EMPTY, nl=False)


@click.command()
@click.argument("table")
@click.option(
    "--key", "keys", multiple=True, required=True, metavar="COLUMN=VALUE", help="A row's primary key; repeat."
)
@store_options
def delete(session: Session, table: str, keys: tuple[str, ...]) -> None:
    """Delete rows of TABLE by primary key; a key without a row is no error."""
    asked = parse_keys(keys)
    with session.opened() as store:
        primary_key = store.get_table(table, timeout=session.timeout).primary_key
        if set(asked.columns) != set(primary_key):
            raise InvalidArgument(
                "NO_PRIMARY_KEY" if not primary_key else "KEY_WIDTH",
                f"table {table} has the primary key ({', '.join(primary_key)}), --key names"
                f" ({', '.join(asked.columns)})"
                if primary_key
                else f"table {table} has no primary key, so its rows can't be named",
                table=table,
            )
        done = store.delete(table, asked.tuples(primary_key), timeout=session.timeout)
    if session.json:
        print_json({"table": table, "keys": done.rows, "version": version_fields(done.version)})
    else:
        click.echo(f"{done.rows:,} keys deleted from {table}: version {done.version.sequence:,}")


@click.command()
@click.argument("table")
@click.option("--force", is_flag=True, help="Even though saved queries read it.")
@store_options
def drop(session: Session, table: str, force: bool) -> None:
    """Drop TABLE and its rows."""
    with session.opened() as store:
        version = store.drop_table(table, force=force, timeout=session.timeout)
    if session.json:
        print_json({"table": table, "version": version_fields(version)})
    else:
        click.echo(f"{table} dropped: version {version.sequence:,}")


def version_fields(version: Version) -> dict[str, object]:
    """A version for JSON output."""
    return {"log_id": version.log_id, "sequence": version.sequence}


def _fields(table: TableShown) -> dict[str, object]:
    return {
        "table": table.name,
        "rows": table.row_count,
        "primary_key": table.primary_key,
        "event_time": table.event_time,
        "columns": columns(table.schema),
        "version": version_fields(table.version),
    }


def _show(session: Session, table: TableShown) -> None:
    if session.json:
        print_json(_fields(table))
        return
    print_fields(
        {
            "table": table.name,
            "rows": table.row_count,
            "primary key": table.primary_key,
            "event time": table.event_time,
            "version": table.version.sequence,
            "columns": table.schema,
        }
    )
