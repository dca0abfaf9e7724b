"""The example notebooks run from top to bottom, as a reader would run them, and show what they are said to."""

from __future__ import annotations

import re

import nbformat
import pytest

from tests.support.notebooks import FLIGHTS, QUICKSTART, run


def shown(cell):
    """What a cell showed last, as text."""
    return cell.outputs[-1]["data"]["text/plain"]


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def only(notebook, text):
    """The one code cell that holds this text."""
    (cell,) = [cell for cell in code(notebook) if text in cell.source]
    return cell


def agreed(report):
    """How many keys a report is about; all of them must agree."""
    agreed, of, checked, *_ = report.split()
    assert (of, agreed) == ("of", checked)
    return int(checked)


def test_the_quickstart_runs_and_ends_consistent(tmp_path):
    cells = code(run(QUICKSTART, tmp_path))
    reports = [shown(cell) for cell in cells if "store.verify(" in cell.source]
    assert len(reports) == 2
    for report in reports:
        assert agreed(report) >= 100
    assert shown(cells[-1]) == "(True, True)"


def test_the_quickstart_is_kept_without_outputs():
    for cell in nbformat.read(QUICKSTART, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    return run(FLIGHTS, tmp_path_factory.mktemp("flights"))


@pytest.fixture(scope="module")
def kept():
    return nbformat.read(FLIGHTS, as_version=4)


def scores(notebook):
    """ROC AUC and log loss by who answers."""
    rows = re.findall(r"^(.*?) +(0\.\d+) +(0\.\d+)$", shown(only(notebook, "scores = ")), re.MULTILINE)
    return {name: (float(auc), float(loss)) for name, auc, loss in rows}


def test_the_flights_are_all_there_and_served_as_they_were_trained(flights):
    assert "'flights': 336776" in shown(only(flights, "load_flights()"))
    assert agreed(shown(only(flights, "store.verify("))) >= 100
    served, of, waiting, *_ = shown(only(flights, "assert_frame_equal")).strip("'").split()
    assert (of, served) == ("of", waiting)
    assert int(waiting) == 10
    assert shown(code(flights)[-1]) == "True"


def test_the_model_tells_late_flights_better_than_simple_answers_do(flights):
    found = scores(flights)
    assert list(found) == [
        "the same for every flight",
        "by scheduled hour",
        "by how the airport was doing",
        "the model",
    ]
    aucs, losses = zip(*found.values(), strict=True)
    assert list(aucs) == sorted(aucs)
    assert list(losses) == sorted(losses, reverse=True)
    assert aucs[0] == 0.5
    assert aucs[-1] < 0.9  # or it has seen what it should not


def test_the_flights_notebook_shows_what_it_gives(flights, kept):
    """`make notebook` renews what is kept."""
    assert [cell.source for cell in kept.cells] == [cell.source for cell in flights.cells]
    for name, pair in scores(kept).items():
        assert scores(flights)[name] == pytest.approx(pair, abs=0.003), name
    assert agreed(shown(only(kept, "store.verify("))) >= 100  # of keys that are drawn anew each time
    for text in ("query_train(sql", "features.contract", "assert_frame_equal"):
        cell = next(cell for cell in code(kept) if text in cell.source)
        assert shown(cell) == shown(next(cell for cell in code(flights) if text in cell.source))


def test_the_flights_notebook_is_kept_with_one_small_plot_and_without_complaints(kept):
    outputs = [output for cell in code(kept) for output in cell.outputs]
    plots = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert [len(plot) < 100_000 for plot in plots] == [True]
    assert [output for output in outputs if output.get("name") == "stderr"] == []
