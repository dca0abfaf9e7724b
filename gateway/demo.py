"""PublishDemo: simulated insurance customers, each flow one version."""

from __future__ import annotations

import asyncio
import uuid

from featurestore.model.errors import InvalidArgument
from featurestore.model.frames import table_to_stream
from featurestore.model.peers import Realtime
from featurestore.model.table import Published, TableRows
from gateway.demo_flows import TABLES, FlowSimulator

MAX_FLOWS = 100_000
_AT_ONCE = 64
"""Flows that wait in realtime's writer lane together: it groups them."""


async def publish_demo(realtime: Realtime, n_flows: int, seed: int | None) -> Published:
    """Publish `n_flows` customers; the same seed gives the same customers.

    Raises:
        InvalidArgument: `BAD_COUNT`.
        FailedPrecondition: `DEMO_NOT_INSTALLED`.
        AlreadyExists: `TABLE_DEFINED_OTHERWISE`.
    """
    if not 1 <= n_flows <= MAX_FLOWS:
        raise InvalidArgument(
            "BAD_COUNT", f"n_flows is {n_flows}: give 1 to {MAX_FLOWS:,}", field="n_flows", n_flows=n_flows
        )
    simulator = await asyncio.to_thread(FlowSimulator, seed)
    for definition in TABLES.values():
        await realtime.create_table(definition)
    run = uuid.uuid4().hex
    rows, done = 0, 0
    version = await realtime.version()
    while done < n_flows:
        count = min(_AT_ONCE, n_flows - done)
        flows = await asyncio.to_thread(_flows, simulator, count)
        published = await asyncio.gather(
            *(realtime.publish(f"demo-{run}-{done + at}", flow) for at, flow in enumerate(flows))
        )
        rows += sum(one.rows for one in published)
        version = max((one.version for one in published), key=lambda one: one.sequence)
        done += count
    return Published(rows, version)


def _flows(simulator: FlowSimulator, count: int) -> list[list[TableRows]]:
    return [
        [TableRows(name, table_to_stream(rows)) for name, rows in simulator.next_flow().items()]
        for _ in range(count)
    ]
