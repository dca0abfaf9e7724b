"""Callers that wait for the writer lane: kept with their proposals, told in their own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from featurestore.model.table import Published
from services.realtime.proposals import Proposal

Verdict: TypeAlias = Published | Exception


@dataclass(slots=True, eq=False)
class Entry:
    """A proposal that waits, and its caller, who is told in the caller's loop."""

    proposal: Proposal
    size: int
    caller: asyncio.Future[Published]
    settled: bool = False

    @property
    def given_up(self) -> bool:
        """Whether its caller went away, and has not been told anything."""
        return self.caller.cancelled()


def settle(verdicts: Sequence[tuple[Entry, Verdict]]) -> None:
    """Tell the callers, all of a loop at once: each wake of a loop costs as much as a small publish."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Published], Verdict]]] = {}
    for entry, verdict in verdicts:
        entry.settled = True
        by_loop.setdefault(entry.caller.get_loop(), []).append((entry.caller, verdict))
    for loop, told in by_loop.items():
        try:
            loop.call_soon_threadsafe(_tell, told)
        except RuntimeError:  # it is closed: nobody waits there any more
            if not loop.is_closed():
                raise


def _tell(told: Sequence[tuple[asyncio.Future[Published], Verdict]]) -> None:
    for caller, verdict in told:
        if caller.done():
            continue  # it went away meanwhile
        if isinstance(verdict, Published):
            caller.set_result(verdict)
        else:
            caller.set_exception(verdict)
