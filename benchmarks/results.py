"""What was measured, kept: one file with all parts, each with when, where and with what it ran; tables are made of it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import grpc

from benchmarks.blocks import Spread

PATH = Path(__file__).parent.parent / "docs" / "benchmarks" / "results.json"


@dataclass(frozen=True)
class Row:
    """One figure that has a bar.

    Attributes:
        above: whether the figure must not be below the bar; otherwise not above it.
    """

    what: str
    bar: float
    above: bool
    figure: Spread

    @property
    def met(self) -> bool:
        """Whether the median is on the right side."""
        return self.figure.median >= self.bar if self.above else self.figure.median <= self.bar

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        return f"| {self.what} | {'>=' if self.above else '<='} {self.bar:g} | {self.figure} | {verdict} |"


def at_most(what: str, figure: Spread, bar: float) -> Row:
    """A figure that must not be above the bar."""
    return Row(what, bar, above=False, figure=figure)


def at_least(what: str, figure: Spread, bar: float) -> Row:
    """A figure that must not be below the bar."""
    return Row(what, bar, above=True, figure=figure)


@dataclass(frozen=True)
class Figure:
    """One that has no bar, but goes into one.

    Attributes:
        group: figures of a group are of one unit, and are drawn together.
    """

    group: str
    name: str
    unit: str
    value: Spread

    def __str__(self) -> str:
        return f"| {self.group} | {self.name} | {self.value} {self.unit} |"


@dataclass(frozen=True)
class Part:
    """What one part of the benchmarks found.

    Attributes:
        with_: versions of what it ran with, and settings that matter.
        notes: sentences that belong to the figures.
    """

    rows: Sequence[Row]
    figures: Sequence[Figure] = ()
    with_: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def table(self) -> str:
        """As Markdown."""
        lines: list[str] = []
        if self.rows:
            lines += [
                "| what | bar | figure: median (spread) of the blocks | verdict |",
                "| --- | --- | --- | --- |",
            ]
            lines += [*map(str, self.rows), ""]
        if self.figures:
            lines += ["| load | of | median (spread) of the blocks |", "| --- | --- | --- |"]
            lines += [*map(str, self.figures), ""]
        return "\n".join([*lines, *self.notes, ""])


def machine() -> dict[str, str]:
    """Where and with what all parts run."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _text("/proc/cpuinfo").splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": str(os.cpu_count()),
        "processor": model or platform.machine(),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "duckdb": duckdb.__version__,
        "grpcio": grpc.__version__,
    }


def keep(name: str, part: Part, seconds: float, path: Path = PATH) -> None:
    """Put a part into the file, in place of what it found before; other parts stay."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept[name] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds),
        "load_before": f"{os.getloadavg()[2]:.1f} (mean of 15 minutes)",
        "with": {**machine(), **part.with_},
        "rows": [asdict(row) | {"met": row.met} for row in part.rows],
        "figures": [asdict(figure) for figure in part.figures],
        "notes": list(part.notes),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def read(path: Path = PATH) -> dict[str, Part]:
    """The parts that are in the file."""
    return {
        name: Part(
            rows=[
                Row(row["what"], row["bar"], row["above"], Spread(**row["figure"])) for row in kept["rows"]
            ],
            figures=[
                Figure(each["group"], each["name"], each["unit"], Spread(**each["value"]))
                for each in kept["figures"]
            ],
            with_=kept["with"],
            notes=kept["notes"],
        )
        for name, kept in json.loads(path.read_text()).items()
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
