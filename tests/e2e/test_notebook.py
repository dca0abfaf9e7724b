"""The quickstart runs from top to bottom, as a reader would run it."""

from __future__ import annotations

from pathlib import Path

import nbformat
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


def shown(cell):
    """What a cell showed last, as text."""
    return cell.outputs[-1]["data"]["text/plain"]


def test_the_quickstart_runs_and_ends_consistent(monkeypatch, tmp_path):
    write_kernel_spec(tmp_path / "kernels" / "this-python")  # else Jupyter's idea of `python3` would run it
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, kernel_name="this-python", timeout=60).execute(cwd=tmp_path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    reports = [shown(cell) for cell in code if "store.verify(" in cell.source]
    assert len(reports) == 2
    for report in reports:
        agreed, of, checked, *_ = report.split()
        assert (of, agreed) == ("of", checked)
        assert int(checked) >= 100
    assert shown(code[-1]) == "(True, True)"


def test_the_quickstart_is_kept_without_outputs():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
