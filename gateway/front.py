"""The verbs of the feature store, each a walk through the house: resolve, route, forward."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from featurestore.engine.key_values import check_key_columns
from featurestore.model.errors import (
    FailedPrecondition,
    FeatureStoreError,
    InvalidArgument,
)
from featurestore.model.etl import Etl, EtlDraft, EtlSource
from featurestore.model.names import Kind, check_name
from featurestore.model.peers import Catalog, Extraction, Realtime
from featurestore.model.query import Notes, Query, QueryDraft, Warned
from featurestore.model.serving import (
    Answer,
    AnswerFormat,
    EtlRun,
    Explanation,
    Keys,
    Progress,
    TrainHead,
)
from featurestore.model.table import Published, TableDefinition, TableInfo, TableRows, Version
from featurestore.model.verifying import VerifyReport
from featurestore.model.warming import CacheReport, Warmed
from gateway.demo import publish_demo
from gateway.limits import check_publish_id, check_publish_size
from gateway.resolver import Resolver
from gateway.saving import check
from gateway.verifying import Saved, Verifications

MAX_SAMPLE = 10_000
DEFAULT_SAMPLE = 100
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class SaveAs:
    """How a query or ETL is to be saved.

    Attributes:
        save: False to run it only; the rest must then be empty.
    """

    save: bool = False
    name: str = ""
    index_key: tuple[str, ...] = ()
    notes: Notes = field(default_factory=Notes)

    def checked(self, kind: Kind) -> SaveAs:
        """Itself, if it makes sense.

        Raises:
            InvalidArgument: `BAD_NAME`, also for a name without `save`.
        """
        if self.name and not self.save:
            raise InvalidArgument(
                "BAD_NAME",
                f"name {self.name[:80]!r} is given without save: add save=True",
                field="name",
                name=self.name[:80],
            )
        if self.name:
            check_name(self.name, kind)
        return self


@dataclass(slots=True)
class QueryTraining:
    """A training query on its way."""

    head: TrainHead
    batches: AsyncGenerator[bytes, None]
    query_id: str
    warnings: tuple[Warned, ...]
    explanation: Explanation | None
    progress: Progress


@dataclass(slots=True)
class EtlTraining:
    """A training ETL on its way."""

    head: TrainHead
    batches: AsyncGenerator[bytes, None]
    query_id: str
    draft: EtlDraft | None
    progress: Progress


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The store at a glance; a part that does not answer leaves its figures at zero and a problem."""

    realtime_version: Version | None = None
    warehouse_version: Version | None = None
    tables: int = 0
    rows: int = 0
    queries: int = 0
    etls: int = 0
    etl_workers: int = 0
    problems: tuple[str, ...] = ()
    cache: CacheReport | None = None


