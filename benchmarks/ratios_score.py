"""The score itself against optbinning's, and the extraction of Base B against pandas over a cursor."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.measure import ROOT, Figure, Took, Way, in_turns, microseconds, ratio, spread, timed
from benchmarks.stack import Place
from consumidor.local import synthetic, synthetic_credit
from consumidor.local.mongodb import mongodb
from consumidor.local.seeding import SEED
from consumidor.local.supervisor import Supervisor, free_port
from consumidor.score.loading import insert_base_b
from consumidor.score.model import Scorecard, score
from consumidor.score.records import document
from consumidor.score.store import migrate_base_b

LOANS = ROOT / "notebooks" / "data" / "german_credit.csv"
DAY = date(2026, 11, 22)
PEOPLE = 200_000  # in the Base B that is extracted


def scorecard(_: Place, ours_at_once: int = 20_000, theirs_at_once: int = 20) -> Iterator[Figure]:
    """One person's score: from a document by our function, from a frame of one row by the card it was made from."""
    from consumidor.score import training  # noqa: PLC0415 - optbinning takes seconds to import

    loans, bad = training.read_loans(LOANS)
    recoded = training.base_b_attributes(loans)
    theirs, card, row = training.fit(recoded, bad), Scorecard.current(), recoded.iloc[[0]]
    mine = document("0" * 32, synthetic_credit.record(synthetic_credit.profiles()[0], DAY, Random(0).random))
    assert score(mine, DAY, card).score == int(theirs.score(row)[0])
    took = in_turns({
        "ours": lambda: timed(lambda: _times(ours_at_once, lambda: score(mine, DAY, card))),
        "optbinning": lambda: timed(lambda: _times(theirs_at_once, lambda: theirs.score(row))),
    })  # fmt: skip
    beside = {f"{name}_us": microseconds(each, "cpu") for name, each in took.items()}
    yield Figure("scorecard-optbinning", ratio(took["optbinning"], took["ours"], "cpu"), "x", beside)


def _times(count: int, work: Callable[[], object]) -> int:
    for _ in range(count):
        work()
    return count


def extraction(_: Place) -> Iterator[Figure]:
    """Each extraction in a process of its own, from one Base B; start of the process and imports do not count."""
    with _base_b() as uri:
        peaks: dict[str, list[float]] = {"ours": [], "pandas": []}

        def way(mode: str) -> Way:
            def once() -> Took:
                said = _extract(mode, uri)
                peaks.setdefault(mode, []).append(said["peak_mib"])
                return Took(said["wall"], said["cpu"], said["rows"])

            return once

        took = in_turns({mode: way(mode) for mode in ("ours", "pandas", "one-worker", "two-workers", "drain")})
    beside: dict[str, float] = {"documents": PEOPLE}
    beside |= {f"{_named(mode)}_rows_per_s": round(1e6 / microseconds(each)) for mode, each in took.items()}
    beside |= {f"{_named(mode)}_peak_mib": round(spread(each[1:]).median, 1) for mode, each in peaks.items() if mode != "drain"}
    beside |= {f"{mode}_cpu_us": microseconds(took[mode], "cpu") for mode in ("ours", "pandas")}
    yield Figure("extraction-pandas", ratio(took["pandas"], took["ours"]), "x", beside)
    yield Figure("extraction-cpu", ratio(took["pandas"], took["ours"], "cpu"), "x", beside)
    yield Figure("extraction-drain", ratio(took["drain"], took["ours"]), "x", beside)
    pairs = zip(peaks["ours"][1:], peaks["pandas"][1:], strict=True)
    yield Figure("extraction-memory", spread(ours / theirs for ours, theirs in pairs), "x", beside)
    yield Figure("extraction-workers", ratio(took["one-worker"], took["two-workers"]), "x", beside)


def _named(mode: str) -> str:
    return mode.replace("-", "_")


def _extract(mode: str, uri: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "benchmarks.peers.extracting", mode, uri, scratch]
        said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(said.splitlines()[-1]))


@contextmanager
def _base_b() -> Iterator[str]:
    """A server of its own with synthetic people: where it is read."""
    with tempfile.TemporaryDirectory() as scratch:
        supervisor, running = Supervisor(Path(scratch), announce=print), mongodb(Path(scratch) / "mongodb", free_port())
        try:
            supervisor.start(running.server)
            migrate_base_b(running.owner_uri)
            people = synthetic.people(SEED, PEOPLE, 2026)
            insert_base_b(running.owner_uri, synthetic_credit.documents(people, b"k" * 32, SEED, datetime.now(UTC).date()))
            yield running.reader_uri
        finally:
            supervisor.stop()
