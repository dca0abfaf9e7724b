"""A place in a text, as people count: lines and characters from 1."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a text."""

    line: int
    character: int

    def __str__(self) -> str:
        return f"at line {self.line}, character {self.character}"

    @property
    def details(self) -> dict[str, object]:
        """For the details of an error."""
        return {"line": self.line, "character": self.character}


def place_in(text: str, offset: int, *, in_bytes: bool = False) -> Place:
    """Where an offset points to.

    Args:
        text: as its author wrote it.
        offset: from 0; behind the end means the end.
        in_bytes: the offset counts bytes of UTF-8, as DuckDB's binder and parse tree do; its parser's errors
            count characters.
    """
    before = text.encode()[:offset].decode(errors="ignore") if in_bytes else text[:offset]
    return Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
