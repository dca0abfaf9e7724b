"""Events of forty users, with nulls, in a realtime that can be tampered with, and extraction beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.extraction.extraction import ExtractionService
from services.extraction.git_settings import GitSettings
from services.extraction.worker_types import WorkerLimits
from tests.contract.verify.tampered import (
    SCHEMA,
    USERS,
    Tampered,
)
from tests.support.realtime_rows import new_id, opened, rows_of


@pytest.fixture
async def realtime(tmp_path) -> AsyncIterator[Tampered]:
    async with opened(tmp_path / "realtime") as service:
        count = USERS * 5
        rows = {
            "user_id": [None if n % 29 == 0 else n % USERS for n in range(count)],
            "day": [n % 3 for n in range(count)],
            "kind": ["ab"[n % 2] if n % 7 else None for n in range(count)],
            "amount": [n / 8 if n % 5 else None for n in range(count)],
        }
        await service.publish(new_id(), [rows_of("events", rows, schema=SCHEMA)])
        yield Tampered(service)


@pytest.fixture
async def extraction(tmp_path, realtime) -> AsyncIterator[ExtractionService]:
    git = GitSettings(schemes=frozenset({"file"}))
    async with ExtractionService(
        tmp_path / "extraction", realtime, git=git, workers=WorkerLimits(serving_seconds=10), sample_seed=1
    ) as service:
        yield service
