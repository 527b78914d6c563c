"""Where the figures of `make faults` go: benchmarks/results/faults.json, one section a test."""

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.measure import context

LONG = "FAULT_RESULTS" in os.environ  # the long set: it writes down what it finds, and takes its time


def record(section: str, found: Any) -> None:
    """Print what was found, and in the long set put it into the file in place of what the section held, with where and of what it comes."""
    print(json.dumps({section: found}))
    if not LONG:
        return
    file = Path(os.environ["FAULT_RESULTS"])
    known = json.loads(file.read_text()) if file.exists() else {}
    known |= {section: found, "contexts": known.get("contexts", {}) | {section: context()}}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
