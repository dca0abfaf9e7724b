"""Running the example notebooks as a reader would; `python -m tests.support.notebooks` keeps what flights.ipynb shows."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.support.git_repos import GitRepo

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICKSTART = EXAMPLES / "quickstart.ipynb"
FLIGHTS = EXAMPLES / "flights.ipynb"


def run(notebook: Path, folder: Path) -> NotebookNode:
    """Run a notebook in a clone of its own, in which the scripts beside it are committed, and return it with its outputs.

    Args:
        folder: an empty one, for the clone and for all that the notebook writes.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    write_kernel_spec(folder / "kernels" / "this-python")  # else Jupyter's idea of `python3` would run it
    executed = nbformat.read(notebook, as_version=4)
    client = NotebookClient(executed, kernel_name="this-python", timeout=120, record_timing=False)
    with GitRepo(folder / "a clone") as clone, pytest.MonkeyPatch.context() as patch:
        beside = {f"examples/{path.name}": path.read_bytes() for path in EXAMPLES.glob("*.py")}
        clone.commit(beside)
        patch.setenv("JUPYTER_PATH", str(folder))
        patch.setenv("TMPDIR", str(folder))
        # More threads than one wait for each other by spinning, which takes minutes on a machine that is shared.
        patch.setenv("OMP_NUM_THREADS", "1")
        client.execute(cwd=clone.folder / "examples")
    return executed


def main() -> None:
    """Run flights.ipynb and write it back with its outputs."""
    folder = Path(tempfile.mkdtemp(prefix="notebook-"))
    try:
        nbformat.write(run(FLIGHTS, folder), FLIGHTS)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
