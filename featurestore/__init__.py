"""A feature store in which training and serving run the same SQL, the same code and the same schema.

import featurestore as fs

store = fs.local("./my-store")            # no server needed; or
store = fs.connect("localhost:50051")     # the same methods, over the network
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from featurestore.version import __version__

__all__ = ["Store", "__version__", "aio", "connect", "errors", "local"]

if TYPE_CHECKING:
    from featurestore import aio
    from featurestore.client.sync import Store
    from featurestore.model import errors


def connect(target: str, token: str | None = None) -> Store:
    """A store over the network.

    Args:
        target: `host:port` or `unix:/path` of a gateway. Nothing is sent before the first call.
        token: sent as a bearer token with every call.
    """
    from featurestore.client.sync import Store  # noqa: PLC0415 - services import this package without the client

    return Store(target, token)


def local(path: str | os.PathLike[str] = "./.featurestore") -> Store:
    """A store in a folder, without a server to run: one child process serves it as long as somebody has it open.

    Args:
        path: made if need be; two notebooks may share it.

    Raises:
        ImportError: the extra `local` is not installed.
        FailedPrecondition: `STORE_FORMAT`, `VERSION_MISMATCH`, `NOT_A_STORE`, `LOCAL_START`.
        Unavailable: `LOCAL_START_SLOW`.
    """
    from featurestore.client.sync import Store  # noqa: PLC0415 - as above
    from featurestore.host.folder import StoreFolder  # noqa: PLC0415 - the bare client has no services
    from featurestore.host.local import Lease, refuse_bare_client  # noqa: PLC0415

    refuse_bare_client()
    lease = Lease(StoreFolder(path))
    return Store(lease.target, on_close=lease.close)


_ELSEWHERE = {"aio": "featurestore.aio", "errors": "featurestore.model.errors"}


def __getattr__(name: str) -> Any:
    """Load `aio`, `errors` and `Store` when they are asked for: an ETL worker imports this package too."""
    if name in _ELSEWHERE:
        return importlib.import_module(_ELSEWHERE[name])
    if name == "Store":
        return importlib.import_module("featurestore.client.sync").Store
    raise AttributeError(f"module 'featurestore' has no attribute {name!r}")
