"""Verifies what was saved with an index key, behind everything else, and keeps what was found with it.

One at a time, with few keys, some time after the save. What waits is in memory alone: what was not verified when the gateway
ends is verified at its next save, or when somebody asks.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from featurestore.model import deadline
from featurestore.model.errors import FeatureStoreError
from featurestore.model.peers import Catalog, Extraction
from featurestore.model.query import Query
from featurestore.model.serving import EtlRun
from featurestore.model.verifying import KeptReport, VerifyReport

log = logging.getLogger(__name__)

KEPT_DIFFERENCES = 10

_SAMPLE = 20
_SETTLE_SECONDS = 2.0  # who saves goes on to do something with it
_VERIFY_SECONDS = 120.0
_KEEP_SECONDS = 2.0
_MOST_WAITING = 1_000


@dataclass(frozen=True, slots=True)
class Saved:
    """What was saved with an index key.

    Attributes:
        etl: None for the query alone.
    """

    query: Query
    etl: EtlRun | None
    index_key: tuple[str, ...]

    @property
    def id(self) -> str:
        """The query's or the ETL's."""
        return self.query.query_id if self.etl is None else self.etl.etl_id


class Verifications:
    """An async context manager: it verifies while it is entered."""

    def __init__(self, catalog: Catalog, extraction: Extraction, *, verify_saves: bool = True) -> None:
        """Keep reports in the catalogue.

        Args:
            verify_saves: False to verify nothing by itself.
        """
        self._catalog = catalog
        self._extraction = extraction
        self._verify_saves = verify_saves
        self._waiting: dict[tuple[str, tuple[str, ...]], tuple[float, Saved]] = {}  # and from when on
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._verify_saves:
            self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def later(self, saved: Saved) -> None:
        """Have it verified some time. What waits already waits once; with too many waiting it is left out."""
        if not self._verify_saves:
            return
        if len(self._waiting) >= _MOST_WAITING:
            log.warning("%s is not verified: %d others wait", saved.id, _MOST_WAITING)
            return
        begin = asyncio.get_running_loop().time() + _SETTLE_SECONDS
        self._waiting.setdefault((saved.id, saved.index_key), (begin, saved))
        self._woken.set()

    async def keep(self, public_id: str, index_key: tuple[str, ...], report: VerifyReport) -> None:
        """Keep a report, if it compared anything. That it can't be kept is no reason for the caller to fail."""
        self._waiting.pop((public_id, index_key), None)
        if not report.checked:
            return
        kept = replace(report, differences=report.differences[:KEPT_DIFFERENCES])
        try:
            with deadline.within(_KEEP_SECONDS):
                await self._catalog.save_report(public_id, KeptReport(index_key, kept, datetime.now(UTC)))
        except FeatureStoreError as problem:
            log.warning("the report of verifying %s was not kept: %s", public_id, problem)

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            if not self._waiting:
                self._woken.clear()
                continue
            key, (begin, saved) = next(iter(self._waiting.items()))
            await asyncio.sleep(begin - asyncio.get_running_loop().time())
            if self._waiting.pop(key, None) is not None:  # else somebody asked for it meanwhile
                await self._verify(saved)

    async def _verify(self, saved: Saved) -> None:
        query = saved.query
        try:
            with deadline.within(_VERIFY_SECONDS):
                report = await self._extraction.verify(
                    query.query_id, query.form, saved.etl, saved.index_key, _SAMPLE
                )
        except FeatureStoreError as problem:
            log.warning("%s could not be verified: %s", saved.id, problem)
        except Exception:  # the next one is verified all the same
            log.exception("%s could not be verified", saved.id)
        else:
            log.info("%s: %d of %d keys agree", saved.id, report.agreed, report.checked)
            await self.keep(saved.id, saved.index_key, report)
