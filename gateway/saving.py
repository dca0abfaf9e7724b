"""From a query's text to a form that both engines run: parsed alone, bound on both, the same on both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from featurestore.engine.order import terms
from featurestore.engine.sql_check import CheckedSql, parse
from featurestore.model.errors import Internal
from featurestore.model.peers import Extraction, Realtime
from featurestore.model.query import Notes, QueryDraft, QueryForm, Warned
from featurestore.model.table import Version


@dataclass(frozen=True, slots=True)
class Checked:
    """A query that may run: what was found in its text, and its form."""

    found: CheckedSql
    form: QueryForm
    warnings: tuple[Warned, ...]

    def draft(self, name: str, index_key: tuple[str, ...], notes: Notes) -> QueryDraft:
        """What is saved of it."""
        return QueryDraft(
            form=self.form,
            canonical=self.found.canonical,
            tables=self.found.tables,
            name=name,
            index_key=index_key,
            notes=notes,
            warnings=self.warnings,
            uses_clock=self.found.uses_clock,
        )


async def check(sql: str, realtime: Realtime, extraction: Extraction, at_least: Version) -> Checked:
    """Parse a query on its own and bind it on both engines.

    Args:
        at_least: the warehouse is asked once it holds this, so that a table made just now is known there.

    Raises:
        InvalidArgument: the text is not one pure SELECT, or it does not bind; names the position or the name.
        Unavailable: `WAREHOUSE_BEHIND`.
    """
    found = await asyncio.to_thread(parse, sql)
    hot = await realtime.describe(found.sql)
    cold = await extraction.describe(found.sql, at_least)
    if hot != cold:
        raise Internal(
            "SIDES_DIFFER",
            "realtime and the warehouse bind this query to different columns; it was not run",
            realtime=[(column.name, column.engine_type) for column in hot],
            warehouse=[(column.name, column.engine_type) for column in cold],
        )
    order, warnings = terms(found.order, hot)
    return Checked(found, QueryForm(found.sql, hot, order), found.warnings + warnings)
