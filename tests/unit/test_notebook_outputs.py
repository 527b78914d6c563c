"""What is committed of the notebooks gives nothing away and does not change with every run."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb"))
LEAKS = {
    "a path of some machine": re.compile(r"(?<![\w.:/}])/(?:home|root|Users|tmp|work|var|usr|opt|private)/\w"),
    "a token": re.compile(r"eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}"),
    "a password": re.compile(r"\w+://[^\s/:@]+:[^\s/@]+@"),
    "a port of some run": re.compile(r"(?:127\.0\.0\.1|localhost):\d{4,5}"),
    "this machine's name": re.compile(rf"\b{re.escape(socket.gethostname())}\b"),
}
named = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    """A notebook as its JSON."""
    return dict(json.loads(path.read_text("utf-8")))


def shown(path: Path) -> str:
    """All that a reader sees of a notebook but its pictures."""
    cells = read(path)["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    data = [text for output in outputs for kind, text in output.get("data", {}).items() if not kind.startswith("image/")]
    return "\n".join(
        "".join(text) for text in (*(cell["source"] for cell in cells), *(output.get("text", "") for output in outputs), *data)
    )


@named
def test_nothing_is_given_away(path: Path) -> None:
    """No path, token, password, port or name of the machine it ran on."""
    text = shown(path)
    assert {what: pattern.findall(text) for what, pattern in LEAKS.items() if pattern.search(text)} == {}


def test_leaks_would_be_found() -> None:
    """The patterns know what they look for."""
    text = f"/root/x eyJhbGciOiJSUzI1.eyJpc3MiOiJodHR.c2lnbmF0dXJl postgresql://a:b@c http://127.0.0.1:8080 at {socket.gethostname()}"
    assert all(pattern.search(text) for pattern in LEAKS.values())


@named
def test_only_what_matters_is_kept(path: Path) -> None:
    """No times of execution and no version of Python in the metadata, so that a run changes only what came out differently."""
    notebook = read(path)
    assert [cell["metadata"] for cell in notebook["cells"] if cell["metadata"]] == []
    assert notebook["metadata"].keys() == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}


def test_the_load_report_is_of_these_results() -> None:
    """Its outputs name the commit of every result there is: it was run after the last of them was taken."""
    report, results = NOTEBOOKS[0].parent / "06_load_report.ipynb", NOTEBOOKS[0].parents[1] / "benchmarks" / "results"
    files = [json.loads((results / name).read_text("utf-8")) for name in ("ratios.json", "scale.json", "simulation.json", "faults.json")]
    files += [json.loads(file.read_text("utf-8")) for file in results.glob("*/run.json")]
    commits = {one["commit"] for file in files for one in file.get("contexts", {"": file} if "commit" in file else {}).values()}
    assert len(commits) > 3
    assert {commit for commit in commits if commit not in shown(report)} == set()
