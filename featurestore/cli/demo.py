"""`featurestore demo`: the whole story on real parts, from published rows to proof, each step with its Python call."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
import pyarrow as pa
import pyarrow.compute as pc

import featurestore
from featurestore.cli.asking import print_rows
from featurestore.cli.datasets import DATASETS, DemoTexts, demo_texts
from featurestore.cli.datasets.flights import load_flights
from featurestore.cli.output import print_table, to_json, took
from featurestore.client.sync import Store
from featurestore.client.verified import Verified

QUERY, ETL = "demo_query", "demo_etl"
_SAMPLE = 100
_SHOWN_ROWS, _SHOWN_COLUMNS = 3, 4
_CALLS = 20

T = TypeVar("T")


@click.command()
@click.option("--dataset", type=click.Choice(DATASETS), default="insurance", show_default=True)
@click.option(
    "--flows",
    type=click.IntRange(1, 100_000),
    default=500,
    show_default=True,
    help="Customers to simulate (insurance).",
)
@click.option(
    "--store",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder of the store. Default: a new temporary one.",
)
def demo(dataset: str, flows: int, folder: Path | None) -> None:
    """Publish, train, save, serve and verify: the whole story in local mode.

    On simulated insurance customers, or on the 336,776 flights that left New York in 2013. Ends with how many index
    values agree between training and serving; the exit code is 1 unless all do.
    """
    work = Path(tempfile.mkdtemp(prefix="featurestore-demo-"))
    place = folder or work / "store"
    texts = demo_texts(dataset)
    click.echo(f"The store is in {place}")
    click.secho(f'>>> store = featurestore.local("{place}")', fg="cyan")
    with featurestore.local(place) as store:
        if dataset == "flights":
            _publish_flights(store)
        else:
            _publish_customers(store, flows)
        value = _train(store, texts)
        _train_etl(store, texts, work / "features")
        _serve(store, texts.index_key, value)
        agreed, checked = _verify(store, texts.index_key)
    click.echo(f"\nLook around: featurestore tables --store '{place}'")
    click.echo(f"{agreed} of {checked} keys agree (query and ETL)")
    if agreed != checked or not checked:
        click.get_current_context().exit(1)


def commit_script(repository: Path, text: str) -> str:
    """Make a git repository with the script in it, and return the script's address."""
    from dulwich import porcelain  # noqa: PLC0415 - slow to load, and no other command needs it

    me = b"featurestore demo <demo@example.invalid>"
    with porcelain.init(repository) as made:
        script = repository / "etl.py"
        script.write_text(text, encoding="utf-8")
        porcelain.add(made, [script])
        porcelain.commit(made, b"Features for the demo", author=me, committer=me, sign=False, no_verify=True)
    return f"git+{repository.absolute().as_uri()}#etl.py"


def _publish_customers(store: Store, flows: int) -> None:
    _title("1. Publish simulated insurance customers, each one an atomic version")
    _do(f"store.publish_demo(n_flows={flows}, seed=1)", lambda: store.publish_demo(flows, 1))
    print_table(("table", "rows"), [(table.name, table.row_count) for table in store.list_tables()])


def _publish_flights(store: Store) -> None:
    _title("1. Publish the flights of 2013 out of New York, and what is known around them")
    published: list[tuple[str, int]] = []
    for name, given in load_flights().items():
        key = list(given.primary_key)
        when = "" if given.event_time is None else f', event_time="{given.event_time}"'
        done = _do(
            f'store.publish("{name}", {name}, primary_key={key}{when})',
            partial(store.publish, name, given.table, primary_key=key, event_time=given.event_time),
        )
        published.append((name, done.rows))
    print_table(("table", "rows"), published)


