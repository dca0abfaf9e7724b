"""The server of a local store: all four services in one process, on a UNIX socket, as long as somebody is attached.

Run as `python -P -m featurestore.host.local_server FOLDER`, by `featurestore.host.local`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sys
from pathlib import Path

import featurestore
from featurestore.host.folder import StoreFolder
from featurestore.model.errors import FailedPrecondition, FeatureStoreError

log = logging.getLogger(__name__)

_WATCH_SECONDS = 1.0


def main(path: str) -> int:
    """Serve the folder until the last client is gone; returns the exit code."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    folder = StoreFolder(path)
    try:
        refuse_intruders()
        folder.make()
        with folder.served() as ours:
            if not ours:
                log.error("another server holds the lock of %s", folder.path)
                return 1
            import uvloop  # noqa: PLC0415 - after the intruder check, like everything that imports the services

            uvloop.run(_serve(folder))
    except FeatureStoreError as refusal:
        print(refusal, file=sys.stderr)  # noqa: T201 - the client shows the end of our log
        return 1
    return 0


def refuse_intruders() -> None:
    """Make sure that `services` and `gateway` are ours, and not folders of that name that shadow them.

    Raises:
        FailedPrecondition: `PACKAGE_SHADOWED`, naming the intruder.
    """
    ours = Path(featurestore.__file__).parent.parent
    for name in ("services", "gateway"):
        found = importlib.import_module(name).__file__
        if found is None or Path(found).parent.parent != ours:
            raise FailedPrecondition(
                "PACKAGE_SHADOWED",
                f"the package {name!r} that Python finds is {found}, not featurestore's own in {ours}: "
                "uninstall or rename the other one",
                package=name,
                found=found,
            )


async def _serve(folder: StoreFolder) -> None:
    from featurestore.host.serve import SERVICES, serving, started  # noqa: PLC0415 - after the intruder check
    from featurestore.host.settings import local_settings  # noqa: PLC0415
    from gateway.lease import Leases  # noqa: PLC0415

    settings = local_settings(folder)
    leases = Leases(settings.linger_seconds)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leases.close)
    watch = asyncio.create_task(_exit_when_gone(folder))
    with contextlib.suppress(FileNotFoundError):
        folder.socket.unlink()  # of a server that was killed: we hold the lock, so it is no one's
    try:
        async with serving(SERVICES, settings, leases):
            folder.socket.chmod(0o600)
            started()
            await leases.last_gone()
            folder.socket.unlink(missing_ok=True)
    finally:
        watch.cancel()


async def _exit_when_gone(folder: StoreFolder) -> None:
    """End the process, writing nothing, once the folder was removed."""
    born = folder.path.stat().st_ino
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        try:
            there = folder.path.stat().st_ino == born
        except FileNotFoundError:
            there = False
        if not there:
            if folder.socket.parent != folder.path:
                folder.socket.unlink(missing_ok=True)
            os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
