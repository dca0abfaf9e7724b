"""The catalogue itself: `featurestore.model.peers.Catalog` over any `Store`.

A save is up to three inserts: the thing, its name, its index key. Each is safe to repeat and none needs another
undone, so a save that breaks off in between is completed by repeating it. A report is no part of a save.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import TypeVar

from featurestore.model import names
from featurestore.model.errors import Internal, InvalidArgument, NotFound, Unavailable
from featurestore.model.etl import Etl, EtlDraft
from featurestore.model.names import Kind
from featurestore.model.query import Query, QueryDraft
from featurestore.model.serving import CatalogStatus
from featurestore.model.verifying import KeptReport
from services.catalog import conversions
from services.catalog.documents import (
    EtlDocument,
    IndexKeyDocument,
    NameDocument,
    ProvenanceDocument,
    ProvenancePart,
    QueryDocument,
    ReportDocument,
)
from services.catalog.store import Store, Where

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_DOCUMENT_BYTES = 8 * 2**20
_ATTEMPTS = 100
_TOKEN = re.compile(r"([0-9]{1,18}):(.+)")

Saved = TypeVar("Saved", QueryDocument, EtlDocument)
log = logging.getLogger(__name__)


class CatalogService:
    """What is known: queries, ETLs, names. See `featurestore.model.peers.Catalog` for each method.

    Names: version N of a name is the N-th content that it was given. `Query.names` and `Etl.names` show each
    label as it can be asked for: `name` where this is the newest version, `name@N` where it is an older one.
    An id may stand under both, when it was given the name again later.

    An ETL's declared index key is collected with its query, by whose rows it is served.

    Every method raises what its store does; besides, a save raises `Internal` `CONTENT_KEY_COLLISION` when the
    stored content under its key is another one, and `InvalidArgument` `DOCUMENT_TOO_LARGE`.

    Args:
        store: shared by any number of catalogues, in any number of processes.
        id_key: makes the ids of what is saved from now on; what is stored keeps its id.
    """

    def __init__(self, store: Store, id_key: bytes = names.DEFAULT_ID_KEY) -> None:
        self._store = store
        self._id_key = id_key

    async def save_query(self, draft: QueryDraft) -> Query:
        """See `Catalog.save_query`."""
        if draft.name:
            names.check_name(draft.name, Kind.QUERY)
        document = await self._insert_once(conversions.query_document(draft, self._id_key, _now_us()))
        await self._declare_index_key(document.query_id, draft.index_key, draft.served)
        await self._give_name(Kind.QUERY, draft.name, document.query_id)
        (query,) = await self._queries([document])
        return query

    async def save_etl(self, draft: EtlDraft) -> Etl:
        """See `Catalog.save_etl`."""
        if draft.name:
            names.check_name(draft.name, Kind.ETL)
        await self._query_document(draft.query_id)
        wanted = conversions.etl_document(draft, self._id_key, _now_us())
        document = await self._insert_once(wanted)
        await self._add_provenance(document, wanted.provenance)
        await self._declare_index_key(document.query_id, draft.index_key, draft.served)
        await self._give_name(Kind.ETL, draft.name, document.etl_id)
        (etl,) = await self._etls([document])
        return etl

    async def save_report(self, public_id: str, report: KeptReport) -> None:
        """See `Catalog.save_report`."""
        if names.is_id(public_id, Kind.ETL):
            await self._etl_document(public_id)
        else:
            await self._query_document(public_id)
        await self._store.replace(conversions.report_document(public_id, report))

    async def get_query(self, query_id: str) -> Query:
        """See `Catalog.get_query`."""
        (query,) = await self._queries([await self._query_document(query_id)])
        return query

    async def get_etl(self, etl_id: str) -> Etl:
        """See `Catalog.get_etl`."""
        (etl,) = await self._etls([await self._etl_document(etl_id)])
        return etl

    async def name_versions(self, kind: Kind, name: str) -> tuple[str, ...]:
        """See `Catalog.name_versions`."""
        versions = await self._store.find(NameDocument, {"kind": [kind.value], "name": [name]})
        return tuple(version.id for version in reversed(versions))

    async def list_queries(self, page_size: int, page_token: str) -> tuple[tuple[Query, ...], str]:
        """See `Catalog.list_queries`; a page size of 0 means 100, one above 1,000 means 1,000."""
        size, before = _page(page_size, page_token, Kind.QUERY)
        found = await self._store.find(QueryDocument, {}, before=before, limit=size + 1)
        page = found[:size]
        token = _token(page[-1].created_at_us, page[-1].query_id) if len(found) > size else ""
        return await self._queries(page), token

    async def list_etls(self, page_size: int, page_token: str) -> tuple[tuple[Etl, ...], str]:
        """See `Catalog.list_etls`; a page size of 0 means 100, one above 1,000 means 1,000."""
        size, before = _page(page_size, page_token, Kind.ETL)
        found = await self._store.find(EtlDocument, {}, before=before, limit=size + 1)
        page = found[:size]
        token = _token(page[-1].created_at_us, page[-1].etl_id) if len(found) > size else ""
        return await self._etls(page), token

    async def status(self) -> CatalogStatus:
        """See `Catalog.status`."""
        return CatalogStatus(
            queries=await self._store.count(QueryDocument),
            etls=await self._store.count(EtlDocument),
            backend=self._store.backend,
        )

    async def _insert_once(self, document: Saved) -> Saved:
        """Insert, or find what an equal save inserted: the document that stands, with the id that stands."""
        size = len(document.model_dump_json())
        if size > MAX_DOCUMENT_BYTES:
            raise InvalidArgument(
                "DOCUMENT_TOO_LARGE",
                f"text and schema together make {size:,} bytes, the catalogue holds up to "
                f"{MAX_DOCUMENT_BYTES:,} for one of its {document.collection}; make them shorter",
                size=size,
                limit=MAX_DOCUMENT_BYTES,
            )
        kind = type(document)
        for _ in range(_ATTEMPTS):
            if await self._store.insert(document):
                return document
            found = await self._store.find(kind, {"content_key": [document.content_key]})
            if found:
                return _same(document, found[0])
        raise _contended(f"saving into {document.collection}")

    async def _add_provenance(self, document: EtlDocument, provenance: ProvenancePart) -> None:
        if provenance == document.provenance:
            return
        # False means that this provenance is there already.
        await self._store.insert(
            ProvenanceDocument(
                created_at_us=_now_us(),
                etl_id=document.etl_id,
                provenance_sha256=provenance.sha256,
                provenance=provenance,
            )
        )

    async def _declare_index_key(self, query_id: str, columns: tuple[str, ...], served: str) -> None:
        if not columns:
            return
        # False means that this key is declared already.
        await self._store.insert(
            IndexKeyDocument(
                created_at_us=_now_us(),
                query_id=query_id,
                columns=columns,
                columns_sha256=names.content_key(*columns),
                served=served,
            )
        )

    async def _give_name(self, kind: Kind, name: str, public_id: str) -> None:
        """Make the id the newest version of the name; nothing to do if it is that already."""
        if not name:
            return
        where: Where = {"kind": [kind.value], "name": [name]}
        for _ in range(_ATTEMPTS):
            newest = await self._store.find(NameDocument, where, limit=1)
            if newest and newest[0].id == public_id:
                return
            version = newest[0].version + 1 if newest else 1
            # A concurrent save may take this version first; then the name is looked at again.
            if await self._store.insert(
                NameDocument(
                    created_at_us=_now_us(), kind=kind.value, name=name, version=version, id=public_id
                )
            ):
                return
        raise _contended(f"giving the name {name}")

    async def _query_document(self, query_id: str) -> QueryDocument:
        found = await self._store.find(QueryDocument, {"query_id": [query_id]})
        if not found:
            raise NotFound(
                "UNKNOWN_QUERY", f"there is no query {query_id[:80]!r}; save it first", query_id=query_id[:80]
            )
        return found[0]

    async def _etl_document(self, etl_id: str) -> EtlDocument:
        found = await self._store.find(EtlDocument, {"etl_id": [etl_id]})
        if not found:
            raise NotFound(
                "UNKNOWN_ETL", f"there is no ETL {etl_id[:80]!r}; save it first", etl_id=etl_id[:80]
            )
        return found[0]

    async def _queries(self, documents: list[QueryDocument]) -> tuple[Query, ...]:
        ids = [document.query_id for document in documents]
        labels = await self._labels(Kind.QUERY, ids)
        index_keys: defaultdict[str, list[IndexKeyDocument]] = defaultdict(list)
        if ids:
            for declared in reversed(await self._store.find(IndexKeyDocument, {"query_id": ids})):
                index_keys[declared.query_id].append(declared)
        reports = await self._reports(ids)
        return tuple(
            conversions.query(
                document,
                labels[document.query_id],
                index_keys[document.query_id],
                reports[document.query_id],
            )
            for document in documents
        )

    async def _etls(self, documents: list[EtlDocument]) -> tuple[Etl, ...]:
        ids = [document.etl_id for document in documents]
        labels = await self._labels(Kind.ETL, ids)
        further = defaultdict(list)
        if ids:
            for appended in reversed(await self._store.find(ProvenanceDocument, {"etl_id": ids})):
                further[appended.etl_id].append(appended.provenance)
        reports = await self._reports(ids)
        return tuple(
            conversions.etl(
                document, further[document.etl_id], labels[document.etl_id], reports[document.etl_id]
            )
            for document in documents
        )

    async def _reports(self, ids: list[str]) -> defaultdict[str, list[ReportDocument]]:
        """The reports of each id, the newest first."""
        reports: defaultdict[str, list[ReportDocument]] = defaultdict(list)
        if ids:
            for report in await self._store.find(ReportDocument, {"id": ids}):
                reports[report.id].append(report)
        return reports

    async def _labels(self, kind: Kind, ids: list[str]) -> defaultdict[str, tuple[str, ...]]:
        """The labels of each id, by name, then version."""
        labels: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        if not ids:
            return labels
        given = await self._store.find(NameDocument, {"kind": [kind.value], "id": ids})
        overtaken = await self._overtaken(kind, given)
        for label in sorted(given, key=lambda one: (one.name, one.version)):
            old = (label.name, label.version) in overtaken
            labels[label.id] += (f"{label.name}@{label.version}" if old else label.name,)
        return labels

    async def _overtaken(self, kind: Kind, given: Iterable[NameDocument]) -> set[tuple[str, int]]:
        """Which of these (name, version) have a next version: versions have no gaps."""
        named = list(given)
        if not named:
            return set()
        following = await self._store.find(
            NameDocument,
            {
                "kind": [kind.value],
                "name": sorted({label.name for label in named}),
                "version": sorted({label.version + 1 for label in named}),
            },
        )
        return {(label.name, label.version - 1) for label in following}


def _same(wanted: Saved, stored: Saved) -> Saved:
    """The stored document, if it is what the wanted one says."""
    if stored.content == wanted.content:
        return stored
    log.critical("two contents under the content key %s in %s", stored.content_key, stored.collection)
    raise Internal(
        "CONTENT_KEY_COLLISION",
        f"the catalogue's {stored.collection} hold another content under the key {stored.content_key}; nothing "
        "was saved; the stored document was changed by hand or is damaged",
        content_key=stored.content_key,
        collection=stored.collection,
    )


def _contended(doing: str) -> Unavailable:
    return Unavailable(
        "CATALOG_CONTENDED",
        f"other saves were first {_ATTEMPTS} times while {doing}; the same call may work in a moment",
        doing=doing,
        attempts=_ATTEMPTS,
    )


def _now_us() -> int:
    return time.time_ns() // 1000


def _page(page_size: int, page_token: str, kind: Kind) -> tuple[int, tuple[int, str] | None]:
    """The size of the page, and after what it starts."""
    if page_size < 0:
        raise InvalidArgument(
            "BAD_PAGE",
            f"page_size {page_size} is negative: give 1 to {MAX_PAGE_SIZE:,}, or 0 for {DEFAULT_PAGE_SIZE}",
            field="page_size",
            value=page_size,
        )
    size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    return size, _position(page_token, kind) if page_token else None


def _token(created_at_us: int, public_id: str) -> str:
    return base64.urlsafe_b64encode(f"{created_at_us}:{public_id}".encode()).decode()


def _position(token: str, kind: Kind) -> tuple[int, str]:
    try:
        match = _TOKEN.fullmatch(base64.b64decode(token, altchars=b"-_", validate=True).decode())
    except (binascii.Error, ValueError):  # not base64, not ASCII, not UTF-8
        match = None
    if match is None or not names.is_id(match[2], kind):
        plural = "queries" if kind is Kind.QUERY else "ETLs"
        raise InvalidArgument(
            "BAD_PAGE",
            f"page_token {token[:80]!r} is not from a page of {plural}: give the next_page_token of the page "
            "before, or none to start",
            field="page_token",
            value=token[:80],
        )
    return int(match[1]), match[2]
