"""What a definition file says of itself, in the comments at its very top.

The grammar is small, so that a slip is an error and never a comment that nobody reads:

- The front matter is the run of comment lines that the file begins with; a blank line, code, or the end ends it. A file
  that begins with anything else has none.
- Each of its lines is `-- field: value` in SQL and `# field: value` in Python: one space, the field, a colon, one space.
- A field stands once; its value is the rest of the line without spaces at its end, and is never empty.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NoReturn

from featurestore.model.errors import InvalidArgument

SQL, PYTHON = "--", "#"
"""What begins a comment line."""

_LINE = re.compile(r" ([A-Za-z_][A-Za-z0-9_-]*): (.*)", re.DOTALL)
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Field:
    """A field's value, and the line that it stands on, from 1."""

    value: str
    line: int


def read_front_matter(file: str, text: str, marker: str, known: Collection[str]) -> dict[str, Field]:
    """The fields at the top of a file, in their order; empty if it begins with none.

    Args:
        file: as errors are to call it.
        text: the file's, from its first character on; lines end in LF or CRLF.
        marker: `SQL` or `PYTHON`.
        known: the fields that there are.

    Raises:
        InvalidArgument: `FRONT_MATTER`, with `file`, `line` and `field`: a comment line at the top is no field, or the
            field is unknown, stands twice, has no value, or has one with control characters.
    """
    if text.startswith(_BYTE_ORDER_MARK):
        # With it the first line is no comment line, and its field would be left out in silence.
        refuse(file, 1, "", "the file begins with a byte order mark: save it as plain UTF-8")
    found: dict[str, Field] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.startswith(marker):
            break
        matched = _LINE.fullmatch(line.removesuffix("\r").removeprefix(marker))
        if matched is None:
            refuse(
                file,
                number,
                "",
                f"comments at the top are front matter, each line `{marker} field: value`; put a blank line"
                " before other comments",
            )
        field, value = matched[1], matched[2].rstrip()
        if field not in known:
            refuse(file, number, field, f"there is no such field{_nearest(field, known)}")
        if field in found:
            refuse(file, number, field, f"it stands on line {found[field].line} already")
        if not value:
            refuse(file, number, field, "it has no value: write one, or leave the line out")
        if not value.isprintable():
            refuse(file, number, field, "its value holds a tab or another control character")
        found[field] = Field(value, number)
    return found


def refuse(file: str, line: int, field: str, why: str) -> NoReturn:
    """Refuse what a file says.

    Raises:
        InvalidArgument: `FRONT_MATTER`.
    """
    where = f"{file} line {line}" + (f", field {field}" if field else "")
    raise InvalidArgument("FRONT_MATTER", f"{where}: {why}", file=file, line=line, field=field)


def _nearest(field: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(field, known, n=1)
    meant = f"; was {near[0]} meant?" if near else ""
    return f"{meant} (there are {', '.join(known)})"
