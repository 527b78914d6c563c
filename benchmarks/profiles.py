"""Where the time of our side of a comparison goes, by py-spy: python -m benchmarks.profiles; writes results/profiles.json.

A comparison is run as `ratios.py` runs it, and of its samples those count in which our side was at work. A share is that of the samples
in which a function was being executed, itself or what it called; py-spy passes over waiting, and what is not ours or a base's is left out.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, context, logged_aside, write_json
from benchmarks.ratios import COMPARISONS
from benchmarks.stack import Place
from consumidor.errors import CommandError, ConsumidorError

FILE = RESULTS / "profiles.json"
# Of each comparison the function under which our side works, as py-spy names it.
OURS = {
    "worker": "Worker.round (consumidor/people/worker.py",
    "seeding": "load (consumidor/people/load.py",
    "feed": "handler (consumidor/events/feed.py",
}
SHOWN = 14  # functions, those with most samples
_RATE = 200  # samples a second
_OF_INTEREST = re.compile(r"\((?:consumidor|cryptography|msgspec|structlog|psycopg)/")


def profile(name: str, place: Place) -> dict[str, Any]:
    """Samples in which our side of a comparison worked, and the share of each function in them.

    Raises:
        CommandError: py-spy could not look into this process.
    """
    with tempfile.TemporaryDirectory() as scratch:
        stacks = Path(scratch) / "stacks"
        options = ["--pid", str(os.getpid()), "--rate", str(_RATE), "--function", "--format", "raw", "--output", str(stacks)]
        command = [str(Path(sys.executable).with_name("py-spy")), "record", *options]
        spy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            for _ in COMPARISONS[name](place):
                pass
        finally:
            spy.send_signal(signal.SIGINT)
            _, said = spy.communicate(timeout=60)
        if not stacks.exists():
            raise CommandError(f"py-spy saw nothing: {said.decode(errors='replace').strip().splitlines()[-1:]}")
        return shares(stacks.read_text("utf-8"), OURS[name])


def shares(stacks: str, under: str) -> dict[str, Any]:
    """What py-spy's raw format says of what happened below a function."""
    samples, seen = 0, Counter[str]()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        below = frames.partition(under)[2]
        if not below:
            continue
        samples += int(count)
        for frame in {re.sub(r":\d+\)$", ")", one) for one in below.split(";")[1:] if _OF_INTEREST.search(one)}:
            seen[frame] += int(count)
    return {"samples": samples, "shares": {frame: round(count / samples, 3) for frame, count in seen.most_common(SHOWN)}}


def main() -> int:
    """0 done, 1 something failed and nothing was written."""
    try:
        with ExitStack() as exits, logged_aside():
            place = Place(exits)
            found = {name: profile(name, place) for name in OURS}
    except ConsumidorError as error:
        print(f"nothing was written: {error.detail}", file=sys.stderr)
        return 1
    write_json(FILE, context() | {"profiles": found})
    for name, one in found.items():
        print(f"{name}: {one['samples']} samples")
        for frame, share in one["shares"].items():
            print(f"  {share:6.1%}  {frame}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
