"""`apply`: a folder of definitions into a store, with a plan before and a verdict after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
import pyarrow as pa

from featurestore.cli.asking import print_report, report_fields
from featurestore.cli.definitions import Definition, Folder, read_folder
from featurestore.cli.output import columns, print_error, print_json
from featurestore.cli.pinning import Pin, pin_all
from featurestore.cli.planning import Planned, Standing, plan_etl, plan_query, schema_changes
from featurestore.cli.session import Session, store_options
from featurestore.client.sync import Store
from featurestore.model.errors import FailedPrecondition, FeatureStoreError, NotFound
from featurestore.model.names import Kind
from featurestore.model.query import Warned

T = TypeVar("T")


@click.command()
@click.argument("definitions", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option(
    "--repository",
    metavar="ADDRESS",
    help="Where the store fetches ETLs, as git+https://host/org/repo.git."
    " Default: for a store on this machine the repository that DIR is in, else its remote `origin`.",
)
@click.option(
    "--sample",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Keys to take from training to verify each.",
)
@store_options
def apply(session: Session, definitions: Path, dry_run: bool, repository: str | None, sample: int) -> None:
    """Save the definitions in DIR, queries/*.sql and etls/*.py, and verify them; the same content gets the same ids.

    A file says what it is in comments at its top, a line for each field: `-- name: quotes` in SQL, `# query: quotes` in
    Python. Fields: name (default: the file's), index_key, description, owner; of an ETL also query. ETLs are pinned to
    the commit that DIR has checked out.

    Prints a plan, saves what is new or changed, queries first, and verifies all that have an index key; the exit code
    is 1 unless all are consistent. With --dry-run it is 0 if the plan could be made.
    """
    found = read_folder(definitions)
    _refuse(found.problems)
    here = not session.target or session.target.startswith("unix:")
    pins, unpinned = pin_all(found.etls, here=here and repository is None, repository=repository)
    _refuse(unpinned)
    with session.opened() as store:
        applying = _Applying(session, store, pins)
        plan = applying.plan(found)
        if dry_run:
            return
        ids = applying.save(plan)
        consistent = applying.verify(plan, ids, sample)
    if session.json:
        print_json({"consistent": consistent})
    elif any(each.definition.index_key for each in plan):
        click.echo("consistent" if consistent else "not consistent")
    else:
        click.echo("nothing to verify: no definition has an index_key")
    if not consistent:
        click.get_current_context().exit(1)


@dataclass(frozen=True)
class _Applying:
    session: Session
    store: Store
    pins: dict[str, Pin]

    def plan(self, found: Folder) -> list[Planned]:
        """Plan all, queries first, and print it; ends the command if that can't be done for each of them."""
        plan: list[Planned] = []
        warned: list[tuple[Definition, Warned]] = []
        problems: list[FeatureStoreError] = []
        queries: dict[str, Planned] = {}
        for query in found.queries:
            try:
                queries[query.name], warnings = self._plan_query(query)
            except FeatureStoreError as problem:
                problems.append(_of_file(query, problem))
            else:
                plan.append(queries[query.name])
                warned += [(query, warning) for warning in warnings]
        for etl in found.etls:
            if etl.query not in queries:
                continue  # its query is a problem, and told
            try:
                plan.append(self._plan_etl(etl, queries[etl.query]))
            except FeatureStoreError as problem:
                problems.append(_of_file(etl, problem))
        for planned in plan:
            self._show_planned(planned)
        for definition, warning in warned:
            self._show_warning(definition, warning)
        _refuse(problems)
        return plan

    def _plan_query(self, query: Definition) -> tuple[Planned, tuple[Warned, ...]]:
        from featurestore.engine.sql_check import parse  # noqa: PLC0415 - the engine is slow to load

        # Before it is sent: there a text of one word would be taken for a saved query's name.
        checked = parse(query.text)
        timeout = self.session.timeout
        trained = self.store.query_train(query.text, index_key=query.index_key or None, timeout=timeout)
        saved = _known(lambda: self.store.get_query(query.name, timeout=timeout), "UNKNOWN_QUERY")
        stored = "" if saved is None else parse(saved.sql).canonical
        planned = plan_query(query, checked.canonical, trained.schema, saved, stored)
        return planned, () if planned.standing is Standing.SAME else trained.warnings

    def _plan_etl(self, etl: Definition, query: Planned) -> Planned:
        timeout = self.session.timeout
        pin = self.pins[etl.file]
        saved = _known(lambda: self.store.get_etl(etl.name, timeout=timeout), "UNKNOWN_ETL")
        if not query.content_id:
            if etl.index_key:  # judged by the store, which has no such query yet, on the query's text
                self.store.query_train(query.definition.text, index_key=etl.index_key, timeout=timeout)
            return plan_etl(etl, pin.blob_sha256, pin.neighbours, None, saved, query, ())
        run = partial(
            self.store.extract_train, query.content_id, index_key=etl.index_key or None, timeout=timeout
        )
        contract: pa.Schema | None = None
        if saved is not None and pin.holds(saved) and saved.query_id == query.content_id:
            try:  # held to its contract: a column that is all null now still has the type it had
                contract = run(saved.etl_id).contract
            except FailedPrecondition as broken:
                if broken.reason != "CONTRACT_BROKEN":
                    raise
        if contract is None:
            contract = run(str(etl.path)).contract
        declared = self.store.get_query(query.content_id, timeout=timeout).index_keys
        return plan_etl(etl, pin.blob_sha256, pin.neighbours, contract, saved, query, declared)

    def save(self, plan: list[Planned]) -> dict[str, str]:
        """Save what is not the same; ids by `Definition.file`.

        The first refusal ends the command, which then tells what is saved and what is not.
        """
        ids: dict[str, str] = {}
        queries: dict[str, str] = {}
        saved: list[str] = []
        for at, planned in enumerate(plan):
            definition, public_id = planned.definition, planned.content_id
            if planned.standing is not Standing.SAME:
                try:
                    public_id, schema = self._save(planned, queries)
                except FeatureStoreError as problem:
                    print_error(str(_of_file(definition, problem)))
                    left = [each.definition for each in plan[at + 1 :] if each.standing is not Standing.SAME]
                    self._show_broken_off(saved, definition, left)
                    click.get_current_context().exit(1)
                saved.append(f"{definition} as {public_id}")
                self._show_saved(planned, public_id, schema)
            ids[definition.file] = public_id
            if definition.kind is Kind.QUERY:
                queries[definition.name] = public_id
        return ids

    def _save(self, planned: Planned, queries: dict[str, str]) -> tuple[str, pa.Schema]:
        """The id, and the schema or contract.

        An ETL whose content the store has is saved again by its id, held to its contract: from the script alone, rows
        that are all null now could make another one.
        """
        definition = planned.definition
        index_key, timeout = definition.index_key or None, self.session.timeout
        if definition.kind is Kind.QUERY:
            query = self.store.query_train(
                definition.text,
                save=True,
                name=definition.name,
                index_key=index_key,
                owner=definition.owner,
                description=definition.description,
                timeout=timeout,
            )
            return query.query_id, query.schema
        etl = self.store.extract_train(
            queries[definition.query],
            planned.content_id or self.pins[definition.file].source,
            save=True,
            name=definition.name,
            index_key=index_key,
            owner=definition.owner,
            description=definition.description,
            timeout=timeout,
        )
        return etl.etl_id, etl.contract

    def verify(self, plan: list[Planned], ids: dict[str, str], sample: int) -> bool:
        """Verify all that have an index key, by id, and print what was found; whether all are consistent."""
        consistent = True
        queries = {each.definition.name: ids[each.definition.file] for each in plan if _is_query(each)}
        for planned in plan:
            definition = planned.definition
            if not definition.index_key:
                continue
            public_id = ids[definition.file]
            pair = (public_id, None) if _is_query(planned) else (queries[definition.query], public_id)
            try:
                report = self.store.verify(
                    *pair, index_key=definition.index_key, sample=sample, timeout=self.session.timeout
                )
            except FeatureStoreError as problem:  # the others are still worth a verdict
                print_error(str(_of_file(definition, problem)))
                consistent = False
                continue
            if self.session.json:
                print_json(
                    {"verified": definition.name, "kind": definition.kind.value, **report_fields(report)}
                )
            else:
                print_report(report, f"verified {definition} by {', '.join(definition.index_key)}: ")
            consistent = consistent and report.consistent
        return consistent

    def _show_planned(self, planned: Planned) -> None:
        definition = planned.definition
        if self.session.json:
            print_json(
                {
                    "planned": planned.standing.value,
                    "kind": definition.kind.value,
                    "name": definition.name,
                    "file": definition.file,
                    "id": planned.content_id,
                    "changes": planned.changes,
                    "remarks": planned.remarks,
                    "columns": None if planned.after is None else columns(planned.after),
                }
            )
            return
        size = () if planned.before or planned.after is None else (f"{len(planned.after)} columns",)
        told = "; ".join((*planned.changes, *size, *planned.remarks))
        click.echo(
            f"{planned.standing.value:<7}  {definition.kind.value:<5}  {definition.name}  ({definition.file})"
            + (f": {told}" if told else "")
        )

    def _show_warning(self, definition: Definition, warning: Warned) -> None:
        if self.session.json:
            print_json({"warning": warning.reason, "file": definition.file, "message": warning.message})
        else:
            click.echo(f"warning: {definition.file}: {warning.message}")

    def _show_saved(self, planned: Planned, public_id: str, schema: pa.Schema) -> None:
        """Tells the contract's changes too where the plan could not."""
        late = planned.before is not None and planned.after is None
        changes = schema_changes(planned.before, schema) if late else ()
        definition = planned.definition
        if self.session.json:
            print_json(
                {
                    "saved": public_id,
                    "kind": definition.kind.value,
                    "name": definition.name,
                    "changes": changes,
                    "columns": columns(schema),
                }
            )
        else:
            click.echo(f"saved {definition} as {public_id}" + (f": {'; '.join(changes)}" if changes else ""))

    def _show_broken_off(self, saved: list[str], failed: Definition, left: list[Definition]) -> None:
        """The one that failed is not called unsaved: a call whose answer was lost may have saved it."""
        untried = [str(each) for each in left]
        if self.session.json:
            print_json({"broken_off": True, "saved": saved, "failed": str(failed), "not_tried": untried})
            return
        tried = f"saved: {', '.join(saved) or 'nothing'}; failed: {failed}"
        click.echo(f"broken off; {tried}; not tried: {', '.join(untried) or 'nothing'}")


def _is_query(planned: Planned) -> bool:
    return planned.definition.kind is Kind.QUERY


def _known(ask: Callable[[], T], unknown: str) -> T | None:
    """What a name stands for; None if for nothing, which the store says with the reason `unknown`."""
    try:
        return ask()
    except NotFound as refusal:
        if refusal.reason != unknown:
            raise
        return None


def _of_file(definition: Definition, problem: FeatureStoreError) -> FeatureStoreError:
    """The same refusal, with the file before its message."""
    return type(problem)(problem.reason, f"{definition.file}: {problem.message}", **problem.details)


def _refuse(problems: Iterable[FeatureStoreError]) -> None:
    """Tell each on a line of its own and end the command with exit code 1, if there are any."""
    told = [str(problem) for problem in problems]
    for each in told:
        print_error(each)
    if told:
        click.get_current_context().exit(1)