def _train(store: Store, texts: DemoTexts) -> object:
    """Returns an index value that has rows."""
    _title("2. Query for training, and save the query")
    trained = _do(
        f'trained = store.query_train(sql, save=True, name="{QUERY}", index_key="{texts.index_key}")',
        lambda: store.query_train(texts.query, save=True, name=QUERY, index_key=texts.index_key),
    )
    rows = _do("trained.to_arrow()", trained.to_arrow)
    _show(rows, f"{rows.num_rows:,} rows; the query is {trained.query_id}")
    if trained.explanation is not None:
        click.echo(f"served by {texts.index_key}: {trained.explanation.verdict}")
    return pc.drop_null(rows[texts.index_key])[0].as_py()


def _train_etl(store: Store, texts: DemoTexts, repository: Path) -> None:
    _title("3. Write the ETL and commit it to a git repository")
    address = commit_script(repository, texts.etl)
    click.echo(address)

    _title("4. Extract features for training, and save the ETL with the schema that it produced")
    features = _do(
        f'features = store.extract_train("{QUERY}", "{address}", save=True, name="{ETL}")',
        lambda: store.extract_train(QUERY, address, save=True, name=ETL, index_key=texts.index_key),
    )
    rows = features.to_arrow()
    _show(rows, f"{rows.num_rows:,} rows; the ETL is {features.etl_id}")


def _serve(store: Store, index_key: str, value: object) -> None:
    query_id, etl_id = store.get_query(QUERY).query_id, store.get_etl(ETL).etl_id

    _title("5. Serve the query by its id, live")
    _do_often(
        f'store.query_realtime("{query_id}", index_key="{index_key}", index_value={to_json(value)})',
        lambda: store.query_realtime(query_id, index_key=index_key, index_value=value).to_arrow(),
    )

    _title("6. Serve the ETL by its id, live")
    _do_often(
        f'store.extract_realtime("{query_id}", "{etl_id}", index_key="{index_key}", index_value={to_json(value)})',
        lambda: store.extract_realtime(query_id, etl_id, index_key=index_key, index_value=value).to_arrow(),
    )


def _verify(store: Store, index_key: str) -> tuple[int, int]:
    """Verify both, and return how many keys agree in both, of how many."""
    _title(
        "7. Verify: serve a sample of keys through the real path and compare it with training, value by value"
    )
    reports: list[Verified] = [
        _do(
            f'store.verify("{QUERY}", index_key="{index_key}", sample={_SAMPLE})',
            lambda: store.verify(QUERY, index_key=index_key, sample=_SAMPLE),
        ),
        _do(
            f'store.verify("{QUERY}", "{ETL}", index_key="{index_key}", sample={_SAMPLE})',
            lambda: store.verify(QUERY, ETL, index_key=index_key, sample=_SAMPLE),
        ),
    ]
    print_table(
        ("", "agree", "checked", "skipped"),
        [(name, r.agreed, r.checked, r.skipped) for name, r in zip(("query", "ETL"), reports, strict=True)],
    )
    for report in reports:
        if not report.consistent:
            click.echo(repr(report))
    # Both look at a sample of their own, so a key that fails in either counts against the smaller one.
    checked = min(report.checked for report in reports)
    failed = sum(report.checked - report.agreed for report in reports)
    return max(0, checked - failed), checked


def _title(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _do(call: str, work: Callable[[], T]) -> T:
    """Show the call, make it, and show the time that it took."""
    click.secho(f">>> {call}", fg="cyan")
    began = time.perf_counter()
    result = work()
    click.secho(took(began), dim=True)
    return result


def _do_often(call: str, work: Callable[[], pa.Table]) -> None:
    """Show the call, make it some times, and show its rows and times."""
    click.secho(f">>> {call}", fg="cyan")
    seconds = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        rows = work()
        seconds.append(time.perf_counter() - began)
    _show(rows, f"{seconds[0] * 1000:.1f} ms, then {statistics.median(seconds[1:]) * 1000:.1f} ms")


def _show(rows: pa.Table, caption: str) -> None:
    shown = rows.slice(0, _SHOWN_ROWS).select(range(min(rows.num_columns, _SHOWN_COLUMNS)))
    more = rows.num_columns - shown.num_columns
    print_rows(shown, f"{caption}{f' ({more} more columns)' if more else ''}")
