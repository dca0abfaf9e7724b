"""The frozen queries: realistic features, each with what the planner has to do to every table that it names.

Each file says so above its query, in the order of the text: `key column` is narrowed by the asked keys, `chain column`
by values of another table's narrowed rows, `whole RULE` is read whole because of that rule. It was written by reading
the planner's laws, before the planner was asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "frozen"


@dataclass(frozen=True, slots=True)
class Frozen:
    """One query.

    Attributes:
        expected: of each place where it names a table, the table and what is done to it.
    """

    name: str
    sql: str
    index_key: tuple[str, ...]
    expected: tuple[tuple[str, str], ...]

    @property
    def verdict(self) -> str:
        """`indexed` where every table is narrowed, `scan` where none is, else `partly`."""
        whole = sum(what.startswith("whole") for _, what in self.expected)
        return "indexed" if whole == 0 else "scan" if whole == len(self.expected) else "partly"


def _read(path: Path) -> Frozen:
    sql = path.read_text()
    head = [line.removeprefix("-- ") for line in sql.splitlines() if line.startswith("-- ")]
    key = next(line.removeprefix("key: ") for line in head if line.startswith("key: "))
    tables = head[head.index(f"key: {key}") + 1 :]
    expected = []
    for line in tables:
        table, _, what = line.partition(": ")
        expected.append((table, ", ".join(sorted(what.split(", ")))))
    return Frozen(path.stem, sql, tuple(key.split(", ")), tuple(expected))


FROZEN = tuple(_read(path) for path in sorted(_FOLDER.glob("*.sql")))
