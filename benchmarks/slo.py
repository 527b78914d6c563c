"""What a load run must reach for exit status 0, by the name of the entry in its table.

Milliseconds at the 95th and 99th percentile, and the most failures, in percent. They are for the embedded stack on two shared cores
under the mixes below, where an emulator's queue costs 50 to 100 ms a hop: about five times what `results/load` and `results/open`
came to, so that a busy machine keeps them and a path that has become slow does not. Whoever measures elsewhere names a file of their
own by `--slo FILE` (JSON of the same shape).
"""

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.locust_tables import ENTRIES, LATEST, PAGE, PEOPLE, SCORE
from consumidor.errors import CommandError

KEYS = ("p50_ms", "p95_ms", "p99_ms", "max_ms", "failures_percent")  # what a threshold can be on
THRESHOLDS: dict[str, dict[str, float]] = {
    PEOPLE: {"p95_ms": 1_000, "p99_ms": 1_500, "failures_percent": 0},
    SCORE: {"p95_ms": 150, "p99_ms": 300, "failures_percent": 0},
    LATEST: {"p95_ms": 350, "p99_ms": 600, "failures_percent": 0},
    PAGE: {"p95_ms": 450, "p99_ms": 750, "failures_percent": 0},
}


def read(file: str) -> dict[str, dict[str, float]]:
    """The thresholds of a file.

    Raises:
        CommandError: it cannot be read, is of another shape, or names an entry or a number that no run has.
    """
    try:
        found = json.loads(Path(file).read_text("utf-8"))
        given = [(name, key, value) for name, limits in found.items() for key, value in limits.items()]
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    except (ValueError, AttributeError) as error:
        raise CommandError(f"{file} must map entries to numbers {', '.join(KEYS)}") from error
    if not all(type(value) in {int, float} and 0 <= value < math.inf for _, _, value in given):
        raise CommandError(f"{file} must map entries to numbers {', '.join(KEYS)}, from 0 on")
    if unknown := [name for name in found if name not in ENTRIES]:
        raise CommandError(f"{file}: there is no entry {' nor '.join(map(repr, unknown))}; there are {', '.join(map(repr, ENTRIES))}")
    if strange := sorted({key for _, key, _ in given if key not in KEYS}):
        raise CommandError(f"{file}: there is no number {' nor '.join(map(repr, strange))} of an entry; there are {', '.join(KEYS)}")
    return {name: dict(limits) for name, limits in found.items()}


def broken(thresholds: dict[str, dict[str, float]], entries: dict[str, dict[str, Any]], wanted: set[str]) -> list[str]:
    """Each threshold that a run did not keep, in words; an entry of `wanted` that never came about is one too."""
    wrong = [f"{name}: nothing was measured" for name in sorted(wanted) if not entries.get(name, {}).get("requests")]
    for name, limits in thresholds.items():
        for key, limit in limits.items():
            value = entries.get(name, {}).get(key)
            if value is not None and value > limit:
                wrong.append(f"{name}: {key} {value:g} is over {limit:g}")
    return wrong
