"""Draws benchmarks/results/faults.json as the README's tables: `python -m tests.faults.table`."""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "faults.json"
COLUMNS = ("accepted", "answered", "lost", "repeated", "foreign", "log_rows", "seconds_to_recover")
_HEADS = ("accepted", "answered", "lost", "repeated", "to another client", "log rows", "seconds to recover")
_MARK = {"SIGKILL": "kill -9", "SIGTERM": "SIGTERM"}


def draw(results: dict[str, Any]) -> str:
    """Markdown: the crashes by point, then the outages by dependency, several figures to a cell."""
    crashes = _table("the worker ended", "point", "signal", results["crashes"])
    seconds = results["outages"][0]["seconds"]
    outages = _table(f"under load, for {seconds:g} s", "dependency", "mode", results["outages"])
    return "\n".join([*crashes, "", *outages])


def _table(title: str, by: str, kind: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    kinds = list(dict.fromkeys(_MARK.get(row[kind], row[kind]) for row in rows))
    yield f"| {title}: {' / '.join(kinds)} | {' | '.join(_HEADS)} |"
    yield "|---" * (1 + len(COLUMNS)) + "|"
    rows = sorted(rows, key=lambda row: [each[by] for each in rows].index(row[by]))
    for name, group in groupby(rows, key=lambda row: str(row[by])):
        cells = list(group)
        yield f"| {name} | " + " | ".join(" / ".join(f"{cell[column]:g}" for cell in cells) for column in COLUMNS) + " |"


if __name__ == "__main__":
    print(draw(json.loads(RESULTS.read_text())))
