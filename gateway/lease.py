"""Who is attached to a local store: the server stays while a lease is held, and ends some seconds after the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from featurestore.model.errors import Unavailable


class Leases:
    """Counts the clients that are attached. Of one event loop."""

    def __init__(self, linger_seconds: float) -> None:
        """Start without clients; the first has `linger_seconds` to come."""
        self._linger = linger_seconds
        self._held = 0
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold a lease in this block.

        Raises:
            Unavailable: `STORE_CLOSING`: the server ends; wait until it has, then start anew.
        """
        if self._closing.is_set():
            raise Unavailable("STORE_CLOSING", "this local store is closing: open it again")
        self._held += 1
        self._changed.set()
        try:
            yield
        finally:
            self._held -= 1
            self._changed.set()

    async def closing(self) -> None:
        """Return once the server ends."""
        await self._closing.wait()

    def close(self) -> None:
        """End the leases, whatever is held, and grant no more."""
        self._closing.set()
        self._changed.set()

    async def last_gone(self) -> None:
        """Return when nobody has held a lease for the linger time, or after `close`; from then on none is granted."""
        while not self._closing.is_set():
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), None if self._held else self._linger)
            except TimeoutError:
                self.close()
