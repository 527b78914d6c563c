"""Runs programs under mocks and reads what they declared."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.infra.graph import Graph
from tests.infra.mutations import PROGRAM

ROOT = Path(__file__).parents[2]


class Job(NamedTuple):
    """A program to record: its stack, what differs from the stack's configuration, its folder, and where to make things (None: nowhere)."""

    stack: str
    changes: Mapping[str, Any] = {}
    folder: Path = PROGRAM
    place: Mapping[str, str] | None = None


def record_all(jobs: Mapping[str, Job], folder: Path) -> dict[str, Graph]:
    """Record every job, in processes of their own; `folder` is for what they write."""
    targets = {name: folder / f"{number}.json" for number, name in enumerate(jobs)}
    described = [{**job._asdict(), "folder": str(job.folder), "target": str(targets[name])} for name, job in jobs.items()]
    command = [sys.executable, "-m", "tests.infra.record"]
    done = subprocess.run(command, input=json.dumps(described), text=True, check=False, capture_output=True, cwd=ROOT, timeout=240)
    assert done.returncode == 0, done.stderr
    return {name: Graph(json.loads(targets[name].read_text()), job.stack) for name, job in jobs.items()}
