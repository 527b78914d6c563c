"""Runs notebooks in fresh kernels and keeps their outputs, less what changes with every run or tells of the machine.

python notebooks/execute.py [02_storage_choices ...]        all of them by default, against the stack of CONSUMIDOR_HOME or .local
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).resolve().parent
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}


def execute(path: Path) -> None:
    """Run one notebook and write it back; a notebook with a cell that fails stays as it was.

    Raises:
        CellExecutionError: the cell and its error.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False, resources={"metadata": {"path": str(HERE)}})
    client.execute()
    notebook.metadata = KERNEL
    path.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8")


def main(names: list[str]) -> int:
    """0 all done, 1 one of them failed."""
    for path in sorted(HERE / f"{name}.ipynb" for name in names) or sorted(HERE.glob("[0-9]*.ipynb")):
        print(path.stem, flush=True)
        try:
            execute(path)
        except FileNotFoundError:
            print(f"there is no {path.name}", file=sys.stderr)
            return 1
        except CellExecutionError as error:
            print(f"{path.stem}: {error.ename}: {error.evalue}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
