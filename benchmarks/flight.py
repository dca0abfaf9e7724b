"""A training result by pyarrow's Flight client: from us, and from pyarrow's own Flight server, over the same kind of socket.

That server holds the same batches in memory; ours computes them out of the warehouse
in each round.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import flight

import featurestore
from benchmarks import blocks
from benchmarks.blocks import BLOCKS, Rounds
from benchmarks.results import Figure, Part, at_least
from featurestore.host.folder import StoreFolder

_BYTES_PER_ROW = 64
_PUBLISH_ROWS = 500_000
_TICKET = flight.Ticket(b"all")


def part(folder: Path, megabytes: int) -> Part:
    """Both, and how they compare."""
    found, size = measure(folder, megabytes)
    return Part(
        rows=[
            at_least(
                "training stream by Flight: ours / pyarrow's own server, MB a second",
                found.each(lambda ours, theirs: theirs / ours, "ours", "theirs"),
                0.8,
            )
        ],
        figures=[
            Figure(
                f"{size:.0f} MB by Flight",
                name,
                "MB a second",
                found.each(lambda ms: size / ms * 1_000, name),
            )
            for name in ("ours", "theirs")
        ],
        notes=["Ours computes the rows in each round, the other holds them in memory."],
    )


def measure(folder: Path, megabytes: int, rounds: int = BLOCKS) -> tuple[Rounds, float]:
    """Rounds of `ours` and `theirs`, milliseconds for the whole result; and its size in MB as Arrow counts it."""
    with featurestore.local(folder / "store") as store:
        for part in _rows(megabytes * 1_000_000 // _BYTES_PER_ROW):
            store.publish("measured", part)
        query = store.query_train("SELECT * FROM feature_store.measured", save=True).query_id
        with flight.connect(f"grpc+unix:{StoreFolder(folder / 'store').socket}") as client:
            path = flight.FlightDescriptor.for_path("query", query)
            ticket = client.get_flight_info(path).endpoints[0].ticket
            kept = client.do_get(ticket).read_all()
            size = kept.nbytes
            with _theirs(folder, kept) as other:
                del kept
                calls: dict[str, Callable[[], object]] = {
                    "ours": lambda: _read(client, ticket, size),
                    "theirs": lambda: _read(other, _TICKET, size),
                }
                return blocks.rounds({name: (call, 1) for name, call in calls.items()}, rounds), size / 1e6


def _rows(count: int) -> Iterator[pa.Table]:
    for start in range(0, count, _PUBLISH_ROWS):
        numbers = pa.array(range(start, min(start + _PUBLISH_ROWS, count)), pa.int64())
        halves = numbers.cast(pa.float64())
        yield pa.table(
            {
                "k": numbers,
                **{f"f{at}": halves for at in range(5)},
                "text": pa.array([f"row {number}" for number in numbers.to_pylist()]),
            }
        )


def _read(client: flight.FlightClient, ticket: flight.Ticket, size: int) -> None:
    """Read all of it, batch by batch, as a training loop does."""
    found = sum(chunk.data.nbytes for chunk in client.do_get(ticket))
    if abs(found - size) > size // 100:
        raise ValueError(f"read {found} bytes where {size} were expected")


@contextmanager
def _theirs(folder: Path, table: pa.Table) -> Iterator[flight.FlightClient]:
    """Run pyarrow's server in a process of its own, with the table's batches as they are."""
    content, socket = folder / "batches.arrows", folder / "theirs.sock"
    with pa.OSFile(str(content), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)
    command = [sys.executable, "-m", "benchmarks.flight", str(content), str(socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            if server.stdout is not None:
                server.stdout.readline()  # it listens
            with flight.connect(f"grpc+unix:{socket}") as client:
                yield client
        finally:
            server.kill()


class _Theirs(flight.FlightServerBase):  # type: ignore[misc]  # pyarrow has no types
    """One table by any ticket, written by pyarrow in C++."""

    def __init__(self, content: Path, socket: Path) -> None:
        super().__init__(f"grpc+unix:{socket}")
        with pa.OSFile(str(content)) as file:
            self._table = pa.ipc.open_stream(file).read_all()

    def do_get(self, _context: flight.ServerCallContext, _ticket: flight.Ticket) -> flight.RecordBatchStream:
        return flight.RecordBatchStream(self._table)


if __name__ == "__main__":
    server = _Theirs(Path(sys.argv[1]), Path(sys.argv[2]))
    print("listening", flush=True)
    server.serve()
