"""Tables of text, for terminals and for notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def grid(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A plain text table."""
    cells = [
        [str(cell) for cell in header],
        *([("" if cell is None else str(cell)) for cell in row] for row in rows),
    ]
    widths = [max(len(row[at]) for row in cells) for at in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def html_grid(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """The same as an HTML table."""

    def line(cells: Sequence[object], tag: str) -> str:
        inner = "".join(f"<{tag}>{html.escape('' if cell is None else str(cell))}</{tag}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(line(row, "td") for row in rows)
    return f"<table>{title}<thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"
