"""`warm`, and how kept answers are shown."""

from __future__ import annotations

from dataclasses import asdict

import click

from featurestore.cli.keys import parse_index_key, parse_keys
from featurestore.cli.output import print_json
from featurestore.cli.session import Session, store_options
from featurestore.model.warming import CacheReport, CacheUse


@click.command()
@click.argument("query")
@click.option(
    "--index-key", metavar="A,B", help="The column or columns that it is served by; for all its keys."
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Only this index value: user_id=7, composite a=1,b=2, or JSON. Repeat for more values.",
)
@click.option(
    "--keep/--no-keep",
    default=None,
    help="From now on, compute answers that writes spoil again behind them; or no longer, computing nothing now.",
)
@click.option("--rows", is_flag=True, help="Plain rows, as generated stubs may ask for, instead of Arrow.")
@store_options
def warm(
    session: Session, query: str, index_key: str | None, keys: tuple[str, ...], keep: bool | None, rows: bool
) -> None:
    """Have answers of a saved QUERY (id or name) kept before anybody asks, for all keys or for some.

    It stands behind serving and publishing, and lets nothing go that is kept already.
    """
    if bool(keys) == (index_key is not None):
        raise click.UsageError("give --index-key for all keys, or --key for some.")
    asked = parse_keys(keys) if keys else None
    with session.opened() as store:
        done = store.warm(
            query,
            asked.index_key if asked else parse_index_key(index_key) or "",
            asked.values if asked else None,
            keep=keep,
            rows=rows,
            timeout=session.timeout,
        )
    if session.json:
        print_json(asdict(done))
        return
    told = [
        f"{done.kept:,} answers kept, {done.already_there:,} were there",
        *([f"{done.no_room:,} found no room"] if done.no_room else []),
        *([f"{done.overtaken:,} were overtaken by writes"] if done.overtaken else []),
    ]
    click.echo("; ".join(told))


def use_fields(use: CacheUse) -> dict[str, object]:
    """How a query's kept answers fare, for programs."""
    return {**asdict(use), "kept_up": use.kept_up.value, "hit_rate": use.hit_rate}


def cache_fields(report: CacheReport) -> dict[str, object]:
    """The answer cache, for programs."""
    return {**asdict(report), "kept_up": [use_fields(use) for use in report.kept_up]}


def cache_text(report: CacheReport) -> str:
    """The answer cache in a line, and one for each query that is kept warm."""
    asked = report.hits + report.misses
    rate = report.hits / asked if asked else 0
    whole = (
        f"{report.entries:,} answers with {report.size_bytes:,} of {report.limit_bytes:,} bytes; "
        f"{rate:.0%} of {asked:,} keys from the cache"
    )
    kept_up = [f"{use.query_id} by {', '.join(use.index_key)}: {use}" for use in report.kept_up]
    return "\n".join([whole, *kept_up])
