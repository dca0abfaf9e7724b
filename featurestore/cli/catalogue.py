"""`queries`, `etls`, `status`: what the store knows."""

from __future__ import annotations

import click

from featurestore.cli.asking import report_fields
from featurestore.cli.output import columns, print_fields, print_json, print_table
from featurestore.cli.session import Session, store_options
from featurestore.cli.tables import version_fields
from featurestore.cli.warming import cache_fields, cache_text
from featurestore.client.results import SavedEtl, SavedQuery
from featurestore.client.verified import Verified


@click.command()
@click.argument("query", required=False)
@store_options
def queries(session: Session, query: str | None) -> None:
    """List the saved queries, or show one, by id or name, with its SQL."""
    with session.opened() as store:
        if query is not None:
            _show_query(session, store.get_query(query, timeout=session.timeout))
            return
        found = store.list_queries(timeout=session.timeout)
    if session.json:
        for each in found:
            print_json(_query_fields(each))
    elif found:
        print_table(
            ("query", "names", "tables", "index keys", "saved at", "verified"),
            [
                (q.query_id, q.names, q.tables, _keys(q.index_keys), q.created_at, _verified(q.verified))
                for q in found
            ],
        )
    else:
        click.echo("No query is saved yet: featurestore query train 'SELECT ...' --save --name my_query")


@click.command()
@click.argument("etl", required=False)
@store_options
def etls(session: Session, etl: str | None) -> None:
    """List the saved ETLs, or show one, by id or name, with its contract."""
    with session.opened() as store:
        if etl is not None:
            _show_etl(session, store.get_etl(etl, timeout=session.timeout))
            return
        found = store.list_etls(timeout=session.timeout)
    if session.json:
        for each in found:
            print_json(_etl_fields(each))
    elif found:
        print_table(
            ("etl", "names", "query", "path", "saved at", "verified"),
            [
                (e.etl_id, e.names, e.query_id, e.provenances[0].path, e.created_at, _verified(e.verified))
                for e in found
            ],
        )
    else:
        click.echo(
            "No ETL is saved yet: featurestore extract train QUERY path/to/etl.py --save --name my_etl"
        )


@click.command()
@store_options
def status(session: Session) -> None:
    """Show the store at a glance; the exit code is 1 if something is not as it should be."""
    with session.opened() as store:
        found = store.status(timeout=session.timeout)
    if session.json:
        print_json(
            {
                "package_version": found.package_version,
                "realtime_version": version_fields(found.realtime_version),
                "warehouse_version": version_fields(found.warehouse_version),
                "lag": found.lag,
                "tables": found.tables,
                "rows": found.rows,
                "queries": found.queries,
                "etls": found.etls,
                "etl_workers": found.etl_workers,
                "problems": found.problems,
                "cache": None if found.cache is None else cache_fields(found.cache),
            }
        )
    else:
        print_fields(
            {
                "version": found.package_version,
                "realtime": f"version {found.realtime_version.sequence:,}",
                "warehouse": f"version {found.warehouse_version.sequence:,}"
                + (f", {found.lag:,} behind" if found.lag > 0 else ""),
                "tables": f"{found.tables:,} with {found.rows:,} rows",
                "queries": found.queries,
                "etls": found.etls,
                "etl workers": found.etl_workers,
                "cache": "unknown" if found.cache is None else cache_text(found.cache),
                "problems": "\n".join(found.problems) or "none",
            }
        )
    if found.problems:
        click.get_current_context().exit(1)


def _keys(index_keys: tuple[tuple[str, ...], ...]) -> str:
    """`user_id; user_id+merchant_id`."""
    return "; ".join("+".join(key) for key in index_keys)


def _verified(reports: tuple[Verified, ...]) -> str:
    """`24 of 24 keys agree by user_id`, one line for each index key."""
    lines = [f"{each.summary} by {'+'.join(each.index_key)}" for each in reports]
    return "\n".join(lines) or "not yet"


def _reports(reports: tuple[Verified, ...]) -> list[dict[str, object]]:
    return [
        {"index_key": each.index_key, "verified_at": each.verified_at, **report_fields(each)}
        for each in reports
    ]


def _query_fields(query: SavedQuery) -> dict[str, object]:
    return {
        "query_id": query.query_id,
        "names": query.names,
        "sql": query.sql,
        "columns": columns(query.schema),
        "tables": query.tables,
        "index_keys": query.index_keys,
        "served": query.served,
        "created_at": query.created_at,
        "owner": query.owner,
        "description": query.description,
        "labels": query.labels,
        "warnings": [{"reason": warned.reason, "message": warned.message} for warned in query.warnings],
        "verified": _reports(query.verified),
    }


def _show_query(session: Session, query: SavedQuery) -> None:
    if session.json:
        print_json(_query_fields(query))
        return
    shown: dict[str, object] = {
        "query": query.query_id,
        "names": query.names,
        "tables": query.tables,
        "index keys": _keys(query.index_keys),
        "served": "\n".join(query.served),
        "verified": _verified(query.verified),
        "saved at": query.created_at,
        "owner": query.owner,
        "description": query.description,
        "warnings": "\n".join(warned.message for warned in query.warnings),
        "columns": query.schema,
        "sql": "\n" + query.sql,
    }
    print_fields({name: value for name, value in shown.items() if value})


def _etl_fields(etl: SavedEtl) -> dict[str, object]:
    return {
        "etl_id": etl.etl_id,
        "names": etl.names,
        "query_id": etl.query_id,
        "contract": columns(etl.contract),
        "granularity": etl.granularity,
        "pure": etl.pure,
        "kind": etl.kind,
        "blob_sha256": etl.blob_sha256,
        "neighbours": dict(etl.neighbours),
        "provenances": [
            {
                "repository": p.repository,
                "ref": p.ref,
                "commit": p.commit,
                "path": p.path,
                "libraries": p.libraries,
            }
            for p in etl.provenances
        ],
        "created_at": etl.created_at,
        "owner": etl.owner,
        "description": etl.description,
        "labels": etl.labels,
        "verified": _reports(etl.verified),
    }


def _show_etl(session: Session, etl: SavedEtl) -> None:
    if session.json:
        print_json(_etl_fields(etl))
        return
    found = etl.provenances[0]
    shown: dict[str, object] = {
        "etl": etl.etl_id,
        "names": etl.names,
        "query": etl.query_id,
        "saved at": etl.created_at,
        "verified": _verified(etl.verified),
        "owner": etl.owner,
        "description": etl.description,
        "repository": found.repository,
        "commit": found.commit,
        "path": found.path,
        "blob": etl.blob_sha256,
        "kind": f"{etl.kind}, granularity {etl.granularity}{', pure' if etl.pure else ''}",
        "beside it": [path for path, _ in etl.neighbours],
        "contract": etl.contract,
    }
    print_fields({name: value for name, value in shown.items() if value})
