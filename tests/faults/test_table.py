"""The README's tables of faults are what `make faults` found, figure by figure."""

import json
from pathlib import Path

from tests.faults.table import RESULTS, draw

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_shows_what_was_found() -> None:
    """The tables are drawn from the results, and no figure in them is a loss."""
    results = json.loads(RESULTS.read_text())
    assert draw(results) in README.read_text("utf-8")
    assert not any(row["lost"] or row["foreign"] for row in (*results["crashes"], *results["outages"]))
