"""How far a long read is: one line of text, where somebody looks, a terminal or a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

_EVERY_SECONDS = 0.25
_AFTER_SECONDS = 0.5  # what is done sooner shows nothing
_LEAST_SHARE = 0.01  # of less, what is left can't be told


class Progress:
    """Rows, rate and, when it is known, the time left; a context manager that clears the line of a terminal at its end.

    On a terminal the line is on standard error; in a notebook it is an output of the cell, which stays as it was last.
    """

    def __init__(self, *, shown: bool | None = None) -> None:
        """Nothing is shown yet.

        Args:
            shown: None: only in a notebook, or if standard error is a terminal.
        """
        self._rows = 0
        self._done_share: float | None = None
        self._write, self._clear = _place(shown=shown)
        self._began = time.monotonic()
        self._next = self._began + _AFTER_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def add(self, rows: int, done_share: float | None = None) -> None:
        """More rows came.

        Args:
            done_share: the part of the work behind all rows so far, 0 to 1.
        """
        self._rows += rows
        self._done_share = done_share
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY_SECONDS
            self._write(self._text(now - self._began))

    def end(self) -> None:
        """No more come."""
        self._done_share = None
        if self._next > self._began + _AFTER_SECONDS:
            self._clear(self._text(time.monotonic() - self._began))

    def _text(self, seconds: float) -> str:
        text = f"{self._rows:,} rows, {self._rows / seconds:,.0f} rows/s"
        share = self._done_share
        if share is None or share < _LEAST_SHARE:
            return text
        return f"{text}, {share:.0%}, {_clock(seconds * (1 - share) / share)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


_Write = Callable[[str], None]


def _place(*, shown: bool | None) -> tuple[_Write, _Write]:
    """What shows a text, and what is called with the last one."""
    notebook = _notebook()
    if shown is False or (shown is None and notebook is None and not sys.stderr.isatty()):
        return _nowhere, _nowhere
    if notebook is not None:
        return notebook, notebook
    return _on_the_terminal, _off_the_terminal


def _notebook() -> _Write | None:
    """Writes an output of the running cell, and then over it; None where there are no cells."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if not hasattr(shell, "kernel"):
        return None
    shown: list[Any] = []

    def write(text: str) -> None:
        content = {"text/plain": text}
        if shown:
            shown[0].update(content, raw=True)
        else:
            shown.append(ipython.display.display(content, raw=True, display_id=True))

    return write


def _nowhere(_: str) -> None:
    return


def _on_the_terminal(text: str) -> None:
    sys.stderr.write(f"\r{text} \x1b[K")
    sys.stderr.flush()


def _off_the_terminal(_: str) -> None:
    sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()