class Front:
    """What the gateway does. A peer is the service's own object or a remote adapter; it can't tell which."""

    def __init__(
        self,
        catalog: Catalog,
        realtime: Realtime,
        extraction: Extraction,
        resolver: Resolver,
        verifications: Verifications,
    ) -> None:
        """Take the peers as they are."""
        self._catalog = catalog
        self._realtime = realtime
        self._extraction = extraction
        self._resolver = resolver
        self._verifications = verifications

    # Tables

    async def create_table(self, table: TableDefinition) -> TableInfo:
        """See `Realtime.create_table`."""
        return await self._realtime.create_table(table)

    async def drop_table(self, table: str, *, force: bool) -> Version:
        """Drop a table that no saved query reads, or any with `force`.

        Raises:
            NotFound: `UNKNOWN_TABLE`.
            FailedPrecondition: `TABLE_IN_USE`, naming the queries.
        """
        await self._realtime.get_table(table)
        if not force:
            readers = await self._queries_that_read(table)
            if readers:
                raise FailedPrecondition(
                    "TABLE_IN_USE",
                    f"table {table} is read by {len(readers)} saved queries, such as {readers[0]}: "
                    "they would fail; drop it all the same with force=True",
                    table=table,
                    queries=", ".join(readers[:10]),
                )
        return await self._realtime.drop_table(table)

    async def _queries_that_read(self, table: str) -> list[str]:
        readers: list[str] = []
        token = ""
        while True:
            queries, token = await self._catalog.list_queries(_PAGE, token)
            readers += [q.query_id for q in queries if table.lower() in (name.lower() for name in q.tables)]
            if not token:
                return readers

    async def get_table(self, table: str) -> TableInfo:
        """See `Realtime.get_table`."""
        return await self._realtime.get_table(table)

    async def list_tables(self) -> tuple[TableInfo, ...]:
        """See `Realtime.list_tables`."""
        return await self._realtime.list_tables()

    async def publish(self, publish_id: str, tables: Sequence[TableRows]) -> Published:
        """See `Realtime.publish`.

        Raises:
            InvalidArgument: `PUBLISH_ID`; `BAD_TABLE` when no table, or one twice, is given.
            ResourceExhausted: `PUBLISH_TOO_LARGE`.
        """
        check_publish_id(publish_id)
        check_publish_size(tables)
        return await self._realtime.publish(publish_id, tables)

    async def delete(self, publish_id: str, table: str, keys: bytes | Keys) -> Published:
        """See `Realtime.delete`."""
        check_publish_id(publish_id)
        return await self._realtime.delete(publish_id, table, keys)

    async def publish_demo(self, n_flows: int, seed: int | None) -> Published:
        """See the RPC `PublishDemo`."""
        return await publish_demo(self._realtime, n_flows, seed)

    # Training

    async def query_train(
        self,
        *,
        sql: str = "",
        query: str = "",
        save_as: SaveAs,
        head_only: bool = False,
        at_least: Version | None = None,
    ) -> QueryTraining:
        """Run a query's text, or a saved query, on the warehouse; see the RPC `QueryTrain`."""
        save_as.checked(Kind.QUERY)
        version = _newest(await self._realtime.version(), at_least)
        saved: Query | None = None
        if query:
            saved = await self._resolver.query(query)
            form, warnings, draft = saved.form, saved.warnings, _draft_again(saved, save_as)
        else:
            checked = await check(sql, self._realtime, self._extraction, version)
            form, warnings = checked.form, checked.warnings
            draft = checked.draft(save_as.name, save_as.index_key, save_as.notes)
        if save_as.index_key:
            check_key_columns(form, save_as.index_key)
        stream = await self._extraction.query_train(form, version, head_only=head_only)
        try:
            query_id = saved.query_id if saved is not None else ""
            explanation = None
            if save_as.index_key:
                serve = self._realtime.declare if save_as.save else self._realtime.explain
                explanation = await serve(query_id, form, save_as.index_key)
                draft = replace(draft, served=explanation.summary)
            if save_as.save:
                saved = await self._resolver.keep_query(await self._catalog.save_query(draft))
                query_id = saved.query_id
                if save_as.index_key:
                    self._verifications.later(Saved(saved, None, save_as.index_key))
            if explanation is not None:
                explanation = replace(explanation, query_id=query_id)
        except BaseException:
            await stream.batches.aclose()
            raise
        return QueryTraining(stream.head, stream.batches, query_id, warnings, explanation, stream.progress)

    async def extract_train(
        self, query: str, etl: EtlSource | str, save_as: SaveAs, at_least: Version | None = None
    ) -> EtlTraining:
        """Run a saved query on the warehouse, then an ETL over all of its rows; see the RPC `ExtractTrain`.

        Args:
            etl: a script that is not saved, or the id or name of a saved one.
        """
        save_as.checked(Kind.ETL)
        source: EtlSource | EtlRun
        if isinstance(etl, str):
            definition, found = await self._resolver.pair(query, etl)
            source = etl_run(definition, found)
        else:
            definition = await self._resolver.query(query)
            source = etl
        if save_as.index_key:
            check_key_columns(definition.form, save_as.index_key)
        version = _newest(await self._realtime.version(), at_least)
        declared = definition.index_keys
        stream = await self._extraction.extract_train(
            definition.form,
            version,
            source,
            pin=save_as.save,
            index_key=save_as.index_key or (declared[0] if len(declared) == 1 else ()),
        )
        draft = None
        if save_as.save and stream.script is not None:
            draft = EtlDraft(
                query_id=definition.query_id,
                script=stream.script,
                contract=stream.head.schema,
                name=save_as.name,
                index_key=save_as.index_key,
                notes=save_as.notes,
            )
        return EtlTraining(stream.head, stream.batches, definition.query_id, draft, stream.progress)

    async def save_etl(self, draft: EtlDraft) -> Etl:
        """Save what `extract_train` ran, once its rows have been delivered."""
        if not draft.index_key:
            return await self._resolver.keep_etl(await self._catalog.save_etl(draft))
        query = await self._resolver.query(draft.query_id)
        explanation = await self._realtime.declare(query.query_id, query.form, draft.index_key)
        draft = replace(draft, served=explanation.summary)
        etl = await self._resolver.keep_etl(await self._catalog.save_etl(draft))
        self._verifications.later(Saved(query, etl_run(query, etl), draft.index_key))
        return etl

    # Serving

    async def query_realtime(self, query: str, keys: Keys, answer_format: AnswerFormat) -> Answer:
        """Serve a saved query; see the RPC `QueryRealtime`."""
        definition = await self._resolver.query(query)
        return await self._realtime.query(definition.query_id, definition.form, keys, answer_format)

    async def extract_realtime(self, query: str, etl: str, keys: Keys, answer_format: AnswerFormat) -> Answer:
        """Serve a saved ETL of a saved query; see the RPC `ExtractRealtime`."""
        definition, found = await self._resolver.pair(query, etl)
        served = await self._realtime.query(definition.query_id, definition.form, keys, AnswerFormat.ARROW)
        return await self._extraction.run_etl(etl_run(definition, found), served, answer_format)

    async def explain(self, query: str, index_key: tuple[str, ...]) -> Explanation:
        """How a saved query is served by an index key."""
        definition = await self._resolver.query(query)
        check_key_columns(definition.form, index_key)
        return await self._realtime.explain(definition.query_id, definition.form, index_key)

    async def warm(
        self,
        query: str,
        index_key: tuple[str, ...],
        keys: Keys | None,
        *,
        keep: bool | None,
        answer_format: AnswerFormat,
    ) -> Warmed:
        """Have answers of a saved query kept; see `Realtime.warm`."""
        definition = await self._resolver.query(query)
        return await self._realtime.warm(
            definition.query_id, definition.form, index_key, keys, keep=keep, answer_format=answer_format
        )

    async def verify(
        self, query: str, etl: str, index_key: tuple[str, ...], sample: int, *, exact: bool
    ) -> VerifyReport:
        """Compare training with serving, and keep the report; see the RPC `Verify`.

        Args:
            etl: empty to verify the query alone.
            sample: 0 for 100.
            exact: floats must be equal to the last bit.

        Raises:
            InvalidArgument: `BAD_SAMPLE`.
        """
        if not 0 <= sample <= MAX_SAMPLE:
            raise InvalidArgument(
                "BAD_SAMPLE", f"sample is {sample}: give 1 to {MAX_SAMPLE}", field="sample", sample=sample
            )
        run: EtlRun | None = None
        if etl:
            definition, found = await self._resolver.pair(query, etl)
            run = etl_run(definition, found)
        else:
            definition = await self._resolver.query(query)
        check_key_columns(definition.form, index_key)
        report = await self._extraction.verify(
            definition.query_id, definition.form, run, index_key, sample or DEFAULT_SAMPLE, exact=exact
        )
        await self._verifications.keep(definition.query_id if run is None else run.etl_id, index_key, report)
        return report

    # The catalogue

    async def get_query(self, reference: str) -> Query:
        """One saved query, by id or name."""
        return await self._resolver.fresh_query(reference)

    async def get_etl(self, reference: str) -> Etl:
        """One saved ETL, by id or name."""
        return await self._resolver.fresh_etl(reference)

    async def list_queries(self, page_size: int, page_token: str) -> tuple[tuple[Query, ...], str]:
        """See `Catalog.list_queries`."""
        return await self._catalog.list_queries(page_size, page_token)

    async def list_etls(self, page_size: int, page_token: str) -> tuple[tuple[Etl, ...], str]:
        """See `Catalog.list_etls`."""
        return await self._catalog.list_etls(page_size, page_token)

    async def status(self) -> StoreStatus:
        """The store at a glance, also when a part of it is down."""
        problems: list[str] = []
        hot = await _ask("realtime", self._realtime.status(), problems)
        cold = await _ask("extraction", self._extraction.status(), problems)
        known = await _ask("catalog", self._catalog.status(), problems)
        if hot is not None and not hot.writable:
            problems.append(f"realtime takes no writes: {hot.not_writable_because}")
        if hot is not None and hot.plans_dropped:
            problems.append(
                f"{hot.plans_dropped} serving plans were dropped because an answer differed from the plain query's: "
                "answers are right but slower; please report it, with the queries that realtime's log names"
            )
        if cold is not None and cold.last_error:
            problems.append(f"the warehouse does not follow the log: {cold.last_error}")
        if cold is not None and cold.etls_refused:
            problems.append(cold.etls_refused)
        return StoreStatus(
            realtime_version=hot.version if hot else None,
            warehouse_version=cold.warehouse_version if cold else None,
            tables=hot.tables if hot else 0,
            rows=hot.rows if hot else 0,
            queries=known.queries if known else 0,
            etls=known.etls if known else 0,
            etl_workers=cold.etl_workers if cold else 0,
            problems=tuple(problems),
            cache=hot.cache if hot else None,
        )


_T = TypeVar("_T")


async def _ask(part: str, answer: Awaitable[_T], problems: list[str]) -> _T | None:
    try:
        return await answer
    except FeatureStoreError as refusal:
        problems.append(f"{part} does not answer: {refusal}")
        return None


def etl_run(query: Query, etl: Etl) -> EtlRun:
    """What it takes to run a saved ETL on its query's rows."""
    return EtlRun(etl.etl_id, query.query_id, etl.script, query.form.columns, etl.contract)


def _draft_again(query: Query, save_as: SaveAs) -> QueryDraft:
    return QueryDraft(
        form=query.form,
        canonical=query.canonical,
        tables=query.tables,
        name=save_as.name,
        index_key=save_as.index_key,
        notes=save_as.notes,
        warnings=query.warnings,
        uses_clock=query.uses_clock,
    )


def _newest(version: Version, at_least: Version | None) -> Version:
    return (
        version
        if at_least is None or at_least.log_id != version.log_id
        else max(version, at_least, key=_sequence)
    )


def _sequence(version: Version) -> int:
    return version.sequence
