"""Runs `locustfile.py` without a page and keeps its results: `make load`.

    python -m benchmarks.load [--home HOME | --api URL --token-url URL --client-id ID] [--name NAME] [--mix MIX] [--stages STAGES]
                              [--arrivals N] [--people N] [--slo FILE] [--to FOLDER]

Without --home or --api it starts a stack of its own for the run. Results are run.json, stats.csv and stats_history.csv in
benchmarks/results/NAME (`load`, if none is given); they replace an older run of that name whole, and only once the run is over. A run
that breaks a threshold is kept only where a NAME is given. Before any load each path of the mix is asked once.
"""

import argparse
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import slo
from benchmarks.load_results import REFUSED
from benchmarks.locust_tables import MIXES, STAGES
from benchmarks.measure import RESULTS, ROOT
from benchmarks.stack import own_stack, running_stack
from consumidor.errors import CommandError, ConsumidorError

PEOPLE = 10_000
_INTERRUPTED = 130  # as a shell has it


def _arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.split("\n")[0])
    for name in ("--home", "--slo"):
        parser.add_argument(name, type=os.path.abspath)  # Locust runs in another folder
    for name in ("--api", "--token-url", "--client-id", "--scope"):
        parser.add_argument(name)
    parser.add_argument("--name", type=_name)
    parser.add_argument("--to", default=RESULTS, type=Path)
    parser.add_argument("--mix", choices=list(MIXES), default="even")
    parser.add_argument("--stages", choices=list(STAGES), default="minute")
    parser.add_argument("--arrivals", type=_arrivals, default=0.0)
    parser.add_argument("--people", type=int, default=PEOPLE)
    return parser.parse_args(given)


def _name(text: str) -> str:
    if not re.fullmatch("[a-z0-9][a-z0-9-]{0,40}", text):
        raise argparse.ArgumentTypeError("a result's name has up to 41 of a-z, 0-9 and -")
    return text


def _arrivals(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError("arrivals are a number from 0 on")
    return number


def run(options: argparse.Namespace) -> int:
    """0 where every threshold was kept, 1 where not or the run was refused.

    Raises:
        CommandError: the stack is not there or does not start, the thresholds cannot be read, or the run was broken off.
    """
    folder = options.to / (options.name or "load")
    if options.slo:
        slo.read(options.slo)  # before anything is started
    with ExitStack() as exits:
        scratch = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="consumidor-load-")))
        if options.home:
            running_stack(Path(options.home))
        elif not options.api:
            print(f"starting a stack with {options.people:,} people for this run", flush=True)
            options.home = str(exits.enter_context(own_stack(options.people)).home)
        status = subprocess.run(_command(options, scratch), cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode
        if status == REFUSED:
            return 1
        if not (scratch / "run.json").exists():
            raise CommandError(f"the run did not come to its end: {folder} is as it was")
        if status and not options.name:
            print(f"{folder} is as it was: a run that breaks a threshold is kept where --name names it")
            return 1
        _keep(scratch, folder)
    print(f"{folder} is written")
    return status


def _command(options: argparse.Namespace, results: Path) -> list[str]:
    file = str(ROOT / "benchmarks" / "locustfile.py")
    command = [sys.executable, "-m", "locust", "-f", file, "--headless", "--only-summary", "--skip-log", "--csv", str(results / "csv")]
    passed = {**vars(options), "results": str(results)}
    del passed["name"], passed["to"]
    return command + [f"--{name.replace('_', '-')}={value}" for name, value in passed.items() if value not in (None, "")]


def _keep(scratch: Path, folder: Path) -> None:
    """The three files, whole, in the place of what was there."""
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir(parents=True)
    for made, kept in (("run.json", "run.json"), ("csv_stats.csv", "stats.csv"), ("csv_stats_history.csv", "stats_history.csv")):
        shutil.copyfile(scratch / made, new / kept)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def main(given: list[str]) -> int:
    """0 every threshold kept, 1 not or no run, 2 wrong use, 130 interrupted."""
    options = _arguments(given)
    try:
        return run(options)
    except ConsumidorError as error:
        print(error.detail, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
