"""Every notebook runs clean in a fresh kernel, keeps its own claims, and is committed with its outputs."""

import resource
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9]*.ipynb"))
SECONDS = 120  # of CPU, for one notebook: what it takes on a machine that does nothing else
CELLS = 25
named = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    """A notebook as it is committed."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat leaves it untyped


def cpu_of_children() -> float:
    """CPU seconds of the kernels that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@named
@pytest.mark.timeout(600)
def test_it_runs(path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cells, asserts included, in a fresh kernel; against the running stack where the notebook asks one."""
    notebook = read(path)
    if any("from bureau import" in cell.source for cell in notebook.cells):
        monkeypatch.setenv("CONSUMIDOR_HOME", str(request.getfixturevalue("stack").home))
    before = cpu_of_children()
    nbclient.NotebookClient(notebook, timeout=2 * SECONDS, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert cpu_of_children() - before < SECONDS


@named
def test_it_is_committed_as_it_ran(path: Path) -> None:
    """Its code cells have run in order, with outputs and no error, and its first cell has the question and the answer."""
    cells = read(path).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert len(cells) <= CELLS
    assert "**Question.**" in cells[0].source
    assert "**Answer.**" in cells[0].source
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert any(output.output_type != "stream" for cell in code for output in cell.outputs)
