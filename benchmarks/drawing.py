"""The figures as a page and as SVG, from the file that keeps them: a line for each, with its spread."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from benchmarks import results
from benchmarks.blocks import Spread
from benchmarks.results import Figure, Row

_LEFT, _WIDTH, _RIGHT, _LINE = 610, 360, 200, 22
_STYLE = (
    "text{font:12px sans-serif;fill:#24292f}.head{font-weight:bold}.quiet{fill:#57606a}"
    ".bar{fill:#8ba7c7}.ours{fill:#1f5fa8}.met{fill:#1a7f37}.missed{fill:#b3261e}"
    "line{stroke:#24292f}.axis{stroke:#57606a;stroke-dasharray:3 3}"
)


def draw(path: Path = results.PATH) -> None:
    """Draw all that is in the file, beside it."""
    parts = results.read(path)
    rows = [row for part in parts.values() for row in part.rows]
    path.with_name("bars.svg").write_text(_framed(list(_bars(rows))))
    page = ["# Figures\n", "Made by `make bench` from [results.json](results.json); [how](README.md).\n"]
    page.append("![How far each figure is from its bar](bars.svg)\n")
    for name, part in parts.items():
        page += [f"## {name}\n", part.table()]
        page.append(", ".join(f"{what}: {value}" for what, value in part.with_.items()) + ".\n")
        if part.figures:
            path.with_name(f"{name}.svg").write_text(_framed(list(_figures(part.figures))))
            page.append(f"![{name}]({name}.svg)\n")
    path.with_name("figures.md").write_text("\n".join(page))


def _bars(rows: Sequence[Row]) -> Iterator[str]:
    """How far each figure is on the right side of its bar, on a logarithmic scale: the dashed line is the bar."""
    judged = [(row, _margin(row)) for row in rows]
    reach = max(
        [1.0, *(abs(math.log2(edge)) for _, m in judged for edge in (m.lowest, m.highest) if edge > 0)]
    )
    yield _text(_LEFT + _WIDTH / 2 - 10, "worse than the bar", kind="quiet", end=True) + _text(
        _LEFT + _WIDTH / 2 + 10, "better", kind="quiet"
    )

    def at(value: float) -> float:
        return _LEFT + _WIDTH * (math.log2(max(value, 2**-reach)) + reach) / (2 * reach)

    for row, margin in judged:
        kind = "met" if row.met else "missed"
        yield (
            _text(0, row.what)
            + f'<line class="axis" x1="{at(1):.0f}" x2="{at(1):.0f}" y1="0" y2="{_LINE}"/>'
            + _whisker(at(min(margin.lowest, margin.highest)), at(max(margin.lowest, margin.highest)))
            + f'<circle class="{kind}" cx="{at(margin.median):.1f}" cy="{_LINE / 2}" r="5"/>'
            + _text(
                _LEFT + _WIDTH + 12, f"{row.figure.median:.2f}, bar {'>=' if row.above else '<='} {row.bar:g}"
            )
        )


def _margin(row: Row) -> Spread:
    """Above 1 on the right side of the bar; a bar of zero is met by nothing but zero."""

    def one(value: float) -> float:
        if row.bar == 0:
            return 2.0 if value == 0 else 0.5
        return value / row.bar if row.above else row.bar / max(value, row.bar / 1_000)

    return Spread(one(row.figure.median), one(row.figure.lowest), one(row.figure.highest))


def _figures(figures: Sequence[Figure]) -> Iterator[str]:
    """Each group from zero on a scale of its own."""
    for group in dict.fromkeys((figure.group, figure.unit) for figure in figures):
        of_group = [figure for figure in figures if (figure.group, figure.unit) == group]
        most = max(figure.value.highest for figure in of_group) or 1.0
        yield _text(0, f"{group[0]} ({group[1]})", kind="head")
        for figure in of_group:
            scale = _WIDTH / most
            kind = "ours" if figure.name == "ours" else "bar"
            length = figure.value.median * scale
            yield (
                _text(_LEFT - 10, figure.name, end=True)
                + f'<rect class="{kind}" x="{_LEFT}" y="4" width="{length:.1f}" height="{_LINE - 8}"/>'
                + _whisker(_LEFT + figure.value.lowest * scale, _LEFT + figure.value.highest * scale)
                + _text(_LEFT + _WIDTH + 12, str(figure.value))
            )


def _whisker(start: float, end: float) -> str:
    return f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{_LINE / 2}" y2="{_LINE / 2}"/>'


def _text(x: float, text: str, *, kind: str = "", end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text class="{kind}" x="{x:g}" y="15"{anchor}>{escape(text)}</text>'


def _framed(lines: Sequence[str]) -> str:
    width, height = _LEFT + _WIDTH + _RIGHT, _LINE * len(lines)
    body = "\n".join(f'<g transform="translate(0 {n * _LINE})">{line}</g>' for n, line in enumerate(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -10 {width + 20} {height + 20}" '
        f'width="{width + 20}" height="{height + 20}">\n<style>{_STYLE}</style>\n'
        f'<rect x="-10" y="-10" width="{width + 20}" height="{height + 20}" fill="#fff"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    draw(*map(Path, sys.argv[1:]))
