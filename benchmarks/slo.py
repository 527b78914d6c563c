"""What a load run must reach for exit status 0, by the name of the entry in its table.

Milliseconds at the 95th and 99th percentile, and the most failures, in percent. They are for the embedded stack on two shared cores
under the mixes below, where an emulator's queue costs 50 to 100 ms a hop; whoever measures elsewhere names a file of their own by
`--slo FILE` (JSON of the same shape).
"""

import json
from pathlib import Path
from typing import Any

from consumidor.errors import CommandError

THRESHOLDS: dict[str, dict[str, float]] = {
    "people: POST to response": {"p95_ms": 5_000, "p99_ms": 10_000, "failures_percent": 0},
    "score: GET score": {"p95_ms": 500, "p99_ms": 1_500, "failures_percent": 0},
    "events: GET latest": {"p95_ms": 500, "p99_ms": 1_500, "failures_percent": 0},
    "events: GET page": {"p95_ms": 500, "p99_ms": 1_500, "failures_percent": 0},
}


def read(file: str) -> dict[str, dict[str, float]]:
    """The thresholds of a file.

    Raises:
        CommandError: it cannot be read or is of another shape.
    """
    try:
        found = json.loads(Path(file).read_text("utf-8"))
        return {str(name): {str(key): float(value) for key, value in limits.items()} for name, limits in found.items()}
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise CommandError(f"{file} must map entries to numbers p95_ms, p99_ms, failures_percent") from error


def broken(thresholds: dict[str, dict[str, float]], entries: dict[str, dict[str, Any]], wanted: set[str]) -> list[str]:
    """Each threshold that a run did not keep, in words; an entry of `wanted` that never came about is one too."""
    wrong = [f"{name}: nothing was measured" for name in sorted(wanted) if not entries.get(name, {}).get("requests")]
    for name, limits in thresholds.items():
        for key, limit in limits.items():
            value = entries.get(name, {}).get(key)
            if value is not None and value > limit:
                wrong.append(f"{name}: {key} {value:g} is over {limit:g}")
    return wrong
