"""How things are compared here: in turns, at least five times each, by wall time and by CPU time.

A `Way` does the same piece of work once and says what it took. `in_turns` runs ways one after the other, forth and back, so that whatever
else the machine does falls on all of them; a ratio is taken within each turn, and its median and spread are over the turns.
"""

import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import structlog

from consumidor import telemetry

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
REPETITIONS = 5
_LIBRARIES = ("starlette", "uvicorn", "boto3", "psycopg", "pymongo", "elasticsearch", "PyJWT", "msgspec", "ministack", "SecantusDB")


class Took(NamedTuple):
    """What `units` of work took: seconds on the clock, seconds of CPU of the process that did it."""

    wall: float
    cpu: float
    units: int

    def each(self, by: str = "wall") -> float:
        """Seconds for one unit, by `wall` or `cpu`."""
        return float(getattr(self, by)) / self.units


Way = Callable[[], Took]


class Spread(NamedTuple):
    """Median, least and greatest of some repetitions."""

    median: float
    low: float
    high: float
    repetitions: int


class Figure(NamedTuple):
    """One measured figure of DESIGN's table: its name, what it came to, its unit, and absolute numbers that stand beside it."""

    name: str
    value: Spread
    unit: str
    beside: Mapping[str, float]


def spread(values: Iterable[float]) -> Spread:
    """Of at least one value."""
    known = list(values)
    return Spread(statistics.median(known), min(known), max(known), len(known))


def in_turns(ways: Mapping[str, Way], repetitions: int = REPETITIONS) -> dict[str, list[Took]]:
    """Each way `repetitions` times, every second turn in the reverse order; one turn before them warms up and does not count."""
    took: dict[str, list[Took]] = {name: [] for name in ways}
    for turn in range(repetitions + 1):
        names = list(ways) if turn % 2 else list(ways)[::-1]
        for name in names:
            one = ways[name]()
            if turn:
                took[name].append(one)
    return took


def ratio(over: list[Took], under: list[Took], by: str = "wall") -> Spread:
    """How many times as long `over` takes a unit as `under`, turn by turn."""
    return spread(a.each(by) / b.each(by) for a, b in zip(over, under, strict=True))


def microseconds(took: list[Took], by: str = "wall") -> float:
    """Median of one unit, rounded to a tenth."""
    return round(statistics.median(one.each(by) for one in took) * 1e6, 1)


def timed(work: Callable[[], int]) -> Took:
    """What this very process took for work that says how many units it did."""
    cpu, started = time.process_time(), time.perf_counter()
    count = work()
    return Took(time.perf_counter() - started, time.process_time() - cpu, count)


@contextmanager
def cpu_of(processes: Iterable[psutil.Process]) -> Iterator[list[float]]:
    """Inside it, CPU seconds that other processes and their children spend; the list has one number at the end."""
    known = list(processes)
    before = [cpu_seconds(process) for process in known]
    spent: list[float] = []
    yield spent
    spent.append(sum(cpu_seconds(process) - earlier for process, earlier in zip(known, before, strict=True)))


def cpu_seconds(process: psutil.Process) -> float:
    """What it and its children have taken, those included that are gone: PostgreSQL's come and go."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # gone since: its parent has it, at the next look
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@contextmanager
def logged_aside() -> Iterator[None]:
    """What is compared in this very process logs as it does when deployed, a line a message, but not into our table."""
    with tempfile.TemporaryFile("w") as log:
        telemetry.configure_logging("prd")
        structlog.configure(logger_factory=structlog.WriteLoggerFactory(log))
        yield


def context() -> dict[str, Any]:
    """Where and of what a result comes: machine, commit, versions. Of the machine what bears on speed, and no names."""
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": {
            "cpu": _cpu_model(), "cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30),
            "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        },
        "commit": _git("rev-parse", "--short=12", "HEAD") or "unknown",
        "changed": bool(_git("status", "--porcelain", "--", "consumidor")),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES},
    }  # fmt: skip


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _git(*arguments: str) -> str:
    """Empty where this is no checkout."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S607 - the user's git
    except (OSError, subprocess.CalledProcessError):
        return ""


def write_json(path: Path, content: object) -> None:
    """Replace a file whole, or leave it as it was."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """As `write_json`, of text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)
