"""The async twins of `featurestore.connect` and `featurestore.local`."""

from __future__ import annotations

import asyncio
import os

from featurestore.client.store_aio import AsyncStore

__all__ = ["AsyncStore", "connect", "local"]


def connect(target: str, token: str | None = None) -> AsyncStore:
    """See `featurestore.connect`."""
    return AsyncStore(target, token)


async def local(path: str | os.PathLike[str] = "./.featurestore") -> AsyncStore:
    """See `featurestore.local`."""
    from featurestore.host.folder import StoreFolder  # noqa: PLC0415 - the bare client has no services
    from featurestore.host.local import Lease, refuse_bare_client  # noqa: PLC0415

    refuse_bare_client()
    lease = await asyncio.to_thread(Lease, StoreFolder(path))
    return AsyncStore(lease.target, on_close=lease.close)
