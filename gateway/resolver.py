"""From what callers hold (ids, names) to what runs (definitions): immutable by id, at most a second old by name."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from featurestore.api.common.v1 import common_pb2
from featurestore.model import deadline
from featurestore.model.errors import DeadlineExceeded, InvalidArgument, NotFound, Unavailable
from featurestore.model.etl import Etl
from featurestore.model.names import Kind, split_reference
from featurestore.model.peers import Catalog
from featurestore.model.query import Query
from featurestore.rpc.convert_saved import etl_from_proto, etl_to_proto, query_from_proto, query_to_proto
from gateway.known import KnownDefinitions

log = logging.getLogger(__name__)

NAME_SECONDS = 1.0
"""How old the meaning of a name may be while the catalogue answers."""

PAUSE_SECONDS = 1.0
"""How long the catalogue is not asked again, where a last known answer will do, after it failed to answer."""

_MAX_KEPT = 10_000
_T = TypeVar("_T")


class Resolver:
    """Resolves ids and names. What was resolved once is served on while the catalogue is down, also after a restart."""

    def __init__(self, catalog: Catalog, known: KnownDefinitions) -> None:
        """Resolve from `catalog`, with `known` as the copy that outlives the process."""
        self._catalog = catalog
        self._known = known
        self._queries: OrderedDict[str, Query] = OrderedDict()
        self._etls: OrderedDict[str, Etl] = OrderedDict()
        self._names: OrderedDict[tuple[Kind, str], tuple[float, tuple[str, ...]]] = OrderedDict()
        self._paused_until = 0.0

    async def query(self, reference: str) -> Query:
        """The query that an id or a name stands for.

        Raises:
            InvalidArgument: `MISSING_ID`, `BAD_ID`, `ID_OF_OTHER_KIND`, `BAD_NAME`.
            NotFound: `UNKNOWN_QUERY`.
        """
        kept = self._queries.get(reference)
        return kept if kept is not None else await self._query_by_id(await self._id(Kind.QUERY, reference))

    async def etl(self, reference: str) -> Etl:
        """The ETL that an id or a name stands for.

        Raises:
            InvalidArgument: `MISSING_ID`, `BAD_ID`, `ID_OF_OTHER_KIND`, `BAD_NAME`.
            NotFound: `UNKNOWN_ETL`.
        """
        kept = self._etls.get(reference)
        return kept if kept is not None else await self._etl_by_id(await self._id(Kind.ETL, reference))

    async def pair(self, query: str, etl: str) -> tuple[Query, Etl]:
        """An ETL and its query.

        Args:
            query: may be empty; a name is accepted if any of its versions is the ETL's query, and means that one.

        Raises:
            InvalidArgument: as `query` and `etl`; `ETL_OF_OTHER_QUERY`.
            NotFound: `UNKNOWN_QUERY`, `UNKNOWN_ETL`.
        """
        if query:
            split_reference(
                query, Kind.QUERY, "query"
            )  # a swapped pair is told as such, not as an unknown ETL
        found = await self.etl(etl)
        if query and query != found.query_id and not await self._names_query(query, found.query_id):
            other = await self.query(query)
            if other.query_id != found.query_id:
                raise InvalidArgument(
                    "ETL_OF_OTHER_QUERY",
                    f"ETL {found.etl_id} belongs to query {found.query_id}, not to {other.query_id}: "
                    "give its own query, or save the ETL for this one",
                    etl=found.etl_id,
                    query=found.query_id,
                    asked=other.query_id,
                )
        return await self._query_by_id(found.query_id), found

    async def fresh_query(self, reference: str) -> Query:
        """As `query`, with names and index keys as the catalogue has them now, if it answers."""
        query = await self.query(reference)
        now = await self._ask(lambda: self._catalog.get_query(query.query_id))
        return query if now is None else await self.keep_query(now)

    async def fresh_etl(self, reference: str) -> Etl:
        """As `etl`, with names and provenances as the catalogue has them now, if it answers."""
        etl = await self.etl(reference)
        now = await self._ask(lambda: self._catalog.get_etl(etl.etl_id))
        return etl if now is None else await self.keep_etl(now)

    async def keep_query(self, query: Query) -> Query:
        """Remember a query that the catalogue returned; a name saved just now is seen at once."""
        self._forget_names(Kind.QUERY, query.names)
        return await self._remember_query(query)

    async def keep_etl(self, etl: Etl) -> Etl:
        """Remember an ETL that the catalogue returned; a name saved just now is seen at once."""
        self._forget_names(Kind.ETL, etl.names)
        return await self._remember_etl(etl)

    async def _remember_query(self, query: Query) -> Query:
        _remember(self._queries, query.query_id, query)
        await self._known.put("query", query.query_id, query_to_proto(query).SerializeToString())
        return query

    async def _remember_etl(self, etl: Etl) -> Etl:
        _remember(self._etls, etl.etl_id, etl)
        await self._known.put("etl", etl.etl_id, etl_to_proto(etl).SerializeToString())
        return etl

    async def _ask(self, call: Callable[[], Awaitable[_T]]) -> _T | None:
        """Ask the catalogue where there is a last known answer: None when it does not answer in half of the time left."""
        if time.monotonic() < self._paused_until:
            return None
        try:
            with deadline.within(deadline.remaining_or(2.0) / 2):
                return await call()
        except (Unavailable, DeadlineExceeded) as refusal:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            log.warning("the catalogue does not answer; what is known already is served on: %s", refusal)
            return None

    def _forget_names(self, kind: Kind, names: tuple[str, ...]) -> None:
        for name in names:
            self._names.pop((kind, name.partition("@")[0]), None)

    async def _names_query(self, reference: str, query_id: str) -> bool:
        """Whether the reference is a name without a version of which any version is the query."""
        named = split_reference(reference, Kind.QUERY, "query")
        if named is None or named[1] is not None:
            return False
        return query_id in await self._versions(Kind.QUERY, named[0])

    async def _id(self, kind: Kind, reference: str) -> str:
        named = split_reference(reference, kind, kind.value)
        if named is None:
            return reference
        name, version = named
        ids = await self._versions(kind, name)
        if not ids:
            raise _unknown(kind, name, f"no {kind.value} is saved under the name {name!r}")
        if version is not None and version > len(ids):
            raise _unknown(
                kind,
                reference,
                f"{kind.value} {name!r} has {len(ids)} versions; {reference!r} is not one of them",
            )
        return ids[-1 if version is None else version - 1]

    async def _versions(self, kind: Kind, name: str) -> tuple[str, ...]:
        kept = self._names.get((kind, name))
        if kept is not None and time.monotonic() - kept[0] < NAME_SECONDS:
            return kept[1]
        last = kept[1] if kept is not None else await self._known_versions(kind, name)
        if last is None:
            ids = await self._catalog.name_versions(kind, name)
        else:
            answered = await self._ask(lambda: self._catalog.name_versions(kind, name))
            if answered is None:
                return last
            ids = answered
        if ids:
            _remember(self._names, (kind, name), (time.monotonic(), ids))
            if last != ids:
                await self._known.put(f"{kind.value}-name", name, json.dumps(ids).encode())
        return ids

    async def _known_versions(self, kind: Kind, name: str) -> tuple[str, ...] | None:
        content = await self._known.get(f"{kind.value}-name", name)
        return None if content is None else tuple(json.loads(content))

    async def _query_by_id(self, query_id: str) -> Query:
        kept = self._queries.get(query_id)
        if kept is not None:
            self._queries.move_to_end(query_id)
            return kept
        content = await self._known.get("query", query_id)
        if content is not None:  # immutable: the copy is as good as the catalogue
            query = query_from_proto(common_pb2.Query.FromString(content))
            _remember(self._queries, query_id, query)
            return query
        return await self._remember_query(await self._catalog.get_query(query_id))

    async def _etl_by_id(self, etl_id: str) -> Etl:
        kept = self._etls.get(etl_id)
        if kept is not None:
            self._etls.move_to_end(etl_id)
            return kept
        content = await self._known.get("etl", etl_id)
        if content is not None:  # immutable: the copy is as good as the catalogue
            etl = etl_from_proto(common_pb2.Etl.FromString(content))
            _remember(self._etls, etl_id, etl)
            return etl
        return await self._remember_etl(await self._catalog.get_etl(etl_id))


_Key = TypeVar("_Key")
_Kept = TypeVar("_Kept")


def _remember(kept: OrderedDict[_Key, _Kept], key: _Key, value: _Kept) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > _MAX_KEPT:
        kept.popitem(last=False)


def _unknown(kind: Kind, reference: str, message: str) -> NotFound:
    return NotFound(
        f"UNKNOWN_{kind.name}", f"{message}; list_{_PLURAL[kind]}() shows what there is", reference=reference
    )


_PLURAL = {Kind.QUERY: "queries", Kind.ETL: "etls"}
