"""Work on the parts of a stream, several at a time, with results in the stream's order and never many of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class InOrder(Generic[Part, Result]):
    """Fetches parts ahead and works on them; what is ready waits until those before it were taken.

    Starts when it is made, and runs until it is closed. At most `ahead` parts are fetched and not taken yet, whatever
    the reader does.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Part | None]],
        work: Callable[[Part], Awaitable[Result]],
        *,
        ahead: int,
    ) -> None:
        """Begin to fetch.

        Args:
            fetch: the next part, None after the last; called by one caller at a time.
            work: called for several parts at a time.
        """
        self._fetch = fetch
        self._work = work
        self._room = asyncio.Semaphore(ahead)
        self._begun: asyncio.Queue[asyncio.Future[Result] | None] = asyncio.Queue()
        self._open: set[asyncio.Future[Result]] = set()
        self._pump = asyncio.create_task(self._run())

    async def next(self) -> Result | None:
        """The next result; None after the last, where nothing is left to be asked for.

        Raises:
            Exception: what the work on this part raised, or fetching it.
        """
        begun = await self._begun.get()
        if begun is None:
            return None
        try:
            return await begun
        finally:
            self._open.discard(begun)
            self._room.release()

    async def close(self) -> None:
        """Stop: what was fetched and not taken is dropped, work that runs is cancelled and has ended."""
        self._pump.cancel()
        await asyncio.wait({self._pump})
        for begun in self._open:
            begun.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while True:
                await self._room.acquire()
                part = await self._fetch()
                if part is None:
                    break
                self._add(asyncio.ensure_future(self._work(part)))
        except Exception as error:  # noqa: BLE001 - raised to the reader, once it has taken what came before
            failed: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            self._add(failed)
        self._begun.put_nowait(None)

    def _add(self, begun: asyncio.Future[Result]) -> None:
        self._open.add(begun)
        self._begun.put_nowait(begun)
