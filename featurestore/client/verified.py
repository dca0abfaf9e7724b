"""What verifying found, as people read it."""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from featurestore.client.grids import grid, html_grid
from featurestore.model.table import Version
from featurestore.model.verifying import Difference, KeptReport, VerifyReport


@dataclass(frozen=True, repr=False)
class Verified:
    """Whether training and serving agree, key by key.

    Attributes:
        consistent: at least one key was checked, and every checked key agrees.
        skipped: keys that were written meanwhile, twice.
        differences: the first 100: key, column, trained, served, cause; docs/sameness.md tells what each cause means.
        exact: floats had to be equal to the last bit; else within 1e-9 relative.
        float_values: finite floats that were held side by side.
        bitwise_equal: the share of them that is equal to the last bit; 1.0 if there are none.
        largest_error: the largest relative difference of two of them.
        verified_at: of a report that was kept; it has the first differences only. None for one made just now.
    """

    consistent: bool
    checked: int
    agreed: int
    skipped: int
    differences: tuple[Difference, ...]
    version: Version
    remarks: tuple[str, ...]
    exact: bool
    float_values: int
    bitwise_equal: float
    largest_error: float
    index_key: tuple[str, ...] = ()
    verified_at: datetime | None = None

    @classmethod
    def of_kept(cls, kept: KeptReport) -> Verified:
        """From the catalogue."""
        return cls.of(kept.report, kept.index_key, kept.verified_at)

    @classmethod
    def of(
        cls, found: VerifyReport, index_key: tuple[str, ...] = (), verified_at: datetime | None = None
    ) -> Verified:
        """From the model."""
        return cls(
            found.consistent,
            found.checked,
            found.agreed,
            found.skipped,
            found.differences,
            found.version,
            found.remarks,
            found.exact,
            found.float_values,
            found.float_values_bitwise_equal / found.float_values if found.float_values else 1.0,
            found.largest_error,
            index_key,
            verified_at,
        )

    @property
    def causes(self) -> dict[str, int]:
        """How many of the differences have each cause, the most frequent first."""
        return dict(Counter(each.cause for each in self.differences).most_common())

    _HEADER = ("key", "column", "trained", "served", "cause")

    def _rows(self) -> list[tuple[object, ...]]:
        return [(d.key, d.column, d.trained, d.served, d.cause) for d in self.differences]

    def __repr__(self) -> str:
        lines = [self.summary, *self._notes]
        return "\n".join(lines if not self.differences else [*lines, grid(self._HEADER, self._rows())])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self._notes)
        if not self.differences:
            return f"<p><b>{html.escape(self.summary)}</b></p>{notes}"
        return html_grid(self._HEADER, self._rows(), self.summary) + notes

    @property
    def summary(self) -> str:
        """In a line how many keys agree, and why the others don't."""
        skipped = f"; {self.skipped} skipped, written meanwhile" if self.skipped else ""
        causes = f"; {', '.join(self.causes)}" if self.causes else ""
        return f"{self.agreed} of {self.checked} keys agree{skipped}{causes}"

    @property
    def floats(self) -> str:
        """In a line how near the floats are; empty if there are none."""
        if not self.float_values:
            return ""
        wanted = "to the last bit" if self.exact else "within 1e-9"
        return (
            f"{self.float_values:,} floats compared {wanted}: {self.bitwise_equal:.2%} equal to the last bit, "
            f"largest relative error {self.largest_error:.1e}"
        )

    @property
    def _notes(self) -> list[str]:
        return [note for note in (self.floats, *self.remarks) if note]
