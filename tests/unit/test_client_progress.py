"""Progress is shown where somebody looks, and tells what is left when that is known."""

import io
import sys
import time
from contextlib import redirect_stderr
from types import SimpleNamespace

import pytest

from featurestore.client.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Seconds that pass as the tests say."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: now.seconds)
    return now


def run(clock, *steps, shown=None):
    with Progress(shown=shown) as progress:
        for seconds, rows, done_share in steps:
            clock.seconds += seconds
            progress.add(rows, done_share)


def test_a_terminal_shows_rows_rate_and_time_left_on_one_line_and_clears_it(clock):
    with redirect_stderr(Terminal()) as err:
        run(clock, (2, 1_000_000, 0.25), (2, 3_000_000, None), (100, 1, 0.01))
    lines = err.getvalue().split("\r")
    assert lines[0] == ""
    assert lines[1].startswith("1,000,000 rows, 500,000 rows/s, 25%, 0:06 left")
    assert lines[2].startswith("4,000,000 rows, 1,000,000 rows/s ")
    assert "2:51:36 left" in lines[3]
    assert lines[4] == "\x1b[K"


def test_what_is_soon_done_shows_nothing(clock):
    with redirect_stderr(Terminal()) as err:
        run(clock, (0.2, 10, 0.5), (0.2, 10, 1.0))
    assert err.getvalue() == ""


def test_it_is_not_written_more_often_than_one_can_read(clock):
    with redirect_stderr(Terminal()) as err:
        run(clock, *[(0.01, 10, None)] * 300)
    assert err.getvalue().count("rows/s") < 15


@pytest.mark.parametrize(("stream", "shown"), [(io.StringIO(), None), (Terminal(), False)])
def test_nobody_who_did_not_ask_is_shown_anything(clock, stream, shown):
    with redirect_stderr(stream):
        run(clock, (2, 10, None), shown=shown)
    assert stream.getvalue() == ""


def test_it_is_shown_in_a_file_if_that_was_asked_for(clock):
    with redirect_stderr(io.StringIO()) as err:
        run(clock, (2, 10, None), shown=True)
    assert "10 rows, 5 rows/s" in err.getvalue()


def test_a_notebook_shows_it_as_one_output_that_ends_with_the_whole(clock, monkeypatch):
    outputs = []

    class Handle:
        def update(self, content, *, raw):
            assert raw
            outputs[-1] = content["text/plain"]

    def display(content, *, raw, display_id):
        assert raw
        assert display_id
        outputs.append(content["text/plain"])
        return Handle()

    ipython = SimpleNamespace(
        get_ipython=lambda: SimpleNamespace(kernel=object()), display=SimpleNamespace(display=display)
    )
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with redirect_stderr(io.StringIO()) as err:
        run(clock, (2, 10, 0.5), (2, 30, 1.0))
    assert outputs == ["40 rows, 10 rows/s"]
    assert err.getvalue() == ""


def test_a_shell_of_ipython_is_a_terminal(clock, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=SimpleNamespace))
    with redirect_stderr(Terminal()) as err:
        run(clock, (2, 10, None))
    assert "10 rows" in err.getvalue()
