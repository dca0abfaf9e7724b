"""The canary: a script that tries what no script may do, run in a sealed worker before any other."""

from __future__ import annotations

from services.extraction.sealed_process import SealedWorker


async def forbidden_acts_done(worker: SealedWorker) -> list[str]:
    """Placeholder."""
    worker.kill()
    await worker.wait()
    return []
