"""Ending what yields, whoever made it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

_T = TypeVar("_T")


@asynccontextmanager
async def closing(iterator: AsyncIterator[_T]) -> AsyncIterator[AsyncIterator[_T]]:
    """Close the iterator when the block ends, however it ends; one that can't be closed is left alone."""
    try:
        yield iterator
    finally:
        aclose = getattr(iterator, "aclose", None)
        if aclose is not None:
            await aclose()


async def until(event: asyncio.Event, iterator: AsyncIterator[_T]) -> AsyncIterator[_T]:
    """What the iterator yields, until the event is set: then this ends, also while the iterator has nothing to give."""
    told = asyncio.ensure_future(event.wait())
    try:
        while True:
            following = asyncio.ensure_future(anext(iterator))
            try:
                await asyncio.wait((following, told), return_when=asyncio.FIRST_COMPLETED)
                if told.done():
                    return
                yield following.result()
            except StopAsyncIteration:
                return
            finally:
                if not following.done():
                    following.cancel()
                    await asyncio.wait((following,))
    finally:
        told.cancel()
